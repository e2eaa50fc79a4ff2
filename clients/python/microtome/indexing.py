"""NumPy's basic indexing, as pure arithmetic: an index expression becomes a range on each axis.

Rules of basic indexing: NumPy user guide, "Indexing on ndarrays".
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import RegionError, UnsupportedIndex

_EXPECTED = "expected an integer, a slice or ... for each axis"


@dataclass(frozen=True, slots=True)
class Cut:
    """Which voxels an index expression asks for, and the form of what answers it.

    Parameters
    ----------
    ranges : tuple of range
        The positions along each axis, in the order wanted; backwards for a negative step.
    dropped : tuple of bool
        The axes that an integer selected and that the answer therefore lacks.
    scalar : bool
        Whether NumPy answers with a scalar rather than an array: integers only, and no ``...``.

    Examples
    --------
    >>> cut = parse_index((3, slice(None, None, -2)), (10, 5, 4), "zyx")
    >>> cut.ranges, cut.shape
    ((range(3, 4), range(4, -1, -2), range(0, 4)), (3, 4))
    """

    ranges: tuple[range, ...]
    dropped: tuple[bool, ...]
    scalar: bool = False

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Extents of every axis, the dropped ones included."""
        return tuple(map(len, self.ranges))

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of what answers the expression."""
        pairs = zip(self.ranges, self.dropped, strict=True)
        return tuple(len(positions) for positions, dropped in pairs if not dropped)

    @property
    def size(self) -> int:
        """Voxels in all."""
        return prod(self.full_shape)

    @property
    def ascending(self) -> tuple[range, ...]:
        """The positions along each axis, lowest first."""
        return tuple(r if r.step > 0 else r[::-1] for r in self.ranges)

    def finish(self, block: NDArray[Any]) -> Any:  # noqa: ANN401 - a scalar or an array, as NumPy's own
        """Give a block of `ascending` voxels the order and the form that were asked for.

        Parameters
        ----------
        block : ndarray
            Of shape `full_shape`.
        """
        index = tuple(
            0 if dropped else slice(None, None, -1 if positions.step < 0 else 1)
            for positions, dropped in zip(self.ranges, self.dropped, strict=True)
        )
        return block[index] if self.scalar else block[(*index, ...)]


def parse_index(key: object, shape: Sequence[int], axes: str) -> Cut:
    """Read the expression within the brackets of ``volume[...]``.

    Parameters
    ----------
    key : int, slice, Ellipsis, or tuple of them
        As Python hands it to ``__getitem__``.
    shape : sequence of int
        Extents of the volume in voxels.
    axes : str
        One letter an axis, in array order.

    Raises
    ------
    UnsupportedIndex
        What is not basic indexing: None, a float, a bool, a list, an array.
    RegionError
        Too many indices, an integer out of bounds, a second ``...``, or a step of zero.
    """
    given = key if isinstance(key, tuple) else (key,)
    for word in given:
        _refuse_advanced(word)
    words = expanded(given, len(shape), axes)
    described = f"axes {axes} of shape {tuple(shape)}"
    ranges = tuple(
        positions_of(word, extent, axis, described)
        for word, extent, axis in zip(words, shape, axes, strict=True)
    )
    dropped = tuple(not isinstance(word, slice) for word in words)
    return Cut(ranges, dropped, all(dropped) and not any(word is Ellipsis for word in given))


def expanded(key: tuple[object, ...], ndim: int, axes: str) -> list[object]:
    """Put whole extents where ``...`` stands, or at the end; one word an axis.

    Raises
    ------
    RegionError
        Too many indices, or a second ``...``.
    """
    dots = [i for i, word in enumerate(key) if word is Ellipsis]
    if len(dots) > 1:
        raise RegionError("an index can hold only a single ellipsis (...)")
    missing = ndim - (len(key) - len(dots))
    if missing < 0:
        raise RegionError(f"too many indices: {len(key) - len(dots)} for {ndim} axes ({axes})")
    at = dots[0] if dots else len(key)
    return [*key[:at], *[slice(None)] * missing, *key[at + 1 :]]


def _refuse_advanced(word: object) -> None:
    if isinstance(word, (slice, EllipsisType)):
        return
    reason = refusal(word)
    if reason:
        raise UnsupportedIndex(f"{reason}: {_EXPECTED}")


def refusal(word: object) -> str | None:
    """Return why a word is no basic index; None for one that is."""
    if word is None:
        return "np.newaxis (None) cannot index a volume; add the axis to the array that it gives"
    if isinstance(word, (bool, np.bool_)):
        return "a bool cannot index a volume"
    if isinstance(word, np.ndarray) and word.dtype == bool:
        return (
            "a boolean mask cannot index a volume; apply it to the array that the volume gives, or "
            "one of a single axis to volume.oindex"
        )
    if isinstance(word, (list, np.ndarray)):
        return (
            "a list or array cannot index a volume; volume.oindex takes one for each axis, "
            "volume.sample takes points"
        )
    if not hasattr(word, "__index__"):
        return f"{word!r:.80} of type {type(word).__name__} cannot index a volume"
    return None


def positions_of(word: object, extent: int, axis: str, described: str) -> range:
    """Return the positions that an integer or a slice selects on an axis.

    Raises
    ------
    UnsupportedIndex, RegionError
        As `parse_index`.
    """
    if isinstance(word, slice):
        try:
            return range(extent)[word]
        except (TypeError, ValueError) as error:
            kind = UnsupportedIndex if isinstance(error, TypeError) else RegionError
            raise kind(f"axis {axis}: {error}") from error
    index = operator.index(word)  # type: ignore[arg-type]  # whoever calls has looked
    if not -extent <= index < extent:
        raise RegionError(
            f"index {index} is out of bounds for axis {axis}: valid is {-extent} to {extent - 1} "
            f"({described})"
        )
    return range(extent)[index % extent : index % extent + 1]
