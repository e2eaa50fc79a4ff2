"""The exact median of more numbers than fit in memory, by the digits of their bits."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16
_BINS = 1 << _DIGIT
_SIGN = np.uint64(1 << 63)


def median_of(parts: Callable[[], Iterator[NDArray[np.float64]]], count: int) -> float:
    """Return the median, NaN left out; every number is looked at four times for each rank.

    Parameters
    ----------
    parts : callable
        Yields all numbers, anew at each call.
    count : int
        How many there are that are not NaN; at least one.
    """
    low = _ranked(parts, (count - 1) // 2)
    return low if count % 2 else (low + _ranked(parts, count // 2)) / 2


def _ranked(parts: Callable[[], Iterator[NDArray[np.float64]]], rank: int) -> float:
    """Return the number of a rank, from 0: a digit of 16 bits a pass, the highest first."""
    prefix = np.uint64(0)
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(_BINS, np.int64)
        for part in parts():
            keys = _keys(part)
            if shift < 64 - _DIGIT:
                above = np.uint64(shift + _DIGIT)
                keys = keys[keys >> above == prefix >> above]
            digits = (keys >> np.uint64(shift)) & np.uint64(_BINS - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=_BINS)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit - 1]) if digit else 0
        prefix |= np.uint64(digit) << np.uint64(shift)
    return _number(prefix)


def _keys(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return whole numbers that are ordered as the values are."""
    kept = np.ascontiguousarray(values[~np.isnan(values)])
    bits = kept.view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(key: np.uint64) -> float:
    bits = key ^ _SIGN if key & _SIGN else ~key
    return float(np.array([bits], np.uint64).view(np.float64)[0])
