"""Arrays that lie in chunk files, one or a shard of many each, read by TensorStore."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.grid import Grid
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp, is_remote
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description
from microtome_ingest.sources.chunk_folder import Folder, storage_told
from microtome_ingest.sources.shards import Shards

MOST_AXES = 6
# Decoded at once; what claims more would not fit in memory beside the region.
_MOST_CHUNK = 1 << 30
# Of voxels read together, if a chunk is not larger.
_WINDOW = 32 << 20
_MOST_COUNTED, _MOST_COUNTED_REMOTE = 100_000, 20_000


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """In which files the voxels lie.

    Parameters
    ----------
    inside : str
        Their folder.
    grid : Grid
        What one file holds; in the order of the array that is read.
    name : callable
        Makes of a cell's index the file's name in `inside`.
    shards : Shards, optional
        Where a file holds many chunks.
    """

    inside: str
    grid: Grid
    name: Callable[[tuple[int, ...]], str]
    shards: Shards | None = None

    def of(self, region: Region) -> list[str]:
        """Return the names in the source's folder of all files that a region touches."""
        start = f"{self.inside}/" if self.inside else ""
        return [start + self.name(index) for index in self.grid.touched(region)]

    def absent(self, folder: Folder) -> int | None:
        """Return how many chunks are not there, None where that takes too long or cannot be told.

        Raises
        ------
        SourceError
            A shard whose index is damaged.
        """
        most = _MOST_COUNTED_REMOTE if is_remote(folder.path) else _MOST_COUNTED
        keys = folder.keys(self.inside) if self.grid.size <= most else None
        if keys is None:
            return None
        indexes = list(self.grid.touched(Region.whole(self.grid.axes, self.grid.shape)))
        lost = [index for index in indexes if self.name(index) not in keys]
        if self.shards is None:
            return len(lost)
        present = [index for index in indexes if self.name(index) in keys]
        return self.shards.absent(folder, self.inside, self.grid, self.name, lost, present)

    def note(self, folder: Folder, fill: object) -> tuple[str, ...]:
        """Say how many chunks are not there and what is read in their place."""
        chunks = self.shards.chunks(self.grid) if self.shards else self.grid
        absent = self.absent(folder)
        reads = f"the format lets those that were never written read as {fill}"
        if absent is None:
            return (f"whether all {chunks.size} chunks are there was not counted: {reads}",)
        if absent:
            return (f"{absent} of {chunks.size} chunks are absent: {reads}",)
        return ()


def open_array(folder: Folder, spec: Mapping[str, Any], where: str) -> ts.TensorStore:
    """Open an array; its voxels are not read.

    Raises
    ------
    SourceError
        Metadata that TensorStore cannot read: a codec it does not know is named.
    StorageError
        A service that may answer later.
    """
    with storage_told(folder.path, where):
        return ts.open(dict(spec), context=folder.context, open=True, read=True).result()


def chunk_of(array: ts.TensorStore, folder: Folder, where: str) -> tuple[int, ...]:
    """Return the extents of what is decoded at once, in stored order.

    Raises
    ------
    SourceError
        It takes more memory than a chunk may.
    """
    known = array.chunk_layout.read_chunk.shape or (None,) * array.rank
    shape = tuple(n or whole for n, whole in zip(known, array.shape, strict=True))
    size = prod(shape) * array.dtype.numpy_dtype.itemsize
    if size > _MOST_CHUNK:
        reason = f"a chunk of {shape} takes {size} bytes: no more than {_MOST_CHUNK} are read"
        raise SourceError(folder.path, f"{where}: {reason}" if where else reason)
    return shape


class ChunkedSource:
    """An array of chunk files. Opened at its first read, and again after `close`.

    Parameters
    ----------
    description : Description
        `files` are those of metadata.
    files : Files
    folder : Folder
    spec : dict
        TensorStore's description of the array.
    chunks : ChunkFiles
    empty : array of bool, optional
        Which files are absent because all their voxels are 0, where the rest must be there.
    reverse : bool
        The stored array has x first.

    Notes
    -----
    There can be millions of chunk files, so the stamps and hashes of a source are those of its
    metadata alone: a chunk file that is written anew while the rest stays is not noticed.
    """

    def __init__(
        self,
        description: Description,
        files: Files,
        folder: Folder,
        spec: Mapping[str, Any],
        chunks: ChunkFiles,
        empty: NDArray[np.bool_] | None = None,
        *,
        reverse: bool = False,
    ) -> None:
        self._description, self._files, self._folder = description, files, folder
        self._spec, self._chunks, self._empty = dict(spec), chunks, empty
        self._reverse = reverse
        self._meter, self._lock = Meter(), threading.Lock()
        self._array: ts.TensorStore | None = None
        self._blocks = Grid(description.axes, description.shape, description.block)

    @property
    def description(self) -> Description:
        """What the metadata says."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all chunks that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The files of metadata as they were when the source was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Let go of the array; a later read opens it again."""
        with self._lock:
            self._array = None

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order.

        Raises
        ------
        SourceError
            Damage, a file that was replaced, or a chunk that must be there and is not.
        StorageError
            A service that may answer later.
        """
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        self._check(region)
        voxels = self._voxels(region)
        touched = sum(self._blocks.region(index).size for index in self._blocks.touched(region))
        self._meter.add(touched * voxels.itemsize)
        return voxels

    def _voxels(self, region: Region) -> NDArray[Any]:
        where = f"{self._description.image}, {region}".removeprefix(", ")
        array = self._opened()
        with storage_told(self._folder.path, where):
            parts = self._parts(region)
            if parts == [region]:
                return np.ascontiguousarray(array[region.slices].read(order="C").result())
            result = np.zeros(region.shape, self._description.dtype)
            coming = [array[part.slices].read() for part in parts[:1]]
            for number, part in enumerate(parts):
                # The next is decoded while this one is copied.
                coming += [array[p.slices].read() for p in parts[number + 1 : number + 2]]
                voxels = coming.pop(0).result()
                result[part.relative_to(region.start).slices] = voxels
            return result

    def _parts(self, region: Region) -> list[Region]:
        """Return boxes of whole chunks that are read in turn, since each is held twice."""
        itemsize = np.dtype(self._description.dtype).itemsize
        step = _window(region.shape, self._description.block, itemsize)
        parts = [region] if self._empty is None else self._stored(region, self._empty)
        return [small for part in parts for small in part.split(step)]

    def _stored(self, region: Region, empty: NDArray[np.bool_]) -> list[Region]:
        """Return the parts of a region that lie in files that are there."""
        grid = self._chunks.grid
        parts = [grid.region(index) & region for index in grid.touched(region) if not empty[index]]
        return [part for part in parts if part is not None]

    def _check(self, region: Region) -> None:
        if is_remote(self._folder.path):
            self._folder.check_host()
            return
        for path, stamp in self.stamps.items():
            if Files(self._files.options).stamp(path) != stamp:
                raise SourceError(path, "changed since it was opened")
        self._folder.check_inside(self._chunks.of(region))

    def _opened(self) -> ts.TensorStore:
        with self._lock:
            if self._array is None:
                where = self._description.image
                array = open_array(self._folder, self._spec, where)
                array = array.T if self._reverse else array
                found = (tuple(array.shape), array.dtype.numpy_dtype.name)
                if found != (self._description.shape, self._description.dtype):
                    raise SourceError(self._folder.path, f"{where}: changed since it was opened")
                self._array = array
            return self._array


def _window(shape: tuple[int, ...], block: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return multiples of a block of about `_WINDOW` bytes, long along the last axes.

    >>> _window((256, 1024, 1024), (64, 64, 64), 2)
    (64, 256, 1024)
    """
    step = list(block)
    for axis in reversed(range(len(step))):
        while step[axis] < shape[axis] and 2 * prod(step) * itemsize <= _WINDOW:
            step[axis] *= 2
    return tuple(step)
