"""How a channel is shown of which nobody says so."""

import numpy as np
from numpy.typing import DTypeLike

from microtome_core.names import numbered_channel
from microtome_core.wire import Channel

PALETTE = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def value_range(dtype: DTypeLike) -> tuple[float, float]:
    """Return the smallest and the largest value of a type; of floats 0 and 1.

    >>> value_range("int8"), value_range("float32")
    ((-128.0, 127.0), (0.0, 1.0))
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return 0.0, 1.0
    return float(np.iinfo(kind).min), float(np.iinfo(kind).max)


def default_channel(number: int, dtype: DTypeLike) -> Channel:
    """Return a channel that has its number for a name, over all that its type can hold."""
    color = PALETTE[number % len(PALETTE)]
    return Channel(numbered_channel(number), color, value_range(dtype))
