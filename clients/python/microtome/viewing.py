"""Planes of a volume as pictures: for a notebook, with sliders where they can be moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.described import Described
from microtome.extras import library
from microtome.named import check_axes
from microtome_core.wire import Channel

# Pixels of a plane that is looked at, along its longer side: coarser levels do for larger ones.
_PIXELS = 1024


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of a volume, and how it is shown.

    Parameters
    ----------
    voxels : ndarray
        Of shape (rows, columns), or (channels, rows, columns).
    channels : tuple of Channel
        What each of them is; none for labels.
    extent : tuple of float
        Left, right, bottom, top, in the unit of the axes.
    labels : tuple of str
        Of columns and rows.
    """

    voxels: NDArray[Any]
    channels: tuple[Channel, ...]
    extent: tuple[float, float, float, float]
    labels: tuple[str, str]

    def colors(self, low: float | None = None, high: float | None = None) -> NDArray[np.float64]:
        """Return its colours, of shape (rows, columns, 3) from 0 to 1.

        Channels are added in their colours, each from `low` to `high`, or else its own window.
        Each id of labels has a colour of its own, and 0 is black.
        """
        if not self.channels:
            return _hues(self.voxels)
        total = np.zeros((*self.voxels.shape[-2:], 3))
        for voxels, channel in zip(self._stack, self.channels, strict=True):
            first, last = _window(channel, voxels) if low is None else (low, high or low + 1)
            share = (voxels.astype(np.float64) - first) / max(last - first, 1e-300)
            color = [int(channel.color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
            total += np.clip(np.nan_to_num(share), 0, 1)[..., None] * color
        return np.clip(total, 0, 1)

    @property
    def _stack(self) -> NDArray[Any]:
        return self.voxels if self.voxels.ndim > 2 else self.voxels[None]


def _window(channel: Channel, voxels: NDArray[Any]) -> tuple[float, float]:
    low, high = channel.window
    return (low, high) if high > low else (float(voxels.min()), float(voxels.max()) + 1)


def _hues(ids: NDArray[Any]) -> NDArray[np.float64]:
    # Multiples of the golden ratio lie far apart on the circle of hues.
    hue = (ids.astype(np.uint64) % np.uint64(1 << 32)).astype(np.float64) * 0.618033988749895 % 1.0
    sixths = (hue[..., None] * 6 + np.array([0.0, 4.0, 2.0])) % 6
    colors: NDArray[np.float64] = np.clip(np.abs(sixths - 3) - 1, 0, 1) * (ids != 0)[..., None]
    return colors


def level_to_see(volume: Described) -> int:
    """Return the finest level whose planes are no larger than a screen, or the coarsest."""
    for number, level in enumerate(volume.levels):
        if max(level.shape[-2:]) <= _PIXELS:
            return number
    return len(volume.levels) - 1


def plane_of(volume: Any, positions: Mapping[str, Any]) -> Plane:  # noqa: ANN401 - a Volume
    """Read the plane of the last two axes at positions in voxels; others are in the middle.

    All channels come, unless one is named.
    """
    check_axes(volume.axes, positions)
    middle = {
        axis: extent // 2 for axis, extent in zip(volume.axes[:-2], volume.shape, strict=False)
        if axis != "c"
    }  # fmt: skip
    chosen = {**middle, **positions}
    channels = volume.channels if volume.kind != "labels" else ()
    if "c" in chosen and channels:
        names = [channel.name for channel in channels]
        word = chosen["c"]
        channels = (channels[names.index(word) if word in names else word],)
    elif "c" in volume.axes and not channels:
        chosen.setdefault("c", 0)
    (top, bottom), (left, right) = (_edges(volume, axis) for axis in volume.axes[-2:])
    return Plane(
        voxels=np.asarray(volume.read(**chosen)),
        channels=tuple(channels),
        extent=(left, right, bottom, top),
        labels=(_label(volume, volume.axes[-1]), _label(volume, volume.axes[-2])),
    )


def _edges(volume: Described, axis: str) -> tuple[float, float]:
    ruler = volume._ruler(axis)
    return ruler.low, ruler.high


def _label(volume: Described, axis: str) -> str:
    unit = volume.units[axis]
    return f"{axis} ({unit})" if unit else axis


def figure(plane: Plane, title: str, low: float | None = None, high: float | None = None) -> Any:  # noqa: ANN401 - matplotlib's own
    """Draw a plane with its scales."""
    # Not pyplot: a figure of nobody's is shown once, and kept by nobody.
    drawn = library("matplotlib.figure", "notebook", "a picture").Figure(layout="constrained")
    axes = drawn.add_subplot()
    axes.imshow(plane.colors(low, high), extent=plane.extent, interpolation="nearest")
    axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1], title=title)
    return drawn


def viewer(volume: Any, positions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a Volume; a widget
    """Return sliders above a picture, which is drawn anew when one is let go of."""
    widgets = library("ipywidgets", "notebook", "sliders")
    sliders = {
        axis: widgets.IntSlider(
            value=positions.get(axis, extent // 2), min=0, max=extent - 1, description=axis,
            continuous_update=False,
        )
        for axis, extent in zip(volume.axes[:-2], volume.shape, strict=False)
        if axis != "c" and extent > 1
    }  # fmt: skip
    more = {}
    if volume.kind != "labels":
        more = {"contrast": _contrast(widgets, volume)}
        if "c" in volume.axes:
            more["c"] = _channels(widgets, volume.channels, positions.get("c"))

    def draw(**values: Any) -> None:  # noqa: ANN401 - of any slider
        display = library("IPython.display", "notebook", "a picture").display
        low, high = values.pop("contrast", (None, None))
        chosen = {**positions, **{axis: value for axis, value in values.items() if value != "all"}}
        display(figure(plane_of(volume, chosen), volume.id, low, high))

    moved = {**sliders, **more}
    return widgets.VBox([*moved.values(), widgets.interactive_output(draw, moved)])


def _contrast(widgets: Any, volume: Any) -> Any:  # noqa: ANN401 - a slider
    windows = [channel.window for channel in volume.channels] or [(0.0, 1.0)]
    low, high = min(w[0] for w in windows), max(w[1] for w in windows)
    if volume.dtype.kind in "iu":
        limits = np.iinfo(volume.dtype)
        least, most = max(float(limits.min), low - (high - low)), min(float(limits.max), 2 * high)
    else:
        least, most = low - (high - low), high + (high - low)
    return widgets.FloatRangeSlider(
        value=(low, high), min=least, max=max(most, high, least + 1), description="contrast",
        continuous_update=False,
    )  # fmt: skip


def _channels(widgets: Any, channels: Sequence[Channel], given: Any) -> Any:  # noqa: ANN401
    options = [("all", "all"), *((channel.name, n) for n, channel in enumerate(channels))]
    known = [value for _, value in options]
    return widgets.Dropdown(
        options=options, value=given if given in known else "all", description="channel"
    )
