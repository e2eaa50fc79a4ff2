"""What is known of single segments, as Neuroglancer lists it."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

# OME-Zarr's name of the id, and of the lookup table's colour, which is none of the properties.
_ID = "label-value"
_WORDS = {"label": "label", "name": "label", "description": "description", "tags": "tags"}
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
Segments = Sequence[Mapping[str, Any]]


def has_properties(segments: Segments) -> bool:
    """Tell whether anything is known of any id."""
    return any(len(one) > 1 for one in _by_id(segments).values())


def segment_properties(segments: Segments) -> dict[str, Any]:
    """Return ``segment_properties/info``.

    Numbers that every id has stay numbers, of the smallest type that holds them; integers beyond
    32 bits become float32. Everything else is text. Of `label` (or `name`), `description` and
    `tags` there is one each; a second becomes text.
    """
    known = _by_id(segments)
    names = dict.fromkeys(name for one in known.values() for name in one if name != _ID)
    used: set[str] = set()
    properties = []
    for name in names:
        kind = _WORDS.get(name.lower(), "")
        values = [one.get(name) for one in known.values()]
        if kind in used or (kind == "tags" and not all(map(_are_tags, values))):
            kind = ""
        used.add(kind)
        properties.append(_property(name, kind, values))
    inline = {"ids": [str(number) for number in known], "properties": properties}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def _by_id(segments: Segments) -> dict[int, Mapping[str, Any]]:
    """Return the first entry of each id that can be one."""
    known: dict[int, Mapping[str, Any]] = {}
    for one in segments:
        number = one.get(_ID)
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 64:
            known.setdefault(number, one)
    return known


def _property(name: str, kind: str, values: list[Any]) -> dict[str, Any]:
    if kind == "tags":
        return _tags(name, values)
    if not kind and all(map(_is_number, values)):
        return {"id": name, "type": "number", "data_type": _dtype(values), "values": values}
    return {"id": name, "type": kind or "string", "values": list(map(_text, values))}


def _tags(name: str, values: list[Any]) -> dict[str, Any]:
    given = [sorted(set(value or ())) for value in values]
    tags = sorted({tag for each in given for tag in each})
    places = {tag: place for place, tag in enumerate(tags)}
    chosen = [[places[tag] for tag in each] for each in given]
    return {"id": name, "type": "tags", "tags": tags, "values": chosen}


def _are_tags(value: object) -> bool:
    """Tell whether a value is a list of words as the format has tags: without spaces."""
    return value is None or (
        isinstance(value, list)
        and all(isinstance(tag, str) and tag and not set(tag) & set(" #") for tag in value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _dtype(values: list[int | float]) -> str:
    if all(isinstance(value, int) for value in values):
        low, high = min(values), max(values)
        for name in _INTEGERS:
            limits = np.iinfo(name)
            if limits.min <= low and high <= limits.max:
                return name
    return "float32"


def _text(value: object) -> str:
    return "" if value is None else str(value)
