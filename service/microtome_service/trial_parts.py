"""Parts of a recording: what each costs, and reading it.

What a part costs is known from the recording's document before anything is read.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.errors import InputError, StorageError, TooLarge
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece, Row, Trial
from microtome_service.errors import Unreadable
from microtome_service.exchange import observer, span
from microtome_service.reader import Cost, Limits
from microtome_service.state import Service


@dataclass(frozen=True, slots=True)
class Part:
    """A variable of one trial, or a window of it.

    Parameters
    ----------
    recording : Recording
    piece : Piece
    start, stop : int
        Samples.
    rows : slice
        Of the first axis: what is read.
    picked : tuple of int, optional
        Which of the rows read are wanted, in their order; all by default.
    """

    recording: Recording
    piece: Piece
    start: int
    stop: int
    rows: slice
    picked: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"recording {self.recording.id}, {self.piece.variable} of trial {self.piece.number}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the answer."""
        rows = self.rows.stop - self.rows.start if self.picked is None else len(self.picked)
        return (rows, *self.piece.shape[1:-1], self.stop - self.start)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the answer."""
        return np.dtype(self.piece.dtype)

    @property
    def nbytes(self) -> int:
        """Of the answer."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def cost(self) -> Cost:
        """What reading it costs; what is read and not wanted counts as voxels, too."""
        if not self.nbytes:
            return Cost(0, 0, 0)
        facts = self.recording.variables[self.piece.variable].arrays[self.piece.array]
        first = self.piece.offset + self.start
        whole = [slice(0, extent) for extent in self.piece.shape[1:-1]]
        taken = (self.rows, *whole, slice(first, self.piece.offset + self.stop))
        read = prod(s.stop - s.start for s in taken) * self.dtype.itemsize
        chunks, decoded = _touched(self.recording.arrays[facts.path], taken)
        extra = read if self.picked is not None else 0
        return Cost(self.nbytes + extra, decoded, chunks)

    @property
    def is_local(self) -> bool:
        """Whether it is read as files, by a thread."""
        facts = self.recording.variables[self.piece.variable].arrays[self.piece.array]
        return facts.path in self.recording.files

    async def read(self) -> NDArray[Any]:
        """Return the rows that hold what is wanted; raises as `Recording.read`."""
        return await self.recording.read(*self._words)

    def load(self) -> NDArray[Any]:
        """Return what is wanted, in C order; blocks. Other parts are read beside it."""
        return self.pick(self.recording.load(*self._words, threads=1))

    def pick(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return those of the rows read that are wanted, in C order."""
        chosen = values if self.picked is None else values[list(self.picked)]
        return np.ascontiguousarray(chosen)

    @property
    def _words(self) -> tuple[str, int, int, int, slice]:
        piece = self.piece
        return (piece.variable, piece.number, self.start, self.stop, self.rows)


@dataclass(frozen=True, slots=True)
class RowPart:
    """One neuron's row of a variable, over some trials.

    Parameters
    ----------
    recording : Recording
    variable : str
    row : int
    trials : tuple of Trial
    """

    recording: Recording
    variable: str
    row: int
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        return f"recording {self.recording.id}, {self.variable} of neuron {self.row}"

    @property
    def pieces(self) -> list[Piece]:
        """What has values."""
        pieces = [trial.pieces[self.variable] for trial in self.trials]
        return [piece for piece in pieces if piece.state == "stored"]

    @property
    def length(self) -> int:
        """Samples in all."""
        return sum(piece.valid for piece in self.pieces)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        arrays = self.recording.variables[self.variable].arrays
        held = {arrays[p.array].dtype for p in self.pieces} or {a.dtype for a in arrays[:1]}
        return np.result_type(*held) if held else np.dtype("float32")

    @property
    def cost(self) -> Cost:
        """What reading it costs: whole rows of the arrays that hold one of the trials."""
        stored = self.recording.variables[self.variable].arrays
        chunks = decoded = rows = 0
        for number in {piece.array for piece in self.pieces}:
            array = self.recording.arrays[stored[number].by_row or stored[number].path]
            taken = (slice(self.row, self.row + 1), slice(0, array.shape[1]))
            more, bytes_of_them = _touched(array, taken)
            chunks, decoded = chunks + more, decoded + bytes_of_them
            rows += array.shape[1] * array.dtype.numpy_dtype.itemsize
        return Cost(self.length * self.dtype.itemsize + rows, decoded, chunks)

    def load(self) -> Row:
        """Return the values; blocks."""
        numbers = [trial.number for trial in self.trials]
        return self.recording.load_row(self.variable, self.row, numbers)


def check_part(part: Part, limits: Limits) -> Cost:
    """Refuse a part that costs too much, before anything is read.

    Raises
    ------
    TooLarge
        With what was asked for, what is allowed, and what to do.
    """
    return check_limits(part.cost, str(part), limits)


def check_limits(cost: Cost, what: str, limits: Limits) -> Cost:
    """Refuse what costs too much; raises as `check_part`."""
    checked = (
        (cost.voxels, limits.voxels, "bytes of values"),
        (cost.decoded, limits.decoded, "bytes of chunks to decode"),
        (cost.chunks, limits.chunks, "chunks to read"),
    )
    for asked, limit, unit in checked:
        if asked > limit:
            raise TooLarge(
                f"{what} is {asked} {unit}, the limit is {limit}: ask for a shorter window or for "
                "fewer neurons"
            )
    return cost


async def read_part(part: Part, cost: Cost, service: Service) -> NDArray[Any]:
    """Return the values of a part, in its shape and C order.

    Raises
    ------
    Unreadable
        Storage failed, took too long, or holds damaged data.
    """
    if watching := observer():
        watching.decoded(cost.decoded)
    with span("read"), unreadable(str(part)):
        if part.is_local:
            return await service.objects.run(part.load)
        async with asyncio.timeout(service.limits.seconds):
            values = await part.read()
    # Copying thousands of rows takes its time.
    return values if part.picked is None else await service.compute(part.pick, values)


async def read_row(part: RowPart, cost: Cost, service: Service) -> Row:
    """Return one neuron's values; raises as `read_part`."""
    if watching := observer():
        watching.decoded(cost.decoded)
    with span("read"), unreadable(str(part)):
        # Trials are put together of what is read, which is work, and not waiting alone.
        return await service.objects.run(part.load)


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turn every way in which storage can fail into words that are fit for strangers."""
    try:
        yield
    except Unreadable:
        raise
    except (StorageError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise Unreadable(f"{what}: storage failed or holds damaged data") from error


def _chunk(array: ts.TensorStore) -> tuple[int, ...]:
    """Return the extents of a chunk; an axis that the engine leaves open is one chunk."""
    given = array.chunk_layout.read_chunk.shape or array.shape
    return tuple(c or n for c, n in zip(given, array.shape, strict=True))


def _touched(array: ts.TensorStore, taken: Sequence[slice]) -> tuple[int, int]:
    """Return how many chunks a part of an array touches, and their bytes."""
    chunk = _chunk(array)
    counts = [
        -(-s.stop // extent) - s.start // extent for s, extent in zip(taken, chunk, strict=True)
    ]
    count = prod(counts)
    return count, count * prod(chunk) * int(array.dtype.numpy_dtype.itemsize)
