"""Reading a recording: one trial, a window of it, one row over all trials, the neurons.

Values are read by `read` where there is an event loop, by `load` where there is none.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
import xxhash
from numpy.typing import NDArray

from microtome_core.errors import InputError, NotFound, RegionError, StorageError, Withheld
from microtome_core.names import LayerId
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.recording_document import (
    Column,
    KeptFile,
    RecordingFacts,
    State,
    Statistic,
    VariableFacts,
    bounds,
)
from microtome_core.store.recording_pieces import Piece, Place, Row, Trial, trial_of
from microtome_core.store.shard_files import ShardFiles, in_threads

_MOST_THREADS = 4


@dataclass(frozen=True)
class Recording:
    """A visible recording; make it with `read_recording`.

    Parameters
    ----------
    id : LayerId
    store : Store
    path : str
        The layer's folder below the root.
    folder : str
        Of the version that is visible.
    version : str
        Of the values: another one once they were replaced.
    facts : RecordingFacts
    record : dict
        NWB-style.
    arrays : dict
        The open Zarr arrays by their path below the folder.
    files : dict
        Of those that hold trials, the ones that `load` reads as files.
    document : bytes
    record_version : str
        Of all metadata: another one whenever the record has changed, too.
    """

    id: LayerId
    store: Store
    path: str
    folder: str
    version: str
    facts: RecordingFacts
    record: Mapping[str, Any]
    arrays: Mapping[str, ts.TensorStore]
    document: bytes = b"{}"
    files: Mapping[str, ShardFiles] = field(default_factory=dict)
    record_version: str = ""

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in natural order of the names of their files."""
        return tuple(trial_of(self.facts, index) for index in range(len(self.facts.trials)))

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all values that there are, uncompressed, without padding."""
        pieces = (piece for trial in self.trials for piece in trial.pieces.values())
        return sum(
            prod(piece.shape[:-1]) * piece.valid * np.dtype(piece.dtype).itemsize
            for piece in pieces
            if piece.state == "stored"
        )

    @property
    def variables(self) -> Mapping[str, VariableFacts]:
        """Axes, unit, rate and arrays of each variable by its name."""
        return self.facts.variables

    @property
    def neurons(self) -> Mapping[str, Column]:
        """The columns of the table of neurons."""
        return self.facts.neurons

    @property
    def statistics(self) -> Sequence[Statistic]:
        """The statistics that were supplied and computed; `read_file` returns their values."""
        return self.facts.statistics

    @cached_property
    def _indices(self) -> Mapping[int, int]:
        return {number: index for index, number in enumerate(self.facts.trials)}

    def trial(self, number: int) -> Trial:
        """Return a trial by its number.

        Raises
        ------
        NotFound
        """
        index = self._indices.get(number)
        if index is None:
            raise NotFound(f"recording {self.id} has no trial {number}")
        return self.trials[index]

    def variable(self, name: str) -> VariableFacts:
        """Return what is known of a variable.

        Raises
        ------
        NotFound
        """
        if name not in self.variables:
            raise NotFound(
                f"recording {self.id} has no {name[:80]}: it has {', '.join(self.variables)}"
            )
        return self.variables[name]

    def readable(self, variable: str, number: int) -> Piece:
        """Return the piece of a trial that can be read.

        Raises
        ------
        NotFound
            No such trial or variable, or the source has no array of it.
        Withheld
            Whoever published the source keeps it back.
        """
        self.variable(variable)
        piece = self.trial(number).pieces[variable]
        if piece.state == "missing":
            raise NotFound(f"the source of {self.id} has no {variable} of trial {number}")
        if piece.state == "withheld":
            tier = self.trial(number).tier
            raise Withheld(
                f"{variable} of trial {number} ({tier}) are withheld by those who published them"
            )
        return piece

    async def read(
        self,
        variable: str,
        number: int,
        start: int = 0,
        stop: int | None = None,
        rows: slice | None = None,
    ) -> NDArray[Any]:
        """Return a variable of a trial, or a window of it, C-contiguous, time last.

        Parameters
        ----------
        variable : str
        number : int
            Of the trial.
        start, stop : int, optional
            Frames, ``0 <= start <= stop <= valid``.
        rows : slice, optional
            Of the first axis, without a step.

        Raises
        ------
        NotFound, Withheld
            As `readable`.
        RegionError
            A window outside of it.
        StorageError
            Storage failed, or holds damaged data. Never fill values instead.
        """
        place = self._place(variable, number, start, stop, rows)
        if not prod(place.shape):
            return np.empty(place.shape, place.dtype)
        with storage_errors(place.what):
            return place.checked(np.asarray(await self.arrays[place.path][place.box].read()))

    def load(
        self,
        variable: str,
        number: int,
        start: int = 0,
        stop: int | None = None,
        rows: slice | None = None,
        threads: int | None = None,
    ) -> NDArray[Any]:
        """Return the same as `read`, without an event loop, and sooner from a local store.

        The array may be a view of one that holds some frames more. `threads` share what is large;
        as many as there are processors, and no more than four, by default.
        """
        place = self._place(variable, number, start, stop, rows)
        return self._end(place, self._begin(place), _threads(threads))

    def load_all(
        self, wanted: Iterable[tuple[str, int]], threads: int | None = None
    ) -> list[NDArray[Any]]:
        """Return several variables of several trials, as `load` does, all of them begun at once.

        Parameters
        ----------
        wanted : iterable of (str, int)
            Variable and number of the trial.
        threads : int, optional
            As in `load`.
        """
        places = [self._place(*each) for each in wanted]
        # What lies in a bucket is asked for before the first of it is waited for.
        begun = [(place, self._begin(place)) for place in places]
        return in_threads(lambda each: self._end(*each, 1), begun, _threads(threads))

    async def read_row(self, variable: str, row: int, numbers: Iterable[int] | None = None) -> Row:
        """Return one row of a variable of two axes over trials, such as one neuron's responses.

        Parameters
        ----------
        variable : str
        row : int
            Index of the first axis.
        numbers : iterable of int, optional
            The trials; all by default. Those without values are named in the answer.

        Raises
        ------
        NotFound, InputError, RegionError, StorageError
        """
        pieces, left_out = self._row_pieces(variable, numbers)
        futures = self._row_futures(variable, row, pieces)
        with storage_errors(f"{self.id}: row {row} of {variable}"):
            rows = {array: np.asarray(await future) for array, future in futures.items()}
        return self._row(variable, pieces, rows, left_out)

    def load_row(self, variable: str, row: int, numbers: Iterable[int] | None = None) -> Row:
        """Return the same as `read_row`, without an event loop."""
        pieces, left_out = self._row_pieces(variable, numbers)
        futures = self._row_futures(variable, row, pieces)
        with storage_errors(f"{self.id}: row {row} of {variable}"):
            rows = {array: np.asarray(future.result()) for array, future in futures.items()}
        return self._row(variable, pieces, rows, left_out)

    async def read_neurons(self, column: str) -> NDArray[Any]:
        """Return a column of the table of neurons, such as ``cell_motor_coordinates`` (n, 3) in µm.

        Raises
        ------
        NotFound, StorageError
        """
        view = self._column(column)
        with storage_errors(f"{self.id}: {column}"):
            return np.asarray(await view.read())

    def load_neurons(self, column: str) -> NDArray[Any]:
        """Return the same as `read_neurons`, without an event loop."""
        view = self._column(column)
        with storage_errors(f"{self.id}: {column}"):
            return np.asarray(view.read().result())

    def read_file(self, file: KeptFile | str) -> bytes:
        """Return a kept or computed file, which its digest proves whole. Blocks.

        Raises
        ------
        NotFound
            No such file.
        StorageError
            Storage failed, or the file is not what was written.
        """
        kept = file if isinstance(file, KeptFile) else self._file(file)
        place = f"{self.folder}/{kept.path}"
        content = self.store.read(place)
        if content is None or xxhash.xxh3_128_hexdigest(content) != kept.xxh3:
            raise StorageError(f"{self.store.url}/{place}: is not what was written")
        return content

    def _file(self, path: str) -> KeptFile:
        for kept in (*self.facts.files, *self.facts.computed):
            if kept.path == path:
                return kept
        raise NotFound(f"recording {self.id} has no file {path[:80]}")

    def _column(self, name: str) -> ts.TensorStore:
        if name not in self.neurons:
            raise NotFound(
                f"recording {self.id} has no column {name[:80]} of neurons: it has "
                f"{', '.join(self.neurons) or 'none'}"
            )
        return self.arrays[self.neurons[name].path]

    def _begin(self, place: Place) -> Callable[[int], NDArray[Any]]:
        """Begin to read what others have to bring; return what ends it, in so many threads."""
        if not prod(place.shape):
            return lambda _: np.empty(place.shape, place.dtype)
        if place.path in self.files:
            return partial(self.files[place.path].read, place.box)
        future = self.arrays[place.path][place.box].read()
        return lambda _: np.asarray(future.result())

    @staticmethod
    def _end(place: Place, begun: Callable[[int], NDArray[Any]], threads: int) -> NDArray[Any]:
        try:
            with storage_errors(place.what):
                return place.checked(begun(threads))
        except StorageError as error:
            # Of a file it tells which one, and not what lies in it.
            if place.what in str(error):
                raise
            raise type(error)(f"{place.what}: {error}") from error

    def _place(
        self,
        variable: str,
        number: int,
        start: int = 0,
        stop: int | None = None,
        rows: slice | None = None,
    ) -> Place:
        """Return where a variable of a trial, or a window of it, lies; raises as `read`."""
        piece = self.readable(variable, number)
        stop = piece.valid if stop is None else stop
        if not 0 <= start <= stop <= piece.valid:
            raise RegionError(
                f"frames {start}:{stop} of {variable} of trial {number}: expected within "
                f"0:{piece.valid}"
            )
        chosen = _checked_rows(rows, piece.shape)
        whole = [slice(0, extent) for extent in piece.shape[1:-1]]
        return Place(
            f"{self.id}: {variable} of trial {number}",
            self.variables[variable].arrays[piece.array].path,
            (chosen, *whole, slice(piece.offset + start, piece.offset + stop)),
            piece.dtype,
        )

    def _row_pieces(
        self, variable: str, numbers: Iterable[int] | None
    ) -> tuple[list[Piece], dict[int, State]]:
        axes = self.variable(variable).axes
        if len(axes) != 2:
            raise InputError(f"{variable} has axes {', '.join(axes)}: it has no rows over time")
        asked = self.trials if numbers is None else [self.trial(number) for number in numbers]
        pieces = [trial.pieces[variable] for trial in asked]
        left_out: dict[int, State] = {p.number: p.state for p in pieces if p.state != "stored"}
        return [piece for piece in pieces if piece.state == "stored"], left_out

    def _row_futures(
        self, variable: str, row: int, pieces: Sequence[Piece]
    ) -> "dict[int, ts.Future[NDArray[Any]]]":
        """Begin to read a row of each array that holds one of the pieces."""
        futures = {}
        for array in sorted({piece.array for piece in pieces}):
            stored = self.variables[variable].arrays[array]
            if not 0 <= row < stored.shape[0]:
                raise RegionError(f"row {row} of {variable}: expected 0 to {stored.shape[0] - 1}")
            futures[array] = self.arrays[stored.by_row or stored.path][row].read()
        return futures

    def _row(
        self,
        variable: str,
        pieces: Sequence[Piece],
        rows: Mapping[int, NDArray[Any]],
        left_out: Mapping[int, State],
    ) -> Row:
        parts = [rows[p.array][p.offset : p.offset + p.valid] for p in pieces]
        arrays = self.variables[variable].arrays
        values = (
            np.concatenate(parts) if parts else np.empty(0, arrays[0].dtype if arrays else "f4")
        )
        ends = bounds([piece.valid for piece in pieces])
        return Row(values, tuple(piece.number for piece in pieces), tuple(ends), left_out)


def _threads(asked: int | None) -> int:
    return min(os.cpu_count() or 1, _MOST_THREADS) if asked is None else asked


def _checked_rows(rows: slice | None, shape: tuple[int, ...]) -> slice:
    count = shape[0]
    start, stop = (0, count) if rows is None else (rows.start or 0, rows.stop)
    stop = count if stop is None else stop
    if not 0 <= start <= stop <= count or (rows is not None and rows.step not in (None, 1)):
        raise RegionError(f"rows {start}:{stop}: expected within 0:{count}, without a step")
    return slice(start, stop)
