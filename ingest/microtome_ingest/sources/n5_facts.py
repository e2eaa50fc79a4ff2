"""What the attributes of N5 groups say of a dataset's axes and voxels.

Three conventions are known: n5-viewer's (``pixelResolution`` or ``resolution`` beside ``scales`` or
``downsamplingFactors``), COSEM's (``transform`` in ``multiscales``), and BigDataViewer's
(``resolution`` of a time point). Lists are x first, but those of a transform in C order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from microtome_core.errors import InputError
from microtome_core.units import convert, unit_name
from microtome_ingest.sources.lengths import common_unit, length_unit, plausible
from microtome_ingest.sources.letters import open_letters

_KNOWN = {"x": "x", "y": "y", "z": "z", "c": "c", "t": "t", "channel": "c", "time": "t"}
Above = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Axes, slowest first, and what is known of them; as in `Description`."""

    axes: str
    voxel_size: Mapping[str, float] = field(default_factory=dict)
    unit: str | None = None
    time_step: float | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Grid:
    """A convention's words, slowest axis first; None where it is silent."""

    names: Sequence[str] | None
    steps: Sequence[float] | None
    units: Sequence[str | None]
    starts: Sequence[float] | None = None


def extents(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - JSON
    """Return a list of whole numbers as extents.

    Raises
    ------
    InputError
        It is none.
    """
    if not isinstance(value, list) or any(type(n) is not int or n < 0 for n in value):
        raise InputError(f"extents {str(value)[:80]}: expected a list of whole numbers")
    return tuple(value)


def finest(attributes: Mapping[str, Any]) -> str | None:
    """Return the name of the finest level that ``multiscales`` lists, if a group has that."""
    listed = attributes.get("multiscales")
    if not isinstance(listed, list) or not listed:
        return None
    return str(listed[0]["datasets"][0]["path"])


def geometry(inside: str, own: Mapping[str, Any], above: Above, count: int) -> Geometry:
    """Return what a dataset and the groups above it say.

    Parameters
    ----------
    inside : str
        Path of the dataset.
    own : dict
        Its attributes.
    above : sequence of (path, attributes)
        Of the groups that hold it, the nearest first.
    count : int
        Axes.
    """
    found = _transform(inside, own, above, count) or _resolution(own, above, count)
    if found is None:
        return Geometry(open_letters(count))
    axes = _letters(found.names, count)
    notes = []
    sizes: dict[str, tuple[float, str | None]] = {}
    for letter, step, unit in zip(axes, found.steps or (), found.units, strict=False):
        if letter in "zyx":
            sizes[letter] = (step, length_unit(unit) if unit else None)
            if unit and not length_unit(unit) and unit not in ("pixel", "pixels", "px"):
                notes.append(f"{letter} is in {unit!r}, no unit of length: left open")
    units = {unit for _, unit in sizes.values()}
    good = {a: s for a, s in sizes.items() if s[1] is not None or units == {None}}
    voxel_size, unit = common_unit(good)
    origin = _origin(axes, found)
    if origin:
        numbers = ", ".join(f"{a}={n:g}" for a, n in origin.items() if a != "unit")
        notes.append(f"its origin, {numbers}, is kept in the record only")
    return Geometry(axes, voxel_size, unit, _time_step(axes, found), origin, tuple(notes))


def _transform(inside: str, own: Mapping[str, Any], above: Above, count: int) -> _Grid | None:
    """Return what COSEM's ``transform`` says, in the dataset or in ``multiscales`` above it."""
    found = own.get("transform")
    for group, attributes in above:
        for multiscale in attributes.get("multiscales") or []:
            for dataset in multiscale.get("datasets") or []:
                path = f"{group}/{dataset.get('path')}".removeprefix("/")
                if path == inside and found is None:
                    found = dataset.get("transform")
    if not isinstance(found, Mapping):
        return None
    turn = -1 if found.get("ordering", "C") == "F" else 1
    lists = [found.get(name) for name in ("axes", "scale", "units", "translate")]
    names, steps, units, starts = (_listed(one, count, turn) for one in lists)
    return _Grid(names, _numbers(steps), units or [None] * count, _numbers(starts))


def _resolution(own: Mapping[str, Any], above: Above, count: int) -> _Grid | None:
    """Return what n5-viewer or BigDataViewer says, the nearest that says anything."""
    levels = [own, *(attributes for _, attributes in above[:2])]
    names = next((a["axes"] for a in levels if "axes" in a), None)
    units = next((a["units"] for a in levels if "units" in a), None)
    steps, unit = None, None
    for attributes in levels:
        found = attributes.get("pixelResolution", attributes.get("resolution"))
        if isinstance(found, Mapping):
            steps, unit = found.get("dimensions"), found.get("unit")
        elif found is not None:
            steps = found
        if steps is not None:
            break
    pyramid = any(name in a for a in levels for name in ("scales", "downsamplingFactors"))
    if steps is None and names is None and not pyramid:
        return None
    spread = _listed(units, count, -1) or [unit] * count
    numbers = _numbers(_listed(steps, count, -1))
    factors = _numbers(_listed(own.get("downsamplingFactors"), count, -1))
    if numbers and factors:
        numbers = [step * factor for step, factor in zip(numbers, factors, strict=True)]
    return _Grid(_listed(names, count, -1), numbers, spread)


def _listed(value: Any, count: int, turn: int) -> list[Any] | None:  # noqa: ANN401 - JSON
    return value[::turn] if isinstance(value, list) and len(value) == count else None


def _numbers(value: list[Any] | None) -> list[float] | None:
    return [float(n) for n in value] if value else None


def _letters(names: Sequence[str] | None, count: int) -> str:
    """Return a letter an axis: as it is named; pyramids of two and three axes are in space."""
    if names is None:
        return "zyx"[-count:] if count <= 3 else open_letters(count - 3) + "zyx"
    known = [_KNOWN.get(str(name).lower()) for name in names]
    found = [letter for letter in known if letter]
    if len(set(found)) < len(found):
        return open_letters(count)
    spare = iter(open_letters(count))
    return "".join(letter or next(spare) for letter in known)


def _origin(axes: str, found: _Grid) -> dict[str, Any]:
    starts = dict(zip(axes, found.starts or (), strict=False))
    space = {axis: start for axis, start in starts.items() if axis in "zyx"}
    if not any(space.values()):
        return {}
    named = {unit for axis, unit in zip(axes, found.units, strict=True) if axis in "zyx"}
    return {**space, "unit": next(iter(named)) if len(named) == 1 else None}


def _time_step(axes: str, found: _Grid) -> float | None:
    if "t" not in axes or found.steps is None:
        return None
    place = axes.index("t")
    step, unit = found.steps[place], found.units[place]
    if not unit or not plausible(step, None):
        return None
    try:
        return convert(step, unit_name(unit), "second")
    except InputError:
        return None
