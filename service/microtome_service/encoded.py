"""The stored chunks that cover a region in one answer, as they are: the caller decodes them.

A body is: the length of the header as a little-endian uint64; the header, JSON in UTF-8, padded by
spaces to a multiple of 8 bytes; the data. The header says where in the data each chunk lies. Chunks
of one shard that lie close together are read at once, and sent with the bytes between them.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, StorageError, TooLarge
from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.selection import Selection
from microtome_core.store.layer import Layer
from microtome_service.objects import Objects, Opened
from microtome_service.ranges import Span
from microtome_service.sending import Pieces
from microtome_service.shards import Places, open_shard, reading
from microtome_service.state import Service
from microtome_service.stored import ArrayFiles, Shard
from microtome_service.together import together

# Bytes of header for a chunk, about.
HEADER_BYTES = 128
# One request more costs as much as so many bytes that nobody needs.
_GAP = 16 << 10
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Found:
    """The chunks of one shard that a region touches: index in the grid, and where they lie."""

    shard: Shard
    chunks: NDArray[np.int64]
    places: Places
    tag: str = ""
    opened: Opened | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """What is sent of one shard."""

    found: _Found
    sections: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer of which nothing but the indexes of shards was read.

    Parameters
    ----------
    header : bytes
        With its length before it.
    parts : tuple
        What follows, shard by shard.
    """

    header: bytes
    parts: tuple[_Part, ...]

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.header) + sum(len(s) for part in self.parts for s in part.sections)

    async def pieces(self, objects: Objects) -> Pieces:
        """Yield the body, read as it is sent."""
        yield self.header
        for part in self.parts:
            with reading(part.found.shard):
                opened = await _open_again(objects, part.found)
                try:
                    async with aclosing(objects.parts(opened, part.sections)) as pieces:
                        async for piece in pieces:
                            yield piece
                finally:
                    opened.close()


async def find_chunks(
    service: Service, layer: Layer, level: int, selection: Selection, most: int
) -> Encoded:
    """Return the chunks that cover a region.

    Parameters
    ----------
    service : Service
    layer : Layer
    level : int
    selection : Selection
    most : int
        Bytes of the answer.

    Raises
    ------
    InputError
        The array is stored in a form whose chunks cannot be given out.
    TooLarge
    Unreadable
        A shard is lost or damaged, or storage failed.
    """
    array = (await service.hierarchy.files(layer)).arrays[level]
    form = _form(layer, level, array, selection)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def find(index: tuple[int, ...]) -> _Found:
        async with turns:
            return await _find(service, Shard(layer, level, index, array), selection.region)

    shards = array.grid.touched(selection.region)
    return await service.compute(_assemble, form, await together(map(find, shards)), most)


async def _find(service: Service, shard: Shard, region: Region) -> _Found:
    chunks, rows = _touched(shard, region)
    opened = await open_shard(service.objects, shard)
    if opened is None:
        return _Found(shard, chunks, np.zeros((len(chunks), 2), np.int64))
    try:
        places = (await service.indexes.places(shard, opened))[rows]
    finally:
        opened.close()
    order = np.argsort(places[:, 0], kind="stable")
    with reading(shard):
        if shard.layer.complete and not places[:, 1].all():
            raise StorageError(f"{shard.path}: a chunk is not there")
    kept = opened if opened.lasting else None
    return _Found(shard, chunks[order], places[order], opened.stat.tag, kept)


def _touched(shard: Shard, region: Region) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which chunks of a shard a region touches: by index in the level, and by row there."""
    info = shard.layer.info.levels[shard.level]
    part = shard.array.grid.region(shard.index) & region
    if part is None:
        raise AssertionError(f"{shard} is not touched by {region}")
    touched = Grid(region.axes, info.shape, info.chunk).slices(part)
    first = np.array([s.start for s in touched], np.int64)
    counts = [s.stop - s.start for s in touched]
    chunks = np.indices(counts, np.int64).reshape(len(counts), -1).T + first
    room = tuple(n // m for n, m in zip(info.shard, info.chunk, strict=True))
    rows = np.ravel_multi_index(tuple((chunks - np.multiply(shard.index, room)).T), room)
    return chunks, rows.astype(np.int64)


def _assemble(form: dict[str, Any], found: Sequence[_Found], most: int) -> Encoded:
    """Lay out the data, chunk after chunk as they are stored."""
    offsets, end, parts = [], 0, []
    for each in found:
        sections = _sections(each.places)
        if sections:
            parts.append(_Part(each, sections))
        starts = np.array([s.start for s in sections] or [0])
        befores = end + np.cumsum([0, *map(len, sections)])
        which = np.searchsorted(starts, each.places[:, 0], side="right") - 1
        at = befores[which] + each.places[:, 0] - starts[which]
        offsets.append(np.where(each.places[:, 1] > 0, at, -1))
        end = int(befores[-1])
    if end > most:
        raise TooLarge(f"{end} bytes of chunks, the limit is {most}: ask for smaller parts")
    lengths = np.concatenate([each.places[:, 1] - each.places[:, 0] for each in found])
    chunks = {
        "index": np.concatenate([each.chunks for each in found]).tolist(),
        "offset": np.concatenate(offsets).tolist(),
        "length": lengths.tolist(),
    }
    return Encoded(_framed({**form, "chunks": chunks}), tuple(parts))


def _sections(places: Places) -> tuple[Span, ...]:
    """Return what to read for chunks in the order in which they lie."""
    sections: list[Span] = []
    for start, stop in places[places[:, 1] > 0].tolist():
        if sections and start - sections[-1].stop <= _GAP:
            sections[-1] = Span(sections[-1].start, max(stop, sections[-1].stop))
        else:
            sections.append(Span(start, stop))
    return tuple(sections)


def _framed(form: dict[str, Any]) -> bytes:
    text = json.dumps(form, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _form(layer: Layer, level: int, array: ArrayFiles, selection: Selection) -> dict[str, Any]:
    """Return what the header says beside where the chunks are."""
    metadata, info = array.metadata, layer.info.levels[level]
    stored = metadata["codecs"] if metadata else []
    if array.sharding is not None:
        stored = array.sharding.codecs
    if not metadata or any(codec["name"] == "sharding_indexed" for codec in stored):
        raise InputError(f"layer {layer.info.id} has no chunks to give out as they are")
    return {
        "format": "microtome-chunks/1",
        "layer": layer.info.id,
        "layer_version": layer.info.version,
        "level": level,
        "axes": layer.info.axes,
        "dtype": layer.info.dtype,
        "fill_value": metadata["fill_value"],
        "shape": info.shape,
        "chunk_shape": info.chunk,
        "codecs": stored,
        "start": selection.region.start,
        "stop": selection.region.stop,
        "dropped": selection.dropped,
    }


async def _open_again(objects: Objects, found: _Found) -> Opened:
    opened = found.opened or await objects.open(found.shard.path)
    if opened is None or opened.stat.tag != found.tag:
        if opened is not None:
            opened.close()
        raise StorageError(f"{found.shard.path}: replaced while it was read")
    return opened
