"""Writing the arrays of a recording: from the source along time, then turned, row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.store.location import Store, storage_errors
from microtome_core.store.recordings import open_arrays
from microtome_ingest.recordings.ledger import Done, Stored, shard_done
from microtome_ingest.recordings.pieces import Kept, read_piece
from microtome_ingest.recordings.plan import DataArray, TimeArray, Unit
from microtome_ingest.recordings.survey import Survey


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes units of one version of a recording.

    Parameters
    ----------
    store : Store
    folder : str
        Of the version.
    survey : Survey
    arrays : dict
        Open arrays by path.
    check : callable
        Raises where nothing more may be written.
    """

    store: Store
    folder: str
    survey: Survey
    arrays: dict[str, ts.TensorStore]
    check: Callable[[], None]

    def write(self, data: DataArray, unit: Unit) -> Done:
        """Write the shards of a unit from the source; holds a shard and a trial in memory.

        Raises
        ------
        SourceError, StorageError
        """
        facts: dict[str, Any] = {}
        edge, total = data.spec.shard[-1], data.spec.shape[-1]
        begin, end = unit.shards.start * edge, min(unit.shards.stop * edge, total)
        # A trial that is longer than a shard has its unit to itself.
        alone = len(unit.shards) > 1
        block = None if alone else self._block(data.spec, end - begin)
        values: NDArray[Any] | None = None
        for index in unit.trials:
            kept, values = read_piece(self.survey, data.group, index)
            facts[str(index)] = kept.to_json()
            values = values[..., : kept.stored]
            if block is not None:
                first = data.offsets[index] - begin
                block[..., first : first + kept.stored] = values
        objects = []
        for shard in unit.shards:
            low, high = shard * edge, min((shard + 1) * edge, total)
            part = block if block is not None else self._part(data, values, low - begin, high - low)
            objects.append(self._write(data.path, data.spec, (slice(low, high),), part, shard))
        return Done(unit.name, tuple(objects), facts)

    def turn(self, data: DataArray, spec: TimeArray, row: int, frame: int) -> Done:
        """Write one shard of the copy by rows from the array as it is stored.

        Parameters
        ----------
        row, frame : int
            The shard's index.
        """
        rows, frames = spec.shard
        low, first = row * rows, frame * frames
        box = (
            slice(low, min(low + rows, spec.shape[0])),
            slice(first, min(first + frames, spec.shape[1])),
        )
        source = self._reading(data.path)
        with storage_errors(f"{self.store.url}/{self.folder}/{data.path}"):
            block = np.asarray(source[box].read().result())
        self.check()
        path = data.turned_path
        with storage_errors(f"{self.store.url}/{self.folder}/{path}"):
            self.arrays[path][box].write(block).result()
        stored = shard_done(self.store, self.folder, path, spec, (row, frame))
        return Done(turned_name(data, row, frame), (stored,), {})

    def _reading(self, path: str) -> ts.TensorStore:
        """Open an array so that a chunk which is missing is an error."""
        return open_arrays(self.store, self.folder, [path])[path]

    def _block(self, spec: TimeArray, frames: int) -> NDArray[Any]:
        return np.full((*spec.shape[:-1], frames), spec.filler, spec.dtype)

    def _part(
        self, data: DataArray, values: NDArray[Any] | None, first: int, frames: int
    ) -> NDArray[Any]:
        block = self._block(data.spec, frames)
        if values is not None:
            part = values[..., first : first + frames]
            block[..., : part.shape[-1]] = part
        return block

    def _write(
        self,
        path: str,
        spec: TimeArray,
        time: tuple[slice],
        block: NDArray[Any],
        shard: int,
    ) -> Stored:
        self.check()
        with storage_errors(f"{self.store.url}/{self.folder}/{path}"):
            self.arrays[path][(..., *time)].write(block).result()
        index = (0,) * (len(spec.shape) - 1) + (shard,)
        return shard_done(self.store, self.folder, path, spec, index)


def turned_name(data: DataArray, row: int, frame: int) -> str:
    """Return the name of the unit that writes a shard of the copy by rows."""
    return f"{data.turned_path}/{row}/{frame}"


def turned_units(spec: TimeArray) -> list[tuple[int, int]]:
    """Return the shards of a copy by rows."""
    rows, frames = (-(-extent // edge) for extent, edge in zip(spec.shape, spec.shard, strict=True))
    return [(row, frame) for row in range(rows) for frame in range(frames)]


def kept_of(facts: dict[str, Any]) -> dict[int, Kept]:
    """Read what a note says of the arrays of a unit, by the index of their trial."""
    return {int(index): Kept(**told) for index, told in facts.items()}
