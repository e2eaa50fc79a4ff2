"""Images in HDF5 datasets: one that holds all of it, or one for each time point and channel."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.region import Region, check_region
from microtome_ingest.files import Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.hdf5_chunks import Raw, inflated, stored
from microtome_ingest.sources.hdf5_file import Hdf5File, Hdf5Files
from microtome_ingest.sources.hdf5_heads import check_lengths
from microtome_ingest.sources.hdf5_storage import MOST_PLACES, Piece, Places, places
from microtome_ingest.sources.parallel import run

# Bytes of chunks fetched together; their places are looked up beforehand where they are not many.
_WINDOW = 32 << 20
_MOST_KNOWN = 32


class Hdf5Source:
    """An image. Its files stay open from the first read until `close`.

    Parameters
    ----------
    description : Description
    books : Hdf5Files
    pieces : dict
        Datasets by index along the first axes, as many as each index is long; the remaining axes
        are the last of the datasets, those before them are read at 0. What lies beyond the
        description's shape is padding.
    """

    def __init__(
        self, description: Description, books: Hdf5Files, pieces: Mapping[tuple[int, ...], Piece]
    ) -> None:
        self._description, self._books, self._pieces = description, books, pieces
        index, first = next(iter(pieces.items()))
        self._outer = len(index)
        # Of the axes of a dataset, how many the description leaves out.
        self._dropped = len(first.shape) + len(index) - len(description.axes)
        self._meter = Meter()
        self._places: dict[Piece, Places] = {}

    @property
    def description(self) -> Description:
        """What the file says of the image."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all chunks that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The files as they were when they were opened."""
        return self._books.files.stamps(self._description.files)

    def close(self) -> None:
        """Close the files; a later read opens them again."""
        self._books.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole, outer = self._description, self._outer
        check_region(region, whole.axes, whole.shape)
        result = np.zeros(region.shape, whole.dtype)
        none, one = (0,) * self._dropped, (1,) * self._dropped
        inner = Region(self._letters, none + region.start[outer:], one + region.stop[outer:])
        for index in itertools.product(*map(range, region.start[:outer], region.stop[:outer])):
            at = tuple(i - start for i, start in zip(index, region.start, strict=False))
            self._read(self._pieces[index], inner, result[at].reshape(inner.shape))
        return result

    def _read(self, piece: Piece, region: Region, result: NDArray[Any]) -> None:
        """Fill `result` with a box of one dataset."""
        file = self._books[piece.file]
        file.check()
        chunks = self._grid(piece)
        target = result.view(piece.dtype)
        if chunks and piece.deflated:
            self._inflate(file, piece, region, chunks, target)
        else:
            self._copy(file, piece, self._parts(file, piece, region, chunks), region, target)
        self._meter.add(_touched(region, chunks) * result.itemsize)

    def _copy(
        self,
        file: Hdf5File,
        piece: Piece,
        parts: Iterable[Region],
        region: Region,
        result: NDArray[Any],
    ) -> None:
        """Let HDF5 read boxes of a region."""
        # Those of chunks that are inflated here were looked at there.
        chunks = None if piece.deflated else self._grid(piece)
        with file.lock:  # what was fetched for a box must stay until it is read
            for part in parts:
                target = result[part.relative_to(region.start).slices]
                touched = map(chunks.region, chunks.touched(part)) if chunks else ()
                corners = [chunk.start for chunk in touched]
                copy = partial(_copy, piece.path, part, target, corners)
                file.call(copy, f"{piece.path}, {part}")

    def _inflate(
        self, file: Hdf5File, piece: Piece, region: Region, chunks: Grid, result: NDArray[Any]
    ) -> None:
        """Take chunks as they are stored, inflate them on every core, leave the rest to HDF5."""
        nbytes = prod(chunks.cell) * np.dtype(piece.dtype).itemsize
        found = {} if file.mapped else self._looked_up(file, piece, chunks)
        for group in _groups(list(chunks.touched(region)), found, nbytes):
            corners = [chunks.region(index).start for index in group]
            # From afar each call may be made again, so that it is for one chunk.
            calls = [corners] if file.mapped else [[corner] for corner in corners]
            with file.lock:
                file.prefetch(_ranges(group, found))
                raws = [
                    raw
                    for some in calls
                    for raw in file.call(partial(stored, piece.path, some), piece.path)
                ]
            left: list[Region] = []
            jobs = [
                partial(_place, piece, chunks.region(index), raw, region, result, left)
                for index, raw in zip(group, raws, strict=True)
            ]
            run(jobs)
            self._copy(file, piece, left, region, result)

    def _grid(self, piece: Piece) -> Grid | None:
        if piece.chunk is None:
            return None
        shape = (1,) * self._dropped + self._description.shape[self._outer :]
        return Grid(self._letters, shape, piece.chunk)

    @property
    def _letters(self) -> str:
        """Names of the axes of a dataset."""
        return "z" * self._dropped + self._description.axes[self._outer :]

    def _parts(
        self, file: Hdf5File, piece: Piece, region: Region, chunks: Grid | None
    ) -> Iterator[Region]:
        """Yield boxes that make up a region, each with its bytes fetched before."""
        if file.mapped:
            yield region
        elif chunks is None:
            yield from region.split(_slab(region, np.dtype(piece.dtype).itemsize))
        else:
            yield from self._fetched(file, piece, region, chunks)

    def _fetched(
        self, file: Hdf5File, piece: Piece, region: Region, chunks: Grid
    ) -> Iterator[Region]:
        """Yield the part of each chunk, many of which were fetched together."""
        found = self._looked_up(file, piece, chunks)
        for group in _groups(list(chunks.touched(region)), found):
            file.prefetch(_ranges(group, found))
            for index in group:
                part = chunks.region(index) & region
                if part is not None:
                    yield part

    def _looked_up(self, file: Hdf5File, piece: Piece, chunks: Grid) -> Places:
        known = self._places.get(piece)
        if known is None:
            few = chunks.size <= MOST_PLACES
            look = partial(_look, piece.path, chunks.cell)
            known = file.call(look, piece.path) if few else {}
            held = dict(list(self._places.items())[1 - _MOST_KNOWN :])
            self._places = {**held, piece: known}
        return known


def _touched(region: Region, chunks: Grid | None) -> int:
    """Return how many voxels are decoded for a region."""
    if chunks is None:
        return region.size
    return sum(chunks.region(index).size for index in chunks.touched(region))


def _look(path: str, cell: Sequence[int], file: Any) -> Places:  # noqa: ANN401 - h5py has no types
    return places(file[path], cell)


def _copy(
    path: str,
    part: Region,
    target: NDArray[Any],
    corners: Sequence[tuple[int, ...]],
    file: Any,  # noqa: ANN401
) -> None:
    """Read a box, in the type of `target`, of chunks that are as long as they must be."""
    dataset = file[path]
    check_lengths(dataset, corners)
    if target.flags.c_contiguous:
        dataset.read_direct(target, part.slices)
        return
    block = np.zeros(part.shape, target.dtype)
    dataset.read_direct(block, part.slices)
    target[...] = block


def _place(
    piece: Piece, chunk: Region, raw: Raw, region: Region, result: NDArray[Any], left: list[Region]
) -> None:
    """Lay the voxels of a chunk into `result`, or note in `left` that HDF5 must read them."""
    part = chunk & region
    if part is None or piece.chunk is None:
        return
    voxels = None
    if raw is not None:
        with strict(piece.file, f"{piece.path}, {chunk}", log="h5py"):
            voxels = inflated(*raw, piece.deflated, piece.chunk, np.dtype(piece.stored))
    if voxels is None:
        left.append(part)
        return
    target = result[part.relative_to(region.start).slices]
    target[...] = voxels[part.relative_to(chunk.start).slices]


def _ranges(
    group: Sequence[tuple[int, ...]], found: Mapping[tuple[int, ...], tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return where chunks lie, as far as that is known, from start to stop."""
    known = [found[index] for index in group if index in found]
    return [(offset, offset + size) for offset, size in known]


def _groups(
    indexes: Sequence[tuple[int, ...]],
    found: Mapping[tuple[int, ...], tuple[int, int]],
    least: int = 0,
) -> Iterator[list[tuple[int, ...]]]:
    """Yield indexes in groups of about `_WINDOW` bytes, each counted as `least` at least."""
    group: list[tuple[int, ...]] = []
    size = 0
    for index in indexes:
        group.append(index)
        size += max(least, found.get(index, (0, 0))[1])
        if size >= _WINDOW:
            yield group
            group, size = [], 0
    if group:
        yield group


def _slab(region: Region, itemsize: int) -> tuple[int, ...]:
    """Return extents of parts of a region of about `_WINDOW` bytes, cut along its first axes."""
    step = list(region.shape)
    for axis in range(len(step)):
        if prod(step) * itemsize <= _WINDOW:
            break
        rest = prod(step[axis + 1 :]) * itemsize
        step[axis] = max(1, _WINDOW // rest)
    return tuple(step)
