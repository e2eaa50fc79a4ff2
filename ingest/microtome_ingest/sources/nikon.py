"""ND2 files of NIS-Elements: structure by the nd2 library, frames by ranges of bytes.

A file holds one frame for each turn of its nested loops over time, position and depth. Positions
are images of their own. The library answers with zeros for frames that are not there and inflates
without a bound, so that here each frame is looked up, checked and decoded by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene, SourceChannel
from microtome_ingest.sources import nikon_facts as facts
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.nikon_frames import (
    HEAD_BYTES,
    Order,
    Payload,
    Pixels,
    check_size,
    inflate,
    payload,
)
from microtome_ingest.sources.nikon_recording import Recording, load, pixels_of
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.times import Times, times_of

_METADATA = "its metadata"
# Bytes of frames that are fetched together.
_WINDOW = 32 << 20


class NikonSource:
    """One position of an ND2 file. Nothing is held open between reads."""

    def __init__(
        self,
        description: Description,
        files: Files,
        pixels: Pixels,
        order: Order,
        offsets: Mapping[int, int],
    ) -> None:
        self._description, self._files = description, files
        self._pixels, self._order, self._offsets = pixels, order, offsets
        self._meter = Meter()

    @property
    def description(self) -> Description:
        """What the file says of the position."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of rows that were copied, or of frames that were inflated."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Do nothing: files are opened for each read."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        with self._files.open(whole.files[0]) as data:
            data.check()
            for numbers in self._batches(region):
                jobs = self._jobs(data, region, result, numbers)
                run(jobs, None if self._pixels.compressed else 1)
        return result

    def _batches(self, region: Region) -> Iterator[list[tuple[int, ...]]]:
        """Yield places in the loops whose frames together are not large."""
        loops = region.slices[: len(self._order.shape)]
        many = max(1, _WINDOW // max(self._pixels.span(self._pixels.height), 1))
        batch: list[tuple[int, ...]] = []
        for place in product(*(range(part.start, part.stop) for part in loops)):
            batch.append(place)
            if len(batch) == many:
                yield batch
                batch = []
        if batch:
            yield batch

    def _jobs(
        self,
        data: Bytes,
        region: Region,
        result: NDArray[Any],
        places: Sequence[tuple[int, ...]],
    ) -> list[partial[None]]:
        """Return what fills the part of each frame."""
        numbers = [self._order.frame(place) for place in places]
        box = self._box(region)
        found = self._found(data, numbers)
        spans = [self._span(one, box[1]) for one in found]
        views = self._files.fetch([(data, *span) for span in spans])
        targets = [result[self._inside(region, place)] for place in places]
        return [
            partial(self._fill, number, view, target, box)
            for number, view, target in zip(numbers, views, targets, strict=True)
        ]

    def _found(self, data: Bytes, numbers: Sequence[int]) -> list[Payload]:
        path = self._description.files[0]
        heads = self._files.fetch([(data, self._offsets[n], HEAD_BYTES) for n in numbers])
        found = []
        for number, head in zip(numbers, heads, strict=True):
            one = payload(path, number, self._offsets[number], head)
            check_size(path, number, one, self._pixels)
            found.append(one)
        return found

    def _span(self, found: Payload, rows: slice) -> tuple[int, int]:
        """Return offset and count of what is needed of a frame."""
        if self._pixels.compressed:
            return found.start, found.size
        start = found.start + rows.start * self._pixels.row
        return start, self._pixels.span(rows.stop - rows.start)

    def _fill(
        self,
        number: int,
        view: memoryview,
        target: NDArray[Any],
        box: tuple[slice, slice, slice, slice],
    ) -> None:
        channels, rows, columns, samples = box
        with strict(self._description.files[0], f"frame {number}"):
            if self._pixels.compressed:
                content: bytes | memoryview = inflate(view, self._pixels)
                voxels = self._pixels.voxels(content, self._pixels.height)[:, rows]
            else:
                content = view
                voxels = self._pixels.voxels(content, rows.stop - rows.start)
        target[...] = voxels[channels, :, columns, samples].reshape(target.shape)
        self._meter.add(len(content))

    def _box(self, region: Region) -> tuple[slice, slice, slice, slice]:
        """Return which part of a frame is asked for, in c, y, x and s."""
        parts = list(region.slices[len(self._order.shape) :])
        one = slice(0, 1)
        channels = parts.pop(0) if self._pixels.channels > 1 else one
        samples = parts.pop() if self._pixels.samples > 1 else one
        return channels, parts[0], parts[1], samples

    def _inside(self, region: Region, place: Sequence[int]) -> tuple[int, ...]:
        return tuple(at - low for at, low in zip(place, region.start, strict=False))


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the positions of the stage, or the one image of a file without them."""
    files = files or Files()
    recording = load(path, files)
    with strict(path, _METADATA, log="nd2"):
        return tuple(
            Scene(i, _name(recording, i), d.axes, d.shape, d.dtype)
            for i in range(_count(recording))
            for d in [_describe(recording, i, pixels_of(recording))]
        )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> NikonSource:
    """Open the position that `scene` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, frames that are missing, several positions and none chosen, a legacy file (JPEG
        2000), or compression with loss.
    """
    files = files or Files()
    recording = load(path, files)
    # The library hands on whatever stands where a number should.
    with strict(path, _METADATA, log="nd2"):
        number = _chosen(recording, scene)
        pixels, order = pixels_of(recording), _order(recording, number)
        _check_frames(recording, pixels, order)
        description = _describe(recording, number, pixels)
    return NikonSource(description, files, pixels, order, recording.offsets)


def _count(recording: Recording) -> int:
    return recording.positions.count if recording.positions else 1


def _chosen(recording: Recording, scene: int | None) -> int:
    count = _count(recording)
    if scene is None and count > 1:
        listing = ", ".join(f"{i}: {_name(recording, i)}" for i in range(count))
        raise SourceError(
            recording.path, f"holds {count} positions, choose with --scene N: {listing}"
        )
    if not 0 <= (scene or 0) < count:
        raise SourceError(recording.path, f"has no scene {scene}: it holds {count}")
    return scene or 0


def _name(recording: Recording, number: int) -> str:
    point = _point(recording, number)
    several = _count(recording) > 1
    return getattr(point, "name", None) or (f"position {number}" if several else "")


def _point(recording: Recording, number: int) -> Any:  # noqa: ANN401 - nd2.structures.Position
    positions = recording.positions
    return positions.found.parameters.points[number] if positions else None


def _order(recording: Recording, number: int) -> Order:
    """Return the frames of one position; loops of one turn are no axis."""
    fixed = {
        i: number if loop.letter == "P" else 0
        for i, loop in enumerate(recording.loops)
        if loop.letter == "P" or loop.count == 1
    }
    return Order(tuple(loop.count for loop in recording.loops), fixed)


def _check_frames(recording: Recording, pixels: Pixels, order: Order) -> None:
    """Refuse a position of which a frame is missing or cut off."""
    needed = 0 if pixels.compressed else pixels.span(pixels.height)
    for place in range(order.size):
        number = order.nth(place)
        if number not in recording.offsets:
            raise SourceError(
                recording.path,
                f"frame {number} is missing: {len(recording.offsets)} of "
                f"{prod(order.counts)} frames are there",
            )
        if recording.offsets[number] + HEAD_BYTES + needed > recording.size:
            raise SourceError(recording.path, f"frame {number} lies beyond its end: truncated")


def _describe(recording: Recording, number: int, pixels: Pixels) -> Description:
    order = _order(recording, number)
    loops = "".join(loop.letter for i, loop in enumerate(recording.loops) if i not in order.fixed)
    axes, notes = _axes(recording, loops, pixels)
    extents = dict(zip("cyxs", pixels.shape, strict=True))
    frame = tuple(extents[axis] for axis in _frame_axes(pixels))
    times = _time_facts(recording, order, loops)
    name = _name(recording, number)
    sizes = facts.voxel_size(recording.channels)
    return Description(
        format="ND2",
        axes=axes,
        shape=order.shape + frame,
        dtype=pixels.dtype.newbyteorder("=").name,
        block=(1,) * len(order.shape) + frame,
        files=(recording.path,),
        image=str(number) if _count(recording) > 1 else "",
        voxel_size={axis: sizes[axis] for axis in axes if axis in sizes},
        unit="micrometer" if sizes else None,
        time_step=times.step,
        channels=_channels(recording, pixels),
        metadata={
            **({"name": name} if name else {}),
            **facts.metadata(
                recording.attributes, recording.texts, recording.raw, recording.channels
            ),
            **_stage(recording, number),
            **times.metadata,
            "ND2": recording.verbatim,
        },
        notes=(*recording.notes, *notes, *times.notes),
    )


def _frame_axes(pixels: Pixels) -> str:
    return ("c" if pixels.channels > 1 else "") + "yx" + ("s" if pixels.samples > 1 else "")


def _axes(recording: Recording, loops: str, pixels: Pixels) -> tuple[str, tuple[str, ...]]:
    """Return all letters; rows that a line scan took one after the other are no y."""
    frame = _frame_axes(pixels)
    notes: tuple[str, ...] = ()
    if pixels.samples > 1:
        notes = ("colour samples are stored blue first: they are given as red, green, blue",)
    if pixels.samples == 1 and pixels.channels != len(recording.channels):
        known = len(recording.channels)
        notes = (f"has {pixels.channels} components of {known} channels, which stay without names",)
    meaning = recording.channels[0].volume.axesInterpretation if recording.channels else ()
    for letter, kind in zip("xy", meaning, strict=False):
        if kind == "time":
            frame = frame.replace(letter, open_letters(1, loops + frame))
            notes += (f"is a line scan: what would be {letter} is time",)
    return loops + frame, notes


def _channels(recording: Recording, pixels: Pixels) -> tuple[SourceChannel, ...]:
    if pixels.samples > 1 or len(recording.channels) != pixels.channels:
        return ()
    return tuple(map(facts.channel, recording.channels))


def _stage(recording: Recording, number: int) -> dict[str, Any]:
    point, raw = _point(recording, number), recording.raw
    where = point.stagePositionUm if point else [raw.get(f"d{axis}Pos") for axis in "XYZ"]
    found = facts.stage(*where)
    return {"stage_position": found} if found else {}


def _time_facts(recording: Recording, order: Order, loops: str) -> Times:
    if "t" not in loops:
        return Times()
    axis = loops.index("t")
    count = min(order.shape[axis], len(recording.offsets))
    index = [[n if i == axis else 0 for i in range(len(loops))] for n in range(count)]
    numbers = [order.frame(one) for one in index]
    known = max(numbers) < len(recording.times)
    points = [recording.times[n] / 1000 for n in numbers] if known else []
    loop = next(loop.found for loop in recording.loops if loop.letter == "t")
    parts = getattr(loop.parameters, "periods", None) or [loop.parameters]
    return times_of(points, parts[0].periodMs / 1000 if len(parts) == 1 else None)
