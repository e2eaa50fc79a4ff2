"""What OME-Zarr says of an image: axes, voxel size, origin, channels.

Source: https://ngff.openmicroscopy.org, versions 0.1 to 0.5; of the drafts of 0.6 the coordinate
systems and those transformations that keep the axes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError
from microtome_core.units import convert, unit_name
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import common_unit, length_unit, plausible
from microtome_ingest.sources.letters import unique

_COLOR = re.compile(r"[0-9A-Fa-f]{6}")
# Kinds of transformations by the rank of their numbers.
_SHAPES = {"scale": 1, "translation": 1, "mapAxis": 1, "rotation": 2, "affine": 2}
_LETTERS = {"time": "t", "channel": "c"}
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where an image's voxels lie.

    Parameters
    ----------
    axes : str
        A letter an axis of the array.
    voxel_size, unit
        As in `Description`.
    time_step : float, optional
        Seconds.
    origin : dict
        Position of the first voxel by axis, with its ``unit``; empty where it is 0 or unknown.
    notes : tuple of str
    """

    axes: str
    voxel_size: Mapping[str, float]
    unit: str | None
    time_step: float | None
    origin: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Axis:
    letter: str
    kind: str
    unit: str | None


def geometry(multiscale: Mapping[str, Any], level: int, count: int) -> Geometry:
    """Return where one level of a pyramid lies.

    Parameters
    ----------
    multiscale : dict
        An entry of ``multiscales``.
    level : int
        Of its datasets.
    count : int
        Axes of the array.

    Raises
    ------
    InputError
        Axes that do not fit the array.
    """
    dataset = multiscale["datasets"][level]
    axes = _axes(multiscale, dataset, count)
    if len(axes) != count:
        raise InputError(f"{len(axes)} axes are described, the array has {count}")
    systems = "coordinateSystems" in multiscale
    steps = list(dataset.get("coordinateTransformations") or [])
    beyond = list(multiscale.get("coordinateTransformations") or [])
    matrix, offset, unread = _composed(steps if systems else steps + beyond, count)
    notes = [f"its transformation {kind} is kept in the record only" for kind in unread]
    if systems and beyond:
        notes.append("transformations beyond its own coordinate system are kept in the record only")
    given = bool(steps or beyond) and not unread
    return _geometry(axes, matrix, offset, notes, given=given)


def _geometry(
    axes: Sequence[_Axis], matrix: Matrix, offset: Matrix, notes: list[str], *, given: bool
) -> Geometry:
    order = _order(matrix)
    if order is None:
        notes.append("its voxels are not along its axes: the transformation is in the record only")
        order = list(range(len(axes)))
    found = [axes[i] for i in order]
    steps = np.linalg.norm(matrix, axis=0) if given else np.zeros(len(axes))
    if given and any(matrix[i, j] < 0 for j, i in enumerate(order)):
        notes.append("an axis runs backwards: voxels are kept in the order of the file")
    letters = unique("".join(axis.letter for axis in found))
    sizes = {
        letter: (float(step), axis.unit)
        for letter, axis, step in zip(letters, found, steps, strict=True)
        if letter in "zyx"
    }
    known = {a: (s, length_unit(u) if u else None) for a, (s, u) in sizes.items()}
    odd = [f"{a} is in {u!r}" for a, (_, u) in sizes.items() if u and not length_unit(u)]
    notes += [f"no unit of length: {', '.join(odd)}"] if odd else []
    voxel_size, unit = common_unit(known)
    origin = {axis.letter: float(offset[i]) for i, axis in enumerate(axes) if axis.letter in "zyx"}
    place = _origin(origin, {axis.letter: axis.unit for axis in axes})
    notes += [f"its origin, {_shown(place)}, is kept in the record only"] if place else []
    step, more = _time_step(letters, found, steps)
    return Geometry(letters, voxel_size, unit, step, place, tuple(notes + more))


def channels(omero: object, count: int) -> tuple[tuple[SourceChannel, ...], tuple[str, ...]]:
    """Return what ``omero`` says of each channel, and notes."""
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(listed, list) or not listed:
        return (), ()
    if len(listed) != count:
        return (), (f"it names {len(listed)} channels and has {count}: names are left out",)
    return tuple(_channel(one if isinstance(one, Mapping) else {}) for one in listed), ()


def _channel(found: Mapping[str, Any]) -> SourceChannel:
    color = str(found.get("color", "")).removeprefix("#")
    window = found.get("window")
    edges = [window.get("start"), window.get("end")] if isinstance(window, Mapping) else []
    numbers = [float(n) for n in edges if isinstance(n, int | float) and np.isfinite(n)]
    label = found.get("label")
    return SourceChannel(
        name=str(label) if label not in (None, "") else None,
        color=color.upper() if _COLOR.fullmatch(color) else None,
        window=(numbers[0], numbers[1]) if len(numbers) == 2 and numbers[0] < numbers[1] else None,
    )


def _axes(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], count: int) -> list[_Axis]:
    listed = multiscale.get("axes") or _system(multiscale, dataset)
    if listed is None:
        # Versions 0.1 and 0.2 say that it is so.
        if count != 5:
            raise InputError(f"no axes are described, and {count} of them are not t, c, z, y, x")
        listed = ["t", "c", "z", "y", "x"]
    return [_axis(one if isinstance(one, Mapping) else {"name": one}) for one in listed]


def _axis(found: Mapping[str, Any]) -> _Axis:
    name, kind = str(found.get("name", "")).lower(), str(found.get("type", "")).lower()
    letter = _LETTERS.get(kind) or _LETTERS.get(name) or name
    unit = found.get("unit")
    return _Axis(
        letter if len(letter) == 1 and letter in "tczyx" else "q",
        kind,
        str(unit) if isinstance(unit, str) else None,
    )


def _system(multiscale: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the axes of the coordinate system that a dataset is transformed into (0.6)."""
    systems = multiscale.get("coordinateSystems")
    if not systems:
        return None
    outputs = [step.get("output") for step in dataset.get("coordinateTransformations") or []]
    named = [system for system in systems if system.get("name") in outputs]
    return (named or systems)[0]["axes"]


def _composed(
    steps: Sequence[Mapping[str, Any]], count: int
) -> tuple[Matrix, Matrix, tuple[str, ...]]:
    """Return matrix and offset of transformations in turn, and the kinds that are neither."""
    matrix, offset = np.eye(count), np.zeros(count)
    unread: list[str] = []
    for step in steps:
        found = _step(step, count)
        if found is None:
            unread.append(str(step.get("type"))[:40])
            continue
        one, shift, more = found
        with np.errstate(all="ignore"):  # what is not finite is refused below
            matrix, offset = one @ matrix, one @ offset + shift
        unread += more
    if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
        raise InputError("its transformations are no finite numbers")
    return matrix, offset, tuple(unread)


def _step(step: Mapping[str, Any], count: int) -> tuple[Matrix, Matrix, tuple[str, ...]] | None:
    kind = str(step.get("type"))
    if kind == "identity":
        return np.eye(count), np.zeros(count), ()
    if kind == "sequence":
        return _composed(step["transformations"], count)
    value = step.get(kind)
    if kind not in _SHAPES or not isinstance(value, list):
        return None  # numbers that lie in an array of their own, or a kind unknown here
    if kind == "mapAxis":
        return _permuted(value, count), np.zeros(count), ()
    numbers = np.array(value, "float64")
    if not np.isfinite(numbers).all():
        raise InputError(f"its {kind} has no finite numbers")
    if numbers.shape != (count, count + (kind == "affine"))[: _SHAPES[kind]]:
        raise InputError(f"its {kind} {str(value)[:80]} does not fit {count} axes")
    if numbers.ndim == 1:
        moved = kind == "translation"
        return np.diag(np.ones(count) if moved else numbers), numbers * moved, ()
    shift = numbers[:, count] if kind == "affine" else np.zeros(count)
    return numbers[:, :count], shift, ()


def _permuted(value: list[Any], count: int) -> Matrix:
    if sorted(value) != list(range(count)):
        raise InputError(f"its mapAxis {str(value)[:80]} does not fit {count} axes")
    return np.eye(count)[value]


def _order(matrix: Matrix) -> list[int] | None:
    """Return along which described axis each array axis runs; None where that is not so simple."""
    used = matrix != 0
    if not used[~np.eye(len(matrix), dtype=bool)].any():
        return list(range(len(matrix)))  # a step of 0 stands for one that is unknown
    if (used.sum(0) != 1).any() or (used.sum(1) != 1).any():
        return None
    return [int(np.flatnonzero(used[:, j])[0]) for j in range(len(matrix))]


def _origin(origin: Mapping[str, float], units: Mapping[str, str | None]) -> dict[str, Any]:
    if not any(origin.values()):
        return {}
    named = {axis: length_unit(units[axis]) if units[axis] else None for axis in origin}
    if len(set(named.values())) == 1:
        return {**origin, "unit": next(iter(named.values()))}
    if None in named.values():
        return {**origin, "unit": None}
    return {a: convert(n, str(named[a]), "micrometer") for a, n in origin.items()} | {
        "unit": "micrometer"
    }


def _shown(origin: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{axis}={n:g}" for axis, n in origin.items() if axis != "unit")
    return f"{numbers} {origin['unit'] or ''}".strip()


def _time_step(
    letters: str, axes: Sequence[_Axis], steps: Matrix
) -> tuple[float | None, list[str]]:
    if "t" not in letters:
        return None, []
    place = letters.index("t")
    step, unit = float(steps[place]), axes[place].unit
    if not plausible(step, None):
        return None, []
    if unit is None:
        # 1 without a unit is what writers store who do not know it.
        return None, [] if step == 1 else [f"its time step, {step:g}, has no unit: left open"]
    try:
        return convert(step, unit_name(unit), "second"), []
    except InputError:
        return None, [f"its time step is in {unit!r}, no unit of time: left open"]
