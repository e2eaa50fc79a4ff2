"""Video files: AVI, MP4, MOV, MKV and WebM, frame by frame through FFmpeg.

Frames are t, y, x; and s where there are colours. A movie whose pixels have no colours is its luma.
So is one in luma and chroma (yuv) whose chroma is neutral in the frames that opening looks at: then
every frame that is read is looked at, and colours are an error. ``file.mp4::rgb`` and
``file.mp4::luma`` choose regardless.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import video_facts as facts
from microtome_ingest.sources import video_pixels as pixels
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.members import SEPARATOR, split
from microtome_ingest.sources.video_decoder import (
    Decoder,
    Opened,
    Opening,
    all_packets,
    indexed_packets,
)
from microtome_ingest.sources.video_index import Index, Packet, check_count
from microtome_ingest.sources.video_whole import (
    MP4,
    TRIMMED,
    Container,
    check_whole,
    container_of,
    count_blocks,
)

VIEWS = ("luma", "rgb")
# Decoders that wait for the next read.
_IDLE = 8
# Frames decoded at opening, to see that each packet gives one, in the order of the index; one where
# the codec keeps the order.
_TRIED = 24
# A block of more bytes than that is not worth waiting for its key frame.
_BLOCK = 64 << 20


@dataclass(frozen=True, slots=True)
class _Video:
    """A stream that was looked at."""

    opening: Opening
    index: Index
    pixels: pixels.Pixels
    description: Description
    checked: bool


class VideoSource:
    """One stream of a video file.

    Parameters
    ----------
    video : _Video
    files : Files
    """

    def __init__(self, video: _Video, files: Files) -> None:
        self._video, self._files = video, files
        self._meter = Meter()
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []
        self._age = 0

    @property
    def description(self) -> Description:
        """What the file says of the stream."""
        return self._video.description

    @property
    def decoded(self) -> int:
        """Bytes of all frames that were decoded, also of those on the way to the wanted ones."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self.description.files)

    def close(self) -> None:
        """Close all containers; a later read opens one again."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._age += 1
        for decoder in idle:
            decoder.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; whole frames are decoded for it."""
        whole = self.description
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        size = prod(whole.shape[1:]) * result.itemsize
        start, stop = region.start[0], region.stop[0]
        self._video.opening.data.check()
        with strict(whole.name, str(region), log="libav"), self._decoder(start) as decoder:
            for number, frame in decoder.frames(start, stop):
                self._meter.add(size)
                if number >= start:
                    result[number - start] = self._array(number, frame)[region.slices[1:]]
        return result

    def _array(self, number: int, frame: Any) -> NDArray[Any]:  # noqa: ANN401 - of PyAV
        whole, how = self.description, self._video.pixels
        if frame.format.name != how.format:
            raise SourceError(
                whole.name, f"frame {number} is {frame.format.name}, the first {how.format}"
            )
        if (frame.height, frame.width) != whole.shape[1:3]:
            extent = f"{frame.width} × {frame.height}"
            raise SourceError(whole.name, f"frame {number} is {extent} pixels, unlike the first")
        if self._video.checked and not pixels.is_neutral(frame):
            raise SourceError(
                whole.name,
                f"frame {number} has colours, those looked at before had none: choose "
                f"{whole.name}{SEPARATOR}rgb or {whole.name}{SEPARATOR}luma",
            )
        return how.array(frame)

    @contextmanager
    def _decoder(self, frame: int) -> Iterator[Decoder]:
        """Lend the decoder that is nearest to a frame, or a new one, for one thread alone."""
        with self._lock:
            age = self._age
            if self._idle:
                best = min(self._idle, key=lambda decoder: decoder.cost(frame))
                self._idle.remove(best)
            else:
                best = Decoder(self._video.opening, self._video.index)
        try:
            yield best
        except BaseException:
            best.close()
            raise
        with self._lock:
            kept = age == self._age and len(self._idle) < _IDLE
            if kept:
                self._idle.append(best)
        if not kept:
            best.close()


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is whole, and its video streams."""

    path: str
    data: Bytes
    kind: Container
    streams: tuple[facts.StreamFacts, ...]
    notes: tuple[str, ...]


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the video streams of a file."""
    files = files or Files()
    path, view = _split(path, files)
    with strict(path, log="libav"):
        file = _file(path, files)
        found = [_look(file, number, view).description for number in range(len(file.streams))]
    return tuple(
        Scene(i, stream.name, d.axes, d.shape, d.dtype)
        for i, (stream, d) in enumerate(zip(file.streams, found, strict=True))
    )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> VideoSource:
    """Open a video, or the stream that `scene` chooses of several.

    Parameters
    ----------
    path : str
        A file; ``::luma`` or ``::rgb`` after it choose what is made of colours.
    scene : int, optional
    files : Files, optional

    Raises
    ------
    SourceError
        Damage, a file that was cut off, no video stream, or several and none chosen.
    """
    files = files or Files()
    path, view = _split(path, files)
    with strict(path, log="libav"):
        file = _file(path, files)
        count = len(file.streams)
        if scene is None and count > 1:
            listing = ", ".join(f"{i}: {stream.name}" for i, stream in enumerate(file.streams))
            raise SourceError(
                path, f"holds {count} video streams, choose with --scene N: {listing}"
            )
        if not 0 <= (scene or 0) < count:
            raise SourceError(path, f"has no scene {scene}: it holds {count} video streams")
        return VideoSource(_look(file, scene or 0, view), files)


def _split(path: str, files: Files) -> tuple[str, str | None]:
    file, view = split(path, files)
    if view is not None and view not in VIEWS:
        raise SourceError(file, f"{SEPARATOR}{view}: expected {SEPARATOR}luma or {SEPARATOR}rgb")
    return file, view


def _file(path: str, files: Files) -> _File:
    """Return the video streams of a file that is whole, cover pictures left out."""
    data = files.open(path)
    kind = container_of(path, bytes(data.read(0, min(16, data.stamp.size))))
    with data.stream() as stream:
        notes = check_whole(path, kind, stream, data.stamp.size)
    opened = Opened(Opening(data, kind, 0))
    try:
        streams = [s for s in opened.container.streams.video if not facts.is_cover(s)]
        found = tuple(map(facts.stream_facts, streams))
    finally:
        opened.close()
    if not found:
        raise SourceError(path, "holds no video stream")
    return _File(path, data, kind, found, notes)


def _look(file: _File, number: int, view: str | None) -> _Video:
    """Count the frames of a stream, and decode a few to see what they are."""
    opening = Opening(file.data, file.kind, file.streams[number].index)
    opened = Opened(opening)
    try:
        packets, notes = _packets(file, opened)
        reorders = opened.stream.codec_context.codec.reorder
        described = facts.describe(opened.container, opened.stream, file.kind)
    finally:
        opened.close()
    index, samples = _tried(opening, Index(packets), _TRIED if reorders else 1)
    how, checked, more = _chosen(view, samples, f"{file.path}{SEPARATOR}")
    description = facts.description(described, index, how, samples[0])
    several = str(number) if len(file.streams) > 1 else ""
    description = replace(
        description,
        files=(file.path,),
        image="/".join(filter(None, (several, view or ""))),
        block=_block(description, index),
        notes=(*description.notes, *how.notes, *more, *notes, *file.notes),
    )
    return _Video(opening, index, how, description, checked)


def _packets(file: _File, opened: Opened) -> tuple[list[Packet], tuple[str, ...]]:
    """Return the packets of a stream, by an index that tells of all or by walking through them."""
    size, stream = file.data.stamp.size, opened.stream
    # Of Matroska the index has key frames only, and a part of a movie in fragments one part.
    index, told = stream.index_entries, stream.frames
    entries = sum(entry.size > 0 for entry in index)
    if file.kind.indexed and (packets := indexed_packets(opened, size)) is not None:
        return packets, ()
    blocks = _parts(file) if file.data.mapped else 0
    again = Opened(Opening(file.data, file.kind, stream.index))
    try:
        packets, count = all_packets(again, file.path)
    finally:
        again.close()
    if file.kind == MP4 and TRIMMED not in file.notes:
        entries = max(entries, told - (len(index) - entries))
    if count < blocks:
        raise SourceError(file.path, f"{count} of {blocks} blocks can be read: damaged")
    return packets, check_count(file.path, packets, entries, told)


def _parts(file: _File) -> int:
    """Check the parts that hold single frames; return how many there are, where that is known."""
    size = file.data.stamp.size
    with file.data.stream() as content:
        if not file.kind.indexed:
            return count_blocks(file.path, content, size)
        check_whole(file.path, file.kind, content, size, deep=True)
    return 0


def _tried(opening: Opening, index: Index, count: int) -> tuple[Index, list[Any]]:
    """Return an index that agrees with what the decoder gives, and a few frames to look at."""
    decoder = Decoder(opening, index)
    try:
        first = None
        for _, frame in decoder.frames(0, min(count, len(index))):
            first = first or frame
        if first is not None:
            return index, [first, *_sampled(decoder, index)]
    except SourceError:
        pass  # counting tells whether that is damage
    finally:
        decoder.close()
    return _counted(opening, index)


def _sampled(decoder: Decoder, index: Index) -> list[Any]:
    """Return a frame from the middle and one from the end, at key frames."""
    wanted = {index.key_before(len(index) // 2), index.key_before(len(index) - 1)}
    return [
        frame
        for number in sorted(wanted)
        for at, frame in decoder.frames(number, number + 1)
        if at == number
    ]


def _counted(opening: Opening, index: Index) -> tuple[Index, list[Any]]:
    """Return an index by decoding everything, for packets that do not tell their frames."""
    order: list[int | None] = []
    samples: list[Any] = []
    decoder = Decoder(opening, Index(index.packets, [0]))
    try:
        for frame in decoder.every():
            if len(order) % max(1, len(index.packets) // 3) == 0:
                samples.append(frame)
            order.append(frame.pts)
    finally:
        decoder.close()
    return Index(index.packets, order), samples


def _chosen(
    view: str | None, samples: Sequence[Any], prefix: str
) -> tuple[pixels.Pixels, bool, tuple[str, ...]]:
    """Return how frames become arrays, whether colours must be watched for, and notes."""
    name = samples[0].format.name
    if pixels.is_gray(name):
        return pixels.luma(name), False, ()
    if pixels.is_rgb(name):
        if view == "luma":
            raise SourceError(prefix.removesuffix(SEPARATOR), f"has no luma: its pixels are {name}")
        return pixels.colors(name), False, ()
    if view == "luma":
        return pixels.luma(name), False, ("colours are left out: the luma alone was asked for",)
    if view == "rgb":
        return pixels.colors(name), False, (f"colours are computed from {name}",)
    if all(map(pixels.is_neutral, samples)):
        note = (
            f"without colours in the frames looked at: its luma is read ({prefix}rgb for colours)"
        )
        return pixels.luma(name), True, (note,)
    note = f"colours are computed from {name}; {prefix}luma reads the luma as it is"
    return pixels.colors(name), False, (note,)


def _block(description: Description, index: Index) -> tuple[int, ...]:
    """Return a group of pictures, or as much of one as is worth reading at once."""
    frame = description.shape[1:]
    most = max(1, _BLOCK // (prod(frame) * np.dtype(description.dtype).itemsize))
    return (min(index.group, most, len(index)), *frame)
