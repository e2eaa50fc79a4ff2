"""What a recording is read in: trials, the piece of a variable in each, and one row over trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.recording_document import RecordingFacts, State


@dataclass(frozen=True, slots=True)
class Piece:
    """One variable of one trial.

    Parameters
    ----------
    variable : str
    number : int
        Of the trial.
    state : State
        ``stored``; ``missing``: the source has none; ``withheld``: whoever published the source
        keeps it back; ``nan``: all of it is NaN.
    shape : tuple of int
        Without the NaN at its end, time last. Of a withheld one what the source claims to have.
    length : int
        Frames of the source's array, the padding included.
    """

    variable: str
    number: int
    state: State
    shape: tuple[int, ...]
    length: int
    dtype: str
    array: int
    offset: int
    stored: int
    tail: bytes | None

    @property
    def valid(self) -> int:
        """Frames without those of NaN alone at the end."""
        return self.shape[-1] if self.shape else 0

    @property
    def nbytes(self) -> int:
        """Bytes of what reading it returns."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a trial lies.

    Parameters
    ----------
    what : str
        For messages.
    path : str
        Of the stored array.
    box : tuple of slice
        In it.
    dtype : str
        As the document promises.
    """

    what: str
    path: str
    box: tuple[slice, ...]
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return tuple(part.stop - part.start for part in self.box)

    def checked(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return what was read, which is of the shape and dtype that the document promises.

        Raises
        ------
        StorageError
        """
        if found.shape != self.shape or found.dtype != self.dtype:
            raise StorageError(
                f"{found.dtype} of shape {found.shape} was read, expected {self.dtype} of "
                f"{self.shape}"
            )
        return found


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Parameters
    ----------
    number : int
        As the source's files are named; it says nothing about the order in time.
    name : str
        Of its files, without ``.npy``.
    tier : str, optional
    pieces : dict
        By variable; every variable of the recording has one.
    """

    number: int
    name: str
    tier: str | None
    pieces: Mapping[str, Piece]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a variable, such as a neuron, over trials that lie one after another.

    Parameters
    ----------
    values : array of shape (time,)
    numbers : tuple of int
        The trials, in the order in which they come.
    bounds : tuple of int
        Trial i is ``values[bounds[i]:bounds[i + 1]]``.
    left_out : dict
        Trials that were asked for and have no values, and why: ``missing``, ``withheld``, ``nan``.
    """

    values: NDArray[Any]
    numbers: tuple[int, ...]
    bounds: tuple[int, ...]
    left_out: Mapping[int, State]


def trial_of(facts: RecordingFacts, index: int) -> Trial:
    """Return the trial at an index of the recording's columns."""
    pieces = {name: _piece(facts, name, index) for name in facts.variables}
    return Trial(facts.trials[index], facts.names[index], facts.tiers[index], pieces)


def _piece(facts: RecordingFacts, name: str, index: int) -> Piece:
    variable, columns = facts.variables[name], facts.variables[name].pieces
    number, tail = columns.array[index], columns.tail[index]
    stored = variable.arrays[number] if number >= 0 else None
    return Piece(
        variable=name,
        number=facts.trials[index],
        state=columns.state[index],
        shape=(*stored.shape, columns.valid[index]) if stored else (),
        length=columns.length[index],
        dtype=stored.dtype if stored else "",
        array=number,
        offset=columns.offset[index],
        stored=columns.stored[index],
        tail=None if tail is None else bytes.fromhex(tail),
    )
