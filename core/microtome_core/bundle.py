"""Many arrays in one body: how trials of a recording are sent, ``microtome-trials/1``.

A body is the length of the header as a little-endian uint64; the header, JSON in UTF-8, padded by
spaces to a multiple of 8 bytes; the data. The header says of each array which trial and variable it
is, its shape, dtype, and where in the data it lies: little-endian values in C order, each array
beginning at a multiple of 8 bytes. An array that is withheld has no data, and the offset -1.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from microtome_core.errors import InputError

FORMAT = "microtome-trials/1"
MEDIA_TYPE = "application/vnd.microtome.trials"
LENGTH_BYTES = 8
ALIGNED = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One array of a body.

    Parameters
    ----------
    place : int
        In the list of trials that was asked for.
    trial : int
    variable : str
    start : int
        Sample of the trial that is the first of the array.
    shape : tuple of int
        In the order of the variable's axes.
    dtype : str
        NumPy's name, without byte order.
    withheld : bool
        Its values are not given to anybody.
    """

    place: int
    trial: int
    variable: str
    start: int
    shape: tuple[int, ...]
    dtype: str
    withheld: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its values in the body."""
        return 0 if self.withheld else prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def padding(self) -> int:
        """Bytes of zeros that follow it."""
        return -self.nbytes % ALIGNED


def pack_header(about: Mapping[str, Any], items: Sequence[Item]) -> bytes:
    """Return what a body begins with: the length of its header, and the header."""
    arrays, end = [], 0
    for item in items:
        arrays.append(
            {
                "place": item.place,
                "trial": item.trial,
                "variable": item.variable,
                "start": item.start,
                "shape": item.shape,
                "dtype": item.dtype,
                "withheld": item.withheld,
                "offset": -1 if item.withheld else end,
                "nbytes": item.nbytes,
            }
        )
        end += item.nbytes + item.padding
    document = {"format": FORMAT, **about, "arrays": arrays}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def data_bytes(items: Iterable[Item]) -> int:
    """Return the bytes that follow the header."""
    return sum(item.nbytes + item.padding for item in items)


def parse_header(text: bytes) -> tuple[dict[str, Any], list[Item]]:
    """Read a header, without the length before it.

    Raises
    ------
    InputError
        It is none, of another version, or its arrays do not follow each other as they should.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InputError(f"format {document['format']!r:.80}, expected {FORMAT!r}")
        items = [_item(array) for array in document["arrays"]]
        _check_places(items, [array["offset"] for array in document["arrays"]])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"not a header of {FORMAT}: {error!r:.500}") from error
    return document, items


def _item(array: Mapping[str, Any]) -> Item:
    shape = tuple(array["shape"])
    if not all(type(extent) is int and extent >= 0 for extent in shape):
        raise InputError(f"shape {shape!r:.80}")
    place, trial, start = (int(array[name]) for name in ("place", "trial", "start"))
    dtype = np.dtype(array["dtype"]).name
    return Item(place, trial, str(array["variable"]), start, shape, dtype, bool(array["withheld"]))


def _check_places(items: Sequence[Item], offsets: Sequence[int]) -> None:
    end = 0
    for item, offset in zip(items, offsets, strict=True):
        if offset != (-1 if item.withheld else end):
            raise InputError(f"trial {item.trial}, {item.variable}: offset {offset}, not {end}")
        end += item.nbytes + item.padding
