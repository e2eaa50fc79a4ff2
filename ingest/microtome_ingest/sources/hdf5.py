"""Arrays in HDF5 files: ``file.h5::/path/to/dataset``, read by chunk.

Source of the format: The HDF Group, HDF5 File Format Specification. A chunk that was never written
holds the fill value by definition; storage that lies in another file is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import RegionError, SourceError
from microtome_core.grid import Grid
from microtome_core.region import Region, check_inside
from microtome_ingest.files import Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import hdf5_facts as facts
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.hdf5_file import Hdf5File
from microtome_ingest.sources.members import SEPARATOR, choose, split

# Bytes of chunks fetched together; their places are looked up beforehand where they are not many.
_WINDOW = 32 << 20
_MOST_PLACES = 16_384


class Hdf5Source:
    """A dataset. The file stays open from the first read until `close`.

    Parameters
    ----------
    description : Description
        `image` is the path of the dataset.
    files : Files
    file : Hdf5File
    chunks : Grid, optional
        None where the voxels are in one piece.
    """

    def __init__(
        self, description: Description, files: Files, file: Hdf5File, chunks: Grid | None
    ) -> None:
        self._description, self._files = description, files
        self._file, self._chunks = file, chunks
        self._meter = Meter()
        self._places: Mapping[tuple[int, ...], tuple[int, int]] | None = None

    @property
    def description(self) -> Description:
        """What the dataset says of itself."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all chunks that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        self._file.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole = self._description
        if region.axes != whole.axes:
            raise RegionError(f"region {region}: expected axes {whole.axes!r}")
        check_inside(region, whole.shape)
        result = np.zeros(region.shape, whole.dtype)
        self._file.check()
        with self._file.lock:
            for part in self._parts(region):
                target = result[part.relative_to(region.start).slices]
                self._file.call(partial(_copy, whole.image, part, target), f"{whole.image}, {part}")
        self._meter.add(self._touched(region) * result.itemsize)
        return result

    def _touched(self, region: Region) -> int:
        """Return how many voxels are decoded for a region."""
        if self._chunks is None:
            return region.size
        return sum(self._chunks.region(index).size for index in self._chunks.touched(region))

    def _parts(self, region: Region) -> Iterator[Region]:
        """Yield boxes that make up a region, each with its bytes fetched before."""
        if self._file.mapped:
            yield region
        elif self._chunks is None:
            yield from region.split(_slab(region, np.dtype(self._description.dtype).itemsize))
        else:
            yield from self._fetched(region, self._chunks)

    def _fetched(self, region: Region, chunks: Grid) -> Iterator[Region]:
        """Yield the part of each chunk, many of which were fetched together."""
        places = self._looked_up(chunks)
        for group in _groups(list(chunks.touched(region)), places):
            known = [places[index] for index in group if index in places]
            self._file.prefetch((offset, offset + size) for offset, size in known)
            for index in group:
                part = chunks.region(index) & region
                if part is not None:
                    yield part

    def _looked_up(self, chunks: Grid) -> Mapping[tuple[int, ...], tuple[int, int]]:
        if self._places is None:
            few = chunks.size <= _MOST_PLACES
            look = partial(_places, self._description.image, chunks.cell)
            self._places = self._file.call(look) if few else {}
        return self._places


@dataclass(frozen=True, slots=True)
class _Found:
    """A dataset as it describes itself."""

    description: Description
    chunk: tuple[int, ...] | None


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the arrays of numbers with two axes or more, or the one that ``::`` names."""
    files = files or Files()
    name, inside = split(path, files)
    file = Hdf5File(files.open(name))
    try:
        paths = [inside] if inside else file.call(partial(_images, name))
        found = [file.call(partial(_describe, name, one)).description for one in paths]
    finally:
        file.close()
    return tuple(Scene(i, d.image, d.axes, d.shape, d.dtype) for i, d in enumerate(found))


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Hdf5Source:
    """Open the dataset that ``file.h5::/path`` or `scene` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, several arrays and none chosen, a path that is not there, links and storage that
        lead out of the file, or a filter that is not available.
    """
    files = files or Files()
    name, inside = split(path, files)
    file = Hdf5File(files.open(name))
    try:
        chosen = inside or _chosen(file, name, scene)
        found = file.call(partial(_describe, name, chosen))
    except BaseException:
        file.close()
        raise
    description = found.description
    grid = Grid(description.axes, description.shape, found.chunk) if found.chunk else None
    return Hdf5Source(description, files, file, grid)


def _chosen(file: Hdf5File, name: str, scene: int | None) -> str:
    paths = file.call(partial(_images, name))
    if scene is None and file.call(facts.is_imaris):
        reason = "was written by Imaris, whose arrays are padded with zeros: choose one as it is"
        raise SourceError(name, f"{reason} with --scene N or {name}{SEPARATOR}/path")
    return paths[choose(name, paths, scene)]


def _images(name: str, file: Any) -> list[str]:  # noqa: ANN401 - h5py has no types
    found = find.images(file)
    if not found:
        raise find.nothing(file, name)
    return found


def _describe(name: str, path: str, file: Any) -> _Found:  # noqa: ANN401
    dataset = find.find(file, path, name)
    shape = tuple(map(int, dataset.shape))
    planes = (1,) * (len(shape) - 2) + shape[-2:]
    block = tuple(map(min, dataset.chunks, shape)) if dataset.chunks else planes
    description = Description(
        format="HDF5",
        axes=facts.axes(dataset),
        shape=shape,
        dtype=dataset.dtype.newbyteorder("=").name,
        block=block,
        files=(name,),
        image=dataset.name,
        metadata={"HDF5": {"path": dataset.name, "attributes": facts.attributes(file, dataset)}},
        notes=facts.notes(file, dataset),
    )
    return _Found(description, dataset.chunks)


def _copy(path: str, part: Region, target: NDArray[Any], file: Any) -> None:  # noqa: ANN401
    """Read a box, in the type of `target`."""
    dataset = file[path]
    if target.flags.c_contiguous:
        dataset.read_direct(target, part.slices)
        return
    block = np.zeros(part.shape, target.dtype)
    dataset.read_direct(block, part.slices)
    target[...] = block


def _places(
    path: str,
    cell: Sequence[int],
    file: Any,  # noqa: ANN401
) -> dict[tuple[int, ...], tuple[int, int]]:
    """Return offset and count in the file of every chunk that was written, by its index."""
    found: dict[tuple[int, ...], tuple[int, int]] = {}

    def visit(chunk: Any) -> None:  # noqa: ANN401
        index = tuple(at // n for at, n in zip(chunk.chunk_offset, cell, strict=True))
        found[index] = chunk.byte_offset, chunk.size

    file[path].id.chunk_iter(visit)
    return found


def _groups(
    indexes: Sequence[tuple[int, ...]], places: Mapping[tuple[int, ...], tuple[int, int]]
) -> Iterator[list[tuple[int, ...]]]:
    """Yield indexes in groups of about `_WINDOW` bytes."""
    group: list[tuple[int, ...]] = []
    size = 0
    for index in indexes:
        group.append(index)
        size += places.get(index, (0, 0))[1]
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
