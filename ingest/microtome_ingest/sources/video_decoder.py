"""A video file opened with PyAV: its packets in order, and frames by their number.

A container of PyAV is for one thread at a time; `Decoder` has one of its own.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, BinaryIO, TypeVar

import av

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes
from microtome_ingest.sources.video_index import Index, Packet, packet_of
from microtome_ingest.sources.video_whole import Container
from microtome_ingest.stream import told

T = TypeVar("T")

_BUFFER = 1 << 18
# Packets that an index is compared with before it is believed.
_COMPARED = 16
# Beyond any camera; FFmpeg then allocates nothing.
_MOST_PIXELS = 1 << 27
_OPTIONS = {
    # What a decoder would conceal is an error.
    "err_detect": "crccheck+explode",
    "max_pixels": str(_MOST_PIXELS),
}


class NotThereError(Exception):
    """A frame did not come where its packet lets expect it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a video stream of a file is opened.

    Parameters
    ----------
    data : Bytes
    kind : Container
    stream : int
        Its number among the streams of the file.
    """

    data: Bytes
    kind: Container
    stream: int

    @property
    def path(self) -> str:
        """The file."""
        return self.data.path


class Opened:
    """A container and the file object that it reads."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._file: BinaryIO = opening.data.stream()
        # What FFmpeg says at level ERROR of the last call.
        self.complaints: list[str] = []
        _listen()
        try:
            self.container: Any = self.call(self._open)
        except BaseException:
            self._file.close()
            raise
        self._finish = weakref.finalize(self, _release, self.container, self._file)

    @property
    def stream(self) -> Any:  # noqa: ANN401 - of PyAV
        """The chosen stream, its decoder set to refuse damage."""
        stream = self.container.streams[self._opening.stream]
        context = stream.codec_context
        if context is None:
            raise SourceError(self._opening.path, "its codec is not known to FFmpeg")
        if not context.is_open:
            context.options = dict(_OPTIONS)
            # FFmpeg's own threads could not say what is wrong without stopping Python's.
            context.thread_type, context.thread_count = "NONE", 1
        return stream

    def call(self, function: Callable[[], T]) -> T:
        """Return what a call into FFmpeg returns, or raise what went wrong in the file object."""
        with told(self._file), av.logging.Capture() as logs:
            result = function()
        self.complaints = [text.strip() for _, _, text in logs]
        return result

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the stream that come next.

        Empty ones stand for frames that were dropped while recording and are left out.
        """
        found = self.container.demux(self.stream)
        while (packet := self.call(lambda: next(found, None))) is not None:
            if packet.size:
                yield packet

    def decode(self, packet: Any) -> list[Any]:  # noqa: ANN401 - of PyAV
        """Return the frames that come of a packet, or of the end where it is None."""
        context = self.stream.codec_context
        try:
            frames: list[Any] = self.call(lambda: context.decode(packet))
        except av.EOFError:
            return []
        # Its decoder only complains of a wrong checksum.
        if self.complaints and context.codec.canonical_name == "ffv1":
            raise NotThereError(self.complaints[0])
        return frames

    def close(self) -> None:
        """Release both; so does whoever forgets this object."""
        self._finish()

    def _open(self) -> Any:  # noqa: ANN401 - of PyAV
        return av.open(
            self._file,
            format=self._opening.kind.demuxer,
            options=dict(_OPTIONS),
            metadata_errors="replace",
            buffer_size=_BUFFER,
        )


def _listen() -> None:
    """Let FFmpeg's complaints come to `av.logging.Capture`, each of them."""
    if av.logging.get_level() is None:
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)


def _release(container: Any, file: BinaryIO) -> None:  # noqa: ANN401 - of PyAV
    container.close()
    file.close()


def all_packets(opened: Opened, path: str) -> tuple[list[Packet], int]:
    """Return the packets of a stream in the order in which they are decoded.

    Returns
    -------
    list of Packet
    int
        How many packets there are of all streams together, empty ones included.

    Raises
    ------
    SourceError
        One of which bytes are missing.
    """
    packets: list[Packet] = []
    wanted, count = opened.stream.index, 0
    every = opened.container.demux()
    while (found := opened.call(lambda: next(every, None))) is not None:
        # The last one of each stream is no packet, but stands for its end.
        count += found.size > 0 or found.pts is not None
        if found.stream_index != wanted or not found.size:
            continue
        if found.is_corrupt:
            raise SourceError(path, f"packet {len(packets)} is incomplete: truncated")
        packets.append(packet_of(found))
    return packets, count


def indexed_packets(opened: Opened, size: int) -> list[Packet] | None:
    """Return the packets by the container's own index, where that is seen to tell of all.

    Only where frames are stored in the order in which they are shown. The first packets are
    compared here, all others when they are decoded. A file of many gigabytes is then open at once.
    """
    stream = opened.stream
    if stream.codec_context.codec.reorder or stream.frames != len(stream.index_entries):
        return None
    entries = [entry for entry in stream.index_entries if entry.size]
    if any(entry.pos + entry.size > size for entry in entries):
        return None
    packets = [
        Packet(e.timestamp, e.timestamp, e.size, e.is_keyframe, not e.is_discard) for e in entries
    ]
    if any(a.pts >= b.pts for a, b in pairwise(packets) if a.pts is not None and b.pts is not None):
        return None
    first = [packet_of(found) for found in islice(opened.packets(), _COMPARED)]
    return packets if packets and first == packets[:_COMPARED] else None


class Decoder:
    """Frames of one stream by number; goes on where it is, or seeks to a key frame.

    Parameters
    ----------
    opening : Opening
    index : Index
    """

    def __init__(self, opening: Opening, index: Index) -> None:
        self._opening, self._index = opening, index
        self._opened: Opened | None = None
        self._frames: Iterator[Any] = iter(())
        # The frame that comes next; None where that is not known.
        self.next: int | None = None

    def cost(self, frame: int) -> int:
        """Return about how many frames must be decoded before `frame` comes."""
        seek = frame - self._index.starts(frame)[0] + 1
        if self.next is None or self.next > frame:
            return seek
        return min(frame - self.next, seek)

    def close(self) -> None:
        """Release the file."""
        opened, self._opened, self.next = self._opened, None, None
        self._frames = iter(())
        if opened is not None:
            opened.close()

    def frames(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """Yield numbers and frames from the one that comes next, or a key frame, to `stop`.

        Raises
        ------
        SourceError
            Damage, with the number of the frame.
        """
        cause: Exception = NotThereError("it is not among those that are decoded")
        for place in self._places(start):
            if place is not None:
                self._go(place)
            try:
                for number, frame in self._forward(start, stop):
                    yield number, frame
                    start = max(start, number + 1)
            except (NotThereError, av.FFmpegError) as error:
                # After a seek what leans on earlier frames may fail, without damage.
                self.next, cause = None, error
            else:
                return
        raise SourceError(self._opening.path, f"frame {start} cannot be decoded: {cause}")

    def every(self) -> Iterator[Any]:
        """Yield all frames that come of the file, in the order in which they come.

        Raises
        ------
        SourceError
            Damage, or another number of frames than of packets: a frame was lost.
        """
        self._go(0)
        count, packets = 0, sum(packet.shown for packet in self._index.packets)
        try:
            for frame in self._frames:
                count += not frame.is_corrupt
                yield frame
        except (NotThereError, av.FFmpegError) as error:
            path = self._opening.path
            raise SourceError(path, f"frame {count} cannot be decoded: {error}") from error
        # Fields of interlaced frames may have a packet each.
        if packets not in (count, 2 * count):
            raise SourceError(self._opening.path, f"{packets} packets give {count} frames: damaged")

    def _places(self, start: int) -> list[int | None]:
        """Return from where to try, the cheapest first: None is to go on."""
        places: list[int | None] = list(self._index.starts(start))
        if self.next is not None and 0 <= start - self.next <= self.cost(start):
            places.insert(0, None)
        return places

    def _forward(self, start: int, stop: int) -> Iterator[tuple[int, Any]]:
        """Yield frames as they come; those before `start` may be broken after a seek."""
        while self.next is None or self.next < stop:
            number, frame = self._one()
            if number > start:
                raise NotThereError(f"frame {number} came instead")
            if number == start:
                start += 1
                if frame.is_corrupt:
                    raise NotThereError("damaged")
            self.next = number + 1
            yield number, frame

    def _one(self) -> tuple[int, Any]:
        frame = next(self._frames, None)
        if frame is None:
            raise NotThereError("the frames end before it")
        if self._index.counted is not None:
            return self.next or 0, frame
        number = self._index.number(frame.pts)
        if number is None:
            raise NotThereError(f"a frame at {frame.pts} ticks has no packet")
        return number, frame

    def _go(self, place: int) -> None:
        """Be ready to decode from a packet on."""
        self.next = 0 if self._index.counted is not None else None
        if place:
            self._opened = self._opened or Opened(self._opening)
            if self._sought(self._opened, place):
                return
        if self._opened is not None:
            self._opened.close()
        opened = self._opened = Opened(self._opening)
        self._frames = self._decoded(opened, self._packets(0, place, opened.packets()))

    def _sought(self, opened: Opened, place: int) -> bool:
        """Seek to a packet; tell whether that led to it or before."""
        packet = self._index.packets[place]
        target = packet.dts if packet.dts is not None else packet.pts
        if target is None:
            return False
        packets, seek = opened.packets(), opened.container.seek
        try:
            opened.call(partial(seek, target, stream=opened.stream, backward=True))
            first = next(packets, None)
        except av.FFmpegError:
            return False
        at = None if first is None else self._index.place(first.pts)
        if at is None or at > place:
            return False
        self._frames = self._decoded(opened, self._packets(at, place, chain([first], packets)))
        return True

    def _packets(self, at: int, place: int, packets: Iterable[Any]) -> Iterator[Any]:
        """Yield packets from `place` on, the first being number `at`.

        Each is compared with what it was when the file was opened.
        """
        known = self._index.packets
        for number, found in enumerate(packets, at):
            there = known[number] if number < len(known) else None
            # Where dts is not stored, FFmpeg computes it from what it has seen.
            if there is None or (found.pts, found.size) != (there.pts, there.size):
                raise NotThereError(f"packet {number} is not what it was at opening")
            if found.is_corrupt:
                raise NotThereError(f"packet {number} is incomplete")
            if number >= place:
                yield found

    def _decoded(self, opened: Opened, packets: Iterator[Any]) -> Iterator[Any]:
        for packet in chain(packets, [None]):
            yield from opened.decode(packet)
