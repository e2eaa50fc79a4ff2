"""The words of BossDB's addresses: names, ranges, resolutions, ids, and its units."""

import re
from collections.abc import Sequence

from microtome_core.errors import InputError, RegionError
from microtome_core.units import convert, unit_name

VOXEL_UNITS = ("nanometers", "micrometers", "millimeters", "centimeters")
TIME_UNITS = ("", "nanoseconds", "microseconds", "milliseconds", "seconds")
# What coordinate frames may be called: they are no folders of data, and intern writes CF_….
_FRAME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,254}")
# 18 ASCII digits hold every voxel index that int64 can address and stop absurd input early.
_RANGE = re.compile(r"([0-9]{1,18}):([0-9]{1,18})")
_INDEX = re.compile(r"[0-9]{1,18}")
_ID = re.compile(r"[0-9]{1,20}")
_LARGEST_ID = 2**64 - 1
_MOST_IDS = 10_000


def frame_name(text: str) -> str:
    """Return `text` if it may name a coordinate frame.

    >>> frame_name("CF_demo_brain")
    'CF_demo_brain'
    """
    if not _FRAME_NAME.fullmatch(text):
        raise InputError(
            f"name {text[:80]!r}: expected 1 to 255 letters, digits, '.', '_', '~' and '-' that "
            "start with a letter or digit"
        )
    return text


def span(axis: str, word: str, extent: int) -> tuple[int, int]:
    """Return start and stop of ``start:stop``.

    >>> span("x", "3:8", 10)
    (3, 8)

    Raises
    ------
    RegionError
        No such range, an empty one, or one out of bounds; names the valid range.
    """
    found = _RANGE.fullmatch(word)
    valid = f"valid is {axis}=0:{extent}"
    if found is None:
        raise RegionError(f"{axis}={word[:40]!r} is not start:stop counted from 0: {valid}")
    low, high = int(found[1]), int(found[2])
    if low >= high:
        raise RegionError(f"{axis}={word} is empty: {valid}")
    if high > extent:
        raise RegionError(f"{axis}={word} is out of bounds: {valid}")
    return low, high


def position(axis: str, word: str, extent: int) -> tuple[int, int]:
    """Return the range of one index.

    >>> position("z", "3", 10)
    (3, 4)
    """
    if not _INDEX.fullmatch(word) or int(word) >= extent:
        raise RegionError(f"{axis}={word[:40]!r} is no index: valid is 0 to {extent - 1}")
    return int(word), int(word) + 1


def whole_number(what: str, word: str, lowest: int, highest: int) -> int:
    """Return a number within bounds.

    >>> whole_number("resolution", "2", 0, 5)
    2
    """
    if not _INDEX.fullmatch(word) or not lowest <= int(word) <= highest:
        raise InputError(f"{what} {word[:40]!r}: expected {lowest} to {highest}")
    return int(word)


def object_id(word: str) -> int:
    """Return an id: 1 to the largest of 64 bits.

    >>> object_id("7")
    7
    """
    if not _ID.fullmatch(word) or not 0 < int(word) <= _LARGEST_ID:
        raise InputError(f"id {word[:40]!r}: expected 1 to {_LARGEST_ID}")
    return int(word)


def object_ids(text: str) -> tuple[int, ...]:
    """Return the ids of a list with commas between.

    >>> object_ids("1,25")
    (1, 25)
    """
    words = text.split(",")
    if len(words) > _MOST_IDS:
        raise InputError(f"{len(words)} ids to filter by: expected {_MOST_IDS} at most")
    return tuple(object_id(word.strip()) for word in words)


def voxel_unit(units: Sequence[str | None]) -> str:
    """Return the word for a unit of length that is nearest to those of the axes, the last first.

    >>> voxel_unit([None, "micrometer"]), voxel_unit(["angstrom"]), voxel_unit(["meter"])
    ('micrometers', 'nanometers', 'centimeters')
    """
    known = [unit for unit in reversed(units) if unit is not None]
    if not known:
        return VOXEL_UNITS[0]
    size = convert(1, known[0], "nanometer")
    fitting = [unit for unit in VOXEL_UNITS if convert(1, unit, "nanometer") <= size]
    return fitting[-1] if fitting else VOXEL_UNITS[0]


def is_length(unit: str | None) -> bool:
    """Tell whether a unit is one of length.

    >>> is_length("micrometer"), is_length("second"), is_length(None)
    (True, False, False)
    """
    try:
        convert(1, unit or "", "nanometer")
    except InputError:
        return False
    return True


def time_step(step: float, unit: str | None) -> tuple[float, str]:
    """Return a step of time and its unit: a whole number of the largest unit that allows it.

    >>> time_step(0.25, "second"), time_step(2, "minute"), time_step(1, None)
    ((250, 'milliseconds'), (120, 'seconds'), (0, ''))
    """
    try:
        seconds = [(convert(step, unit or "", word), word) for word in reversed(TIME_UNITS[1:])]
    except InputError:
        return 0, TIME_UNITS[0]
    whole = [(int(value), word) for value, word in seconds if value.is_integer() and value > 0]
    if whole:
        return whole[0]
    named = f"{unit_name(unit or '')}s"
    return next((pair for pair in seconds if pair[1] == named), seconds[0])
