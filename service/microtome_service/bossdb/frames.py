"""Coordinate frames: extents and voxel size, which an experiment has in common.

BossDB has one frame an experiment, and intern takes the shape of a channel from it. So layers of a
dataset that differ in extents or voxel size are several experiments: `group` tells which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from microtome_core.axes import SPATIAL
from microtome_core.store.layer import Layer
from microtome_core.units import convert
from microtome_core.wire import LayerInfo
from microtome_service.bossdb.channels import is_presentable
from microtome_service.bossdb.words import is_length, voxel_unit


@dataclass(frozen=True, slots=True)
class Frame:
    """Extents and voxel size in the order z, y, x.

    Parameters
    ----------
    extents : (int, int, int)
    sizes : (float, float, float)
        In `unit`.
    unit : str
        One of BossDB's words.
    known : bool
        Whether anybody knows the voxel size; otherwise 1 stands for it.
    """

    extents: tuple[int, int, int]
    sizes: tuple[float, float, float]
    unit: str
    known: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return what BossDB says of it, less the names."""
        words: dict[str, Any] = {}
        for axis, extent, size in zip(SPATIAL, self.extents, self.sizes, strict=True):
            words |= {f"{axis}_start": 0, f"{axis}_stop": extent, f"{axis}_voxel_size": size}
        return {**words, "voxel_unit": self.unit}

    def fits(self, other: "Frame") -> bool:
        """Tell whether both say the same, as far as they know."""
        if self.extents != other.extents:
            return False
        return not (self.known and other.known) or self._nanometers() == other._nanometers()

    def _nanometers(self) -> tuple[float, ...]:
        return tuple(float(f"{convert(s, self.unit, 'nanometer'):.9g}") for s in self.sizes)


def frame_of(info: LayerInfo) -> Frame:
    """Return the frame of a layer; an axis that it lacks has one voxel of size 1."""
    extents = dict(zip(info.axes, info.shape, strict=True))
    scales = dict(zip(info.axes, info.levels[0].scale, strict=True))
    units = {a: u if is_length(u) else None for a, u in zip(info.axes, info.units, strict=True)}
    unit = voxel_unit([units.get(axis) for axis in SPATIAL])
    known = any(units.get(axis) for axis in SPATIAL)
    sizes = [
        convert(scales.get(axis, 1.0), units.get(axis) or unit, unit) if known else 1.0
        for axis in SPATIAL
    ]
    z, y, x = (extents.get(axis, 1) for axis in SPATIAL)
    return Frame((z, y, x), (sizes[0], sizes[1], sizes[2]), unit, known)


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that have a frame in common, by name."""

    frame: Frame
    layers: tuple[Layer, ...]

    @property
    def first(self) -> str:
        """The name by which the group is told from others."""
        return self.layers[0].info.layer_id.layer


def group(layers: Sequence[Layer], main: Frame | None) -> tuple[Group, ...]:
    """Return layers by frame, the one that stands for the dataset first.

    Parameters
    ----------
    layers : sequence of Layer
    main : Frame, optional
        What was written down as the dataset's; without it, that of the layer with most voxels.
        It comes first even if no layer has it.
    """
    found: list[tuple[Frame, list[Layer]]] = [(main, [])] if main else []
    ordered = sorted(layers, key=lambda layer: layer.info.id)
    # Those whose size nobody knows join others of their extents, so they come last.
    for layer in sorted(ordered, key=lambda layer: not frame_of(layer.info).known):
        frame = frame_of(layer.info)
        home = next((members for known, members in found if known.fits(frame)), None)
        if home is None:
            found.append((frame, home := []))
        home.append(layer)
    groups = [
        Group(frame, tuple(sorted(members, key=lambda layer: layer.info.id)))
        for frame, members in found
    ]
    return tuple(groups if main else sorted(groups, key=_rank))


def experiment_of(layer: Layer, layers: Sequence[Layer]) -> str:
    """Return the experiment in which a layer is a channel, whatever else lies in its dataset.

    Parameters
    ----------
    layers : sequence of Layer
        Of the dataset.
    """
    place = layer.info.layer_id
    alone = len(group(layers, None)) <= 1
    return place.dataset if alone else f"{place.dataset}--{place.layer}"


def _rank(group: Group) -> tuple[bool, int, str]:
    served = any(is_presentable(layer.info) for layer in group.layers)
    return not served, -prod(group.frame.extents), group.layers[0].info.id
