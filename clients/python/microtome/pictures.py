"""Pictures of a volume: in a notebook, as a PNG file, and in Neuroglancer."""

from importlib.util import find_spec
from typing import Any

from microtome.described import Described
from microtome.display import check_png, table, voxel_text
from microtome.errors import MicrotomeError
from microtome.extras import library
from microtome.neuroglancer import link
from microtome.transport import Patience
from microtome.viewing import figure, level_to_see, plane_of, viewer
from microtome_core.units import bytes_text

_THUMBNAIL_LIMIT = 4 << 20
# A notebook shows the table at once; the picture is worth a short wait and no second try.
_PICTURE_PATIENCE = Patience(timeout=3.0, retries=0)


class Pictures(Described):
    """How volumes are looked at."""

    __slots__ = ()

    def show(self, *, sliders: bool | None = None, **positions: Any) -> Any:  # noqa: ANN401 - a widget or figure
        """Show a plane in a notebook, with sliders for t, z, channels and contrast.

        Needs the extra ``notebook``. A level is taken whose planes fit a screen, or this one if it
        is coarser; scales are in the layer's units.

        Parameters
        ----------
        sliders : bool, optional
            False gives a picture that stays as it is; by default it is so where ipywidgets is not
            installed.
        **positions : int or str
            In voxels of the level shown, by axis; in the middle unless given. All channels are
            shown in their colours unless c names one.

        Returns
        -------
        ipywidgets.Widget or matplotlib.figure.Figure
        """
        library("matplotlib", "notebook", "a picture")
        number = max(self.level_index, level_to_see(self))
        volume = type(self)(self.address, self.info, self.transport, number)
        if sliders is None:
            sliders = find_spec("ipywidgets") is not None
        if sliders:
            return viewer(volume, positions)
        return figure(plane_of(volume, positions), f"{self.id} level {number}")

    def neuroglancer(
        self, viewer: str | None = None, *, position: dict[str, float] | None = None
    ) -> str:
        """Return the address of this layer in Neuroglancer.

        It shows channels in their colours, each with its window on a slider. Another viewer than
        the service's own must reach the service, which for a public one such as
        ``microtome.neuroglancer.PUBLIC`` means https, or a browser on the same machine.

        Parameters
        ----------
        viewer : str, optional
            Where a Neuroglancer is; the service's own by default.
        position : mapping of axis to float, optional
            Where to look, in voxels of level 0; the middle by default.
        """
        return link(self, viewer, position)

    def _repr_png_(self) -> bytes | None:
        try:
            return self._thumbnail(256, _PICTURE_PATIENCE)
        except MicrotomeError:
            # Then the line of text is shown, which says as much as an error would.
            return None

    def thumbnail(self, size: int = 256) -> bytes:
        """Return a small picture of the layer: a PNG file, at most `size` pixels wide and high."""
        return self._thumbnail(size, self.transport.patience)

    def _repr_html_(self) -> str:
        rows = {
            "kind": self.kind,
            "level": f"{self.level_index} of {len(self.levels)}",
            "shape": f"{self.axes} {self.shape}",
            "voxels": f"{self.dtype}, {bytes_text(self.nbytes)}",
            "voxel size": voxel_text(self.voxel_size, self.units),
            "channels": ", ".join(str(c.name) for c in self.channels),
            "address": self.url,
        }
        shown = {name: text for name, text in rows.items() if text}
        return table(self.id, shown, lambda: self._thumbnail(256, _PICTURE_PATIENCE))

    def _thumbnail(self, size: int, patience: Patience) -> bytes:
        url = f"{self.address.api}/thumbnail.png?size={int(size)}"
        data = self.transport.get(url, lambda body: body.read(_THUMBNAIL_LIMIT), patience=patience)
        return check_png(data, url)
