"""A source whose voxels lie in files as they do in memory, or do so once they were decoded."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.grid import Grid
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.inflated import Inflated
from microtome_ingest.sources.raw import RawArray

Decoder = Callable[[Bytes], AbstractContextManager[IO[bytes]]]
# From voxels as they are stored to those of the description.
Convert = Callable[[NDArray[Any], NDArray[Any]], None]


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a region lies in one piece: `box` of its `array`, in `ranges` of its file."""

    place: Bytes | Inflated
    array: RawArray
    box: tuple[slice, ...]
    target: tuple[slice, ...]
    ranges: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of the array that lies in one file.

    Parameters
    ----------
    path : str
    offset : int
        Where its voxels begin; in what is decoded, where there is a decoder.
    decoder : callable, optional
        Of compressed voxels.
    last : bool
        The voxels are the last that the decoder gives, whatever `offset` says.
    most_behind : int, optional
        As in `Inflated`.
    """

    path: str
    offset: int = 0
    decoder: Decoder | None = None
    last: bool = False
    most_behind: int | None = None


def assign(stored: NDArray[Any], target: NDArray[Any]) -> None:
    """Take voxels as they are stored, in native byte order."""
    target[...] = stored


class RawSource:
    """An array in C order, in one file or in several of equal parts.

    Parameters
    ----------
    description : Description
    files : Files
    stored : numpy.dtype
        As in the files, with its byte order.
    pieces : sequence of Piece
        One for each cell of `grid`, in C order.
    grid : Grid, optional
        What part of the array lies in which piece; None where there is one.
    convert : callable
        Writes stored voxels into an array of the description's dtype.
    """

    def __init__(
        self,
        description: Description,
        files: Files,
        stored: np.dtype[Any],
        pieces: Sequence[Piece],
        grid: Grid | None = None,
        convert: Convert = assign,
    ) -> None:
        self._description, self._files, self._stored = description, files, stored
        whole = Grid(description.axes, description.shape, description.shape)
        self._pieces, self._grid, self._convert = pieces, grid or whole, convert
        self._meter = Meter()
        self._lock = threading.Lock()
        self._places: dict[int, Bytes | Inflated] = {}

    @property
    def description(self) -> Description:
        """What the header says."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels copied, or inflated."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The files as they were when they were opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Release maps, and what was inflated; a later read does it again."""
        with self._lock:
            self._places.clear()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        with strict(whole.name, str(region)):
            result = np.empty(region.shape, whole.dtype)
            touched = [(index, self._grid.region(index)) for index in self._grid.touched(region)]
            parts = [part for one in touched for part in self._part(*one, region)]
            views = self._fetched(parts)
            for part in parts:
                mine = list(islice(views, len(part.ranges)))
                self._convert(part.array.take(part.place, part.box, mine), result[part.target])
            return result

    def _fetched(self, parts: Sequence[_Part]) -> Iterator[memoryview]:
        """Yield the bytes of all ranges; those of far files were asked for together."""
        wanted = [
            (place, *one)
            for part in parts
            if not isinstance(place := part.place, Inflated)
            for one in part.ranges
        ]
        views = iter(self._files.fetch(wanted))
        for part in parts:
            for one in part.ranges:
                place = part.place
                yield place.read(*one) if isinstance(place, Inflated) else next(views)

    def _part(self, index: tuple[int, ...], cell: Region, region: Region) -> Iterator[_Part]:
        """Yield what of a region lies in a cell."""
        number = int(np.ravel_multi_index(index, self._grid.counts))
        piece, box = self._pieces[number], cell & region
        if box is None:
            return
        place = self._place(number, piece, cell)
        place.check()
        if not isinstance(place, Inflated):
            self._meter.add(self._bytes(box))
        offset = 0 if isinstance(place, Inflated) else piece.offset
        array = RawArray(offset, cell.shape, self._stored)
        inside = box.relative_to(cell.start).slices
        target = box.relative_to(region.start).slices
        yield _Part(place, array, inside, target, array.ranges(place, inside))

    def _place(self, number: int, piece: Piece, cell: Region) -> Bytes | Inflated:
        with self._lock:
            place = self._places.get(number)
            if place is None:
                data = self._files.open(piece.path)
                place = self._inflated(data, piece, cell)
                self._places[number] = place
            return place

    def _inflated(self, data: Bytes, piece: Piece, cell: Region) -> Bytes | Inflated:
        """Return the file as it is, or what its decoder makes of it."""
        if piece.decoder is None:
            return data
        return Inflated(
            data,
            partial(piece.decoder, data),
            cell.size * self._stored.itemsize,
            skip=None if piece.last else piece.offset,
            most_behind=piece.most_behind,
            done=lambda: self._meter.add(self._bytes(cell)),
        )

    def _bytes(self, region: Region) -> int:
        return region.size * np.dtype(self._description.dtype).itemsize
