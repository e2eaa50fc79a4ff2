"""Trials of a recording on one line of time, and the frames of each variable along it.

Files of trials say nothing about their order or when they were, so they are laid one after another
from 0 on. Sums are exact: frames of trials that follow each other without a gap are known to be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from microtome_core.errors import InputError
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import VariableFacts, bounds
from microtome_core.store.recording_pieces import Piece

# Of one read of a trial that is larger.
_MOST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Track:
    """The frames of all trials that one stored array of a variable holds, one after another.

    Parameters
    ----------
    variable : str
    array : int
        Which of the arrays of the variable, since extents or dtype may differ.
    pieces : tuple of Piece
        Of the trials that have values in it, in order.
    first : tuple of int
        The first frame of each piece among all frames of the track.
    starts : tuple of Fraction
        Seconds at which each piece begins.
    rate : Fraction
        Frames a second.
    """

    variable: str
    array: int
    pieces: tuple[Piece, ...]
    first: tuple[int, ...]
    starts: tuple[Fraction, ...]
    rate: Fraction

    @property
    def name(self) -> str:
        """The variable, and a number where it has several arrays."""
        return f"{self.variable}-{self.array + 1}" if self.array else self.variable

    @property
    def frames(self) -> int:
        """All frames."""
        return self.first[-1] + self.pieces[-1].valid

    @property
    def lead(self) -> tuple[int, ...]:
        """Extents of a frame."""
        return self.pieces[0].shape[:-1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the values."""
        return np.dtype(self.pieces[0].dtype)

    @property
    def regular(self) -> bool:
        """Whether every frame follows the one before it at the rate, without a gap."""
        frames = zip(self.first, self.starts, strict=True)
        return all(start - self.starts[0] == first / self.rate for first, start in frames)

    def windows(self) -> Iterator[tuple[Piece, int, int, int]]:
        """Yield what is read at once: a piece, its frames, and the first of them in the track."""
        for piece, first in zip(self.pieces, self.first, strict=True):
            frame = max(1, piece.nbytes // piece.valid)
            step = max(1, _MOST_BYTES // frame)
            for start in range(0, piece.valid, step):
                yield piece, start, min(start + step, piece.valid), first + start


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where each trial lies.

    Parameters
    ----------
    bounds : tuple of Fraction
        Seconds: trial i lies within ``bounds[i]`` and ``bounds[i + 1]``.
    tracks : tuple of Track
        Those with frames.
    """

    bounds: tuple[Fraction, ...]
    tracks: tuple[Track, ...]


def lay(recording: Recording, *, guess: bool = False) -> Timeline:
    """Lay the trials one after another, each as long as the longest of its variables.

    Parameters
    ----------
    guess : bool
        Where nobody knows a rate, number the frames.

    Raises
    ------
    InputError
        Nobody knows the rate of a variable, and its frames are not to be numbered instead.
    """
    rates = {name: _rate(recording, name, guess) for name in recording.variables}
    position, ends = Fraction(0), [Fraction(0)]
    for trial in recording.trials:
        position += max((p.valid / rates[n] for n, p in trial.pieces.items()), default=Fraction(0))
        ends.append(position)
    tracks = [
        _track(recording, name, array, ends, rates[name])
        for name, facts in recording.variables.items()
        for array in range(len(facts.arrays))
    ]
    return Timeline(tuple(ends), tuple(track for track in tracks if track is not None))


def rate_of(facts: VariableFacts) -> float | None:
    """Return frames a second, None where nobody knows."""
    return facts.rate if facts.rate and facts.rate > 0 else None


def _rate(recording: Recording, name: str, guess: bool) -> Fraction:
    rate = rate_of(recording.variables[name])
    if rate is None and not guess:
        raise InputError(
            f"{recording.id}: the rate of {name} is not known, and NWB needs it: ingest it with "
            "--time-step SECONDS, or number the frames with --allow-incomplete"
        )
    return Fraction(rate or 1)


def _track(
    recording: Recording, name: str, array: int, ends: Sequence[Fraction], rate: Fraction
) -> Track | None:
    pieces, starts = [], []
    for trial, start in zip(recording.trials, ends, strict=False):
        piece = trial.pieces[name]
        if piece.state == "stored" and piece.array == array and piece.valid:
            pieces.append(piece)
            starts.append(start)
    first = bounds([piece.valid for piece in pieces])[:-1]
    return Track(name, array, tuple(pieces), tuple(first), tuple(starts), rate) if pieces else None
