"""What an NRRD header says of its image: axes, type, sizes in space and time, and what is odd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, SourceError
from microtome_core.units import LENGTHS, convert, unit_name
from microtome_ingest.sources import orientation
from microtome_ingest.sources.lengths import common_unit, length_unit, plausible
from microtome_ingest.sources.letters import KNOWN, open_letters
from microtome_ingest.sources.nrrd_header import TEXTS, Header

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_ORDERS = {"little": "<", "big": ">"}
_COLORS = {"rgb-color": 3, "rgba-color": 4}
# Kinds that leave open whether an axis is one of space.
_ANY = ("domain", "none", "???", "")


@dataclass(frozen=True, slots=True)
class Axis:
    """What a header says of one axis; empty or None where it is silent.

    Parameters
    ----------
    size : int
    label : str
    kind : str
    unit : str
        Of `spacing`.
    spacing : float, optional
    direction : ndarray, optional
        A step along the axis in space.
    """

    size: int
    label: str = ""
    kind: str = ""
    unit: str = ""
    spacing: float | None = None
    direction: NDArray[np.float64] | None = None

    @property
    def seconds(self) -> float | None:
        """How long the unit is, if it is one of time."""
        try:
            return None if unit_name(self.unit) in LENGTHS else convert(1, self.unit, "second")
        except InputError:
            return None

    @property
    def meaning(self) -> str | None:
        """Return ``t``, ``s``, or ``space`` for an axis that is one of x, y and z."""
        if self.kind in _COLORS:
            return "s" if self.size == _COLORS[self.kind] else None
        if self.kind == "time" or (self.kind in _ANY and self.seconds is not None):
            return "t"
        measured = self.direction is not None or length_unit(self.unit) is not None
        return "space" if self.kind == "space" or (self.kind in _ANY and measured) else None


@dataclass(frozen=True, slots=True)
class NrrdFacts:
    """What goes into a description; `axes` in the order of memory."""

    axes: str
    voxel_size: Mapping[str, float]
    unit: str | None
    time_step: float | None
    metadata: Mapping[str, Any]
    notes: tuple[str, ...]


def stored_type(header: Header) -> np.dtype[Any]:
    """Return the type of the voxels as they are stored.

    Raises
    ------
    SourceError
        A type that microtome does not store, or no order of bytes where there are several.
    """
    name = header.values["type"]
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise SourceError(header.path, f"type {name[:40]!r}: not supported")
    dtype = np.dtype(code)
    if dtype.itemsize == 1 or header.values["encoding"] in TEXTS:
        return dtype
    order = _ORDERS.get(header.values.get("endian", ""))
    if order is None:
        reason = f"endian {header.texts.get('endian')!r}: expected little or big"
        raise SourceError(header.path, reason)
    return np.dtype(order + code)


def facts(header: Header) -> NrrdFacts:
    """Return axes, sizes and everything else.

    Raises
    ------
    SourceError
        Fewer than two axes, more than six, no voxels, or fields that contradict each other.
    """
    sizes = header.sizes
    if len(sizes) < 2 or min(sizes) < 1:
        raise SourceError(header.path, f"sizes {sizes}: an image needs y and x, and voxels")
    if len(sizes) > 6:
        raise SourceError(header.path, f"sizes {sizes}: expected no more than 6 axes")
    axes = _axes(header)
    letters = letters_of(axes)
    units = [length_unit(unit) for unit in header.words("space units")]
    named = {letter: axis for letter, axis in zip(letters, axes, strict=True) if letter}
    space = {letter: axis for letter, axis in named.items() if letter in "xyz"}
    voxel_size, unit = common_unit({a: _step(axis, units) for a, axis in space.items()})
    step, time_notes = _time(named.get("t"))
    content = header.texts.get("content")
    spare = iter(open_letters(len(letters)))
    stored = [letter or next(spare) for letter in reversed(letters)]
    return NrrdFacts(
        axes="".join(stored),
        voxel_size=voxel_size,
        unit=unit,
        time_step=step,
        metadata=({"description": content} if content else {}) | {"NRRD": _verbatim(header)},
        notes=(
            *_open_notes(stored, axes[::-1]),
            *time_notes,
            *_space_notes(space, units),
            *_value_notes(header),
        ),
    )


def steps(header: Header) -> dict[str, tuple[int, NDArray[np.float64]]]:
    """Return extent and step in space of each of x, y and z that has a direction."""
    axes = _axes(header)
    return {
        letter: (axis.size, axis.direction)
        for letter, axis in zip(letters_of(axes), axes, strict=True)
        if letter in tuple("xyz") and letter and axis.direction is not None
    }


def space_units(header: Header) -> set[str | None]:
    """Return the units of space: one, several where they differ, none where nobody says."""
    return {length_unit(unit) for unit in header.words("space units")}


def _axes(header: Header) -> list[Axis]:
    """Return all axes, the fastest first."""
    count = len(header.sizes)
    labels, kinds, units = (
        header.per_axis(n) or [""] * count for n in ("labels", "kinds", "units")
    )
    spacings: list[float | None] = [float(one) for one in header.per_axis("spacings") or []]
    spacings = spacings or [None] * count
    rows = header.directions()
    found = []
    for i, (size, direction) in enumerate(zip(header.sizes, rows, strict=True)):
        axis = Axis(size, labels[i].strip().lower(), kinds[i].lower(), units[i], spacings[i])
        if direction is not None and header.has_time_in_space and not direction[:-1].any():
            unit = (header.words("space units") or [""])[-1]
            axis = replace(axis, kind="time", unit=unit, spacing=float(direction[-1]))
        elif direction is not None:
            axis = replace(axis, direction=direction)
        found.append(axis)
    return found


def letters_of(axes: Sequence[Axis]) -> list[str | None]:
    """Return what each axis is, the fastest first; None where the header leaves it open.

    A label that is one of t, c, z, y, x names its axis; colour and time are told by kind or unit.
    Axes of space are x, y, z in the order of the file.

    Examples
    --------
    >>> letters_of([Axis(3, kind="vector"), Axis(9, kind="space"), Axis(9, kind="space")])
    [None, 'x', 'y']
    """
    labels = [axis.label if axis.label in tuple("tczyx") else "" for axis in axes]
    if any(label and labels.count(label) > 1 for label in labels):
        labels = [""] * len(axes)
    letters = [label or axis.meaning for label, axis in zip(labels, axes, strict=True)]
    spare = [axis for axis in "xyz" if axis not in letters]
    unnamed = letters.count("space")
    # One axis alone could be any of the three.
    fits = unnamed <= len(spare) and unnamed + 3 - len(spare) > 1
    given = iter(spare)
    letters = [(next(given) if fits else None) if a == "space" else a for a in letters]
    return [letter if letters.count(letter) == 1 else None for letter in letters]


def _step(axis: Axis, units: Sequence[str | None]) -> tuple[float, str | None]:
    """Return the distance between voxels and its unit; 0 where nobody says."""
    if axis.direction is None:
        return abs(axis.spacing or 0.0), length_unit(axis.unit)
    used = {unit for unit, part in zip(units, axis.direction, strict=False) if part}
    if len(used) > 1:
        return 0.0, None
    return float(f"{np.linalg.norm(axis.direction):.12g}"), next(iter(used), None)


def _time(axis: Axis | None) -> tuple[float | None, tuple[str, ...]]:
    if axis is None or axis.spacing is None or not plausible(abs(axis.spacing), None):
        return None, ()
    if axis.seconds is None:
        return None, (f"its time step {axis.spacing:g} has no unit of time: pass --time-step",)
    return float(f"{abs(axis.spacing) * axis.seconds:.12g}"), ()


def _open_notes(letters: Sequence[str], axes: Sequence[Axis]) -> tuple[str, ...]:
    """Say which numbers nobody can use before the user says what their axes are."""
    found = [
        f"{letter}={axis.spacing:g}"
        for letter, axis in zip(letters, axes, strict=True)
        if letter not in KNOWN and axis.spacing and plausible(abs(axis.spacing), None)
    ]
    if not found:
        return ()
    return (
        f"spacings of axes that may not be in space are only in the record: {', '.join(found)}",
    )


def _space_notes(space: Mapping[str, Axis], units: Sequence[str | None]) -> tuple[str, ...]:
    """Say what of the axes in space a voxel size cannot hold."""
    found = [
        f"the spacing of axis {letter} is negative: voxels stay in the order of the file"
        for letter, axis in space.items()
        if axis.direction is None and (axis.spacing or 0) < 0
    ]
    steps = {a: axis.direction for a, axis in sorted(space.items()) if axis.direction is not None}
    if steps:
        if len(set(units)) > 1 and any(np.count_nonzero(step) > 1 for step in steps.values()):
            found.append(
                "units of space differ along axes that are turned: voxel sizes are left out"
            )
        found += orientation.notes(np.array(list(steps.values())).T, list(steps))
    return tuple(found)


def _value_notes(header: Header) -> tuple[str, ...]:
    if not {"old min", "old max"} & header.texts.keys():
        return ()
    low, high = (header.texts.get(name, "?") for name in ("old min", "old max"))
    return (f"values were quantised from {low} to {high}: voxels are kept as stored",)


def _verbatim(header: Header) -> dict[str, Any]:
    kept = {
        "version": header.magic,
        "fields": dict(header.texts),
        "key/value pairs": dict(header.pairs),
        "comments": list(header.comments),
        "data files": list(header.names),
    }
    return {key: value for key, value in kept.items() if value}
