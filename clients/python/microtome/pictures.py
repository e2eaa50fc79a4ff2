"""Pictures of a volume: in a notebook, as a PNG file, and in Neuroglancer."""

from microtome.described import Described
from microtome.display import check_png, table, voxel_text
from microtome.transport import Patience
from microtome_core.units import bytes_text

_THUMBNAIL_LIMIT = 4 << 20
# A notebook shows the table at once; the picture is worth a short wait and no second try.
_PICTURE_PATIENCE = Patience(timeout=3.0, retries=0)


class Pictures(Described):
    """How volumes are looked at."""

    __slots__ = ()

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
