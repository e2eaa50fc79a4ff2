"""The axes of a scene: in which units, and which layers the viewer reads as Zarr.

All layers of a scene share their axes, so one that has no unit can stand beside one in metres only
if a length is taken for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from microtome_core.units import converted
from microtome_core.wire import LayerInfo

# What Neuroglancer reads from Zarr; precomputed volumes are sent as types that it has.
_IMAGES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"})
_LABELS = frozenset({"uint8", "uint16", "uint32", "uint64"})
_NANO = 1e-9
# What Neuroglancer calls the axis of channels of OME-Zarr.
CHANNEL = "c'"

# Length of a step, and its unit, as Neuroglancer has it.
Step = list[float | str]


@dataclass(frozen=True, slots=True)
class Space:
    """The axes of one scene.

    Parameters
    ----------
    measured : bool
        Lengths are in metres; else nobody knows those of any layer.
    timed : bool
        Times are in seconds.
    """

    measured: bool
    timed: bool

    def by_zarr(self, info: LayerInfo) -> bool:
        """Tell whether a layer is read as Zarr."""
        return _readable(info) and (times_of(info) > 1 or not self.measured)

    def step(self, info: LayerInfo, axis: str) -> Step:
        """Return the voxel size of a layer along one of t, z, y, x; 1 where it lacks the axis."""
        if axis not in info.axes:
            return [_NANO, "m"] if self.measured and axis != "t" else [1.0, ""]
        place = info.axes.index(axis)
        size, unit = float(info.levels[0].scale[place]), info.units[place]
        if axis == "t":
            seconds = converted(size, unit, "second")
            return [size if seconds is None else seconds, "s"] if self.timed else [size, ""]
        if not self.measured:
            return [size, ""]
        meters = converted(size, unit, "meter")
        return [size * _NANO if meters is None else meters, "m"]

    def transform(self, info: LayerInfo) -> dict[str, object]:
        """Return how the array of a layer lies in the scene.

        Of OME-Zarr Neuroglancer takes 0 for the middle of the first voxel, of precomputed volumes
        for its edge: half a voxel makes both the same.
        """
        axes = {
            CHANNEL if axis == "c" else axis: [1.0, ""] if axis == "c" else self.step(info, axis)
            for axis in info.axes
        }
        rank = len(axes)
        rows = [[*(float(i == j) for j in range(rank)), 0.5] for i in range(rank)]
        return {"matrix": rows, "outputDimensions": axes}


def space_of(infos: Sequence[LayerInfo], *, alone: bool) -> Space:
    """Return the axes of a scene.

    Parameters
    ----------
    infos : sequence of LayerInfo
    alone : bool
        Nothing is shown beside them, whose lengths are known.
    """
    unknown = alone and all(_readable(info) and not is_measured(info) for info in infos)
    return Space(not unknown, any(_tells(info, "t", "second") for info in infos))


def times_of(info: LayerInfo) -> int:
    """Return how many time points a layer has."""
    return dict(zip(info.axes, info.shape, strict=True)).get("t", 1)


def is_measured(info: LayerInfo) -> bool:
    """Tell whether the length of a voxel is known."""
    return _tells(info, "x", "meter")


def _tells(info: LayerInfo, axis: str, unit: str) -> bool:
    """Tell whether a layer has an axis in a unit of a kind; other software may write any word."""
    return axis in info.axes and converted(1.0, info.units[info.axes.index(axis)], unit) is not None


def _readable(info: LayerInfo) -> bool:
    return info.dtype in (_LABELS if info.kind == "labels" else _IMAGES)
