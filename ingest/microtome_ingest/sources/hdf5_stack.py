"""Datasets z y x, one for each time point and channel, as one image."""

from collections.abc import Mapping
from dataclasses import dataclass

from microtome_core.errors import SourceError
from microtome_ingest.sources.hdf5_file import Hdf5Files
from microtome_ingest.sources.hdf5_storage import Piece

_MOST_NOTES = 3


@dataclass(frozen=True, slots=True)
class Stack:
    """An image made of datasets; axes of one element are dropped, but y and x stay.

    Parameters
    ----------
    axes : str
    shape : tuple of int
    pieces : dict
        Datasets by index along t and c, as far as those are kept.
    """

    axes: str
    shape: tuple[int, ...]
    pieces: Mapping[tuple[int, ...], Piece]

    @property
    def first(self) -> Piece:
        """The dataset of the first time point and channel."""
        return next(iter(self.pieces.values()))

    @property
    def dtype(self) -> str:
        """As stored."""
        return self.first.dtype

    @property
    def block(self) -> tuple[int, ...]:
        """What is decoded at once."""
        outer = len(next(iter(self.pieces)))
        inner = self.first.block[outer - len(self.axes) :]
        return (1,) * outer + tuple(map(min, inner, self.shape[outer:]))

    def files(self, *named: str) -> tuple[str, ...]:
        """Return `named` and every file that a dataset is in, each once."""
        return tuple(dict.fromkeys([*named, *(piece.file for piece in self.pieces.values())]))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the datasets."""
        found = [note for piece in self.pieces.values() for note in piece.notes]
        more = len(found) - _MOST_NOTES
        return (*found[:_MOST_NOTES], *([f"and so in {more} more arrays"] if more > 0 else []))


def stacked(
    books: Hdf5Files,
    name: str,
    views: Mapping[tuple[int, int], tuple[str, str]],
    shape: tuple[int, ...] | None,
) -> Stack:
    """Return the image that datasets make.

    Parameters
    ----------
    books : Hdf5Files
    name : str
        Of the file, for messages.
    views : dict
        File and path by (time point, channel), each counted from 0.
    shape : tuple of int, optional
        Extents z y x that every dataset is cropped to; its own where None.

    Raises
    ------
    SourceError
        One is missing, smaller than `shape`, or differs from the first.
    """
    found = {index: books.piece(*place) for index, place in views.items()}
    first = next(iter(found.values()))
    for piece in found.values():
        _check(name, piece, first, shape or first.shape)
    z, y, x = shape or first.shape
    times, channels = (max(index[axis] for index in found) + 1 for axis in (0, 1))
    extents = {"t": times, "c": channels, "z": z, "y": y, "x": x}
    axes = "".join(axis for axis, extent in extents.items() if extent > 1 or axis in "yx")
    kept = [i for i, axis in enumerate("tc") if axis in axes]
    pieces = {tuple(index[i] for i in kept): piece for index, piece in found.items()}
    return Stack(axes, tuple(extents[axis] for axis in axes), pieces)


def _check(name: str, piece: Piece, first: Piece, shape: tuple[int, ...]) -> None:
    if len(piece.shape) != 3 or any(map(int.__lt__, piece.shape, shape)):
        reason = f"has shape {piece.shape}: expected z y x, at least {shape}"
        raise SourceError(name, f"{piece.path} {reason}")
    if (piece.shape, piece.dtype) != (first.shape, first.dtype):
        reason = f"is {piece.dtype} {piece.shape}, but {first.path} {first.dtype} {first.shape}"
        raise SourceError(name, f"{piece.path} {reason}: expected the same")
