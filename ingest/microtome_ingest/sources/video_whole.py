"""Whether a video file is all there: its parts must fill it, as their own sizes tell.

Sources of the formats: Microsoft, AVI RIFF File Reference and OpenDML AVI 1.02; ISO/IEC 14496-12,
4.2; RFC 8794 (EBML) and RFC 9559 (Matroska). Demultiplexers read a file that was cut off as a
shorter one.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from microtome_core.errors import SourceError

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_BLOCKS = (0xA3, 0xA0, 0xAF)
_VOID_CRC = (0xEC, 0xBF)
_INTEGERS = (0xE7, 0xA7, 0xAB)
_IN_CLUSTER = (0x5854, *_INTEGERS, *_BLOCKS, *_VOID_CRC)
_IN_SEGMENT = (
    _CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
    *_VOID_CRC,
)  # fmt: skip
_LIVE = (
    "the file does not say how long it is (recorded live): "
    "if it was cut off between two clusters, nobody can see"
)
TRIMMED = "its list of edits leaves out a part of it: what players show is read"
# Edits that only put frames in order leave out a frame or two.
_TRIMMED = 3
_ENDLESS = (0, 0xFFFFFFFF)
# So many bytes of rest do no harm: padding.
_REST = 8


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file.

    Parameters
    ----------
    name : str
        For people.
    demuxer : str
        FFmpeg's name: it may take a file for nothing else, least of all for a list of others.
    indexed : bool
        Its index has every frame, unless it is in fragments.
    """

    name: str
    demuxer: str
    indexed: bool = True


AVI = Container("AVI", "avi")
MP4 = Container("MP4/MOV", "mov")
MATROSKA = Container("Matroska/WebM", "matroska", indexed=False)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def container_of(path: str, head: bytes) -> Container:
    """Tell the kind of a file by its beginning.

    Raises
    ------
    SourceError
        None that is read.
    """
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return AVI
    if head[4:8] in _BOXES:
        return MP4
    if head.startswith(b"\x1aE\xdf\xa3"):
        return MATROSKA
    if head.startswith(b"\xed\xfe\0\0"):
        raise SourceError(path, "is a NorPix sequence, which is not read: export it as AVI or TIFF")
    if head.startswith(b"CI\x2c\0"):
        # FFmpeg stretches its values to 16 bits and does not read its times.
        raise SourceError(path, "is a Phantom CINE file, which is not read: export it as TIFF")
    raise SourceError(path, f"is no AVI, MP4, MOV, MKV or WebM: it starts with {head[:12]!r}")


def check_whole(
    path: str, kind: Container, stream: BinaryIO, size: int, *, deep: bool = False
) -> tuple[str, ...]:
    """Compare what the parts of a file say of their sizes with its own.

    Parameters
    ----------
    path : str
    kind : Container
    stream : file object
    size : int
        Bytes of the file.
    deep : bool
        Look also at the parts that hold single frames, which touches the whole file.

    Returns
    -------
    tuple of str
        Notes: what could not be checked.

    Raises
    ------
    SourceError
        Cut off, never finished, or damaged between its parts.
    """
    checks: dict[str, Callable[[_Parts], tuple[str, ...]]] = {
        "avi": _check_avi,
        "mov": _check_mp4,
        "matroska": _check_matroska,
    }
    return checks[kind.demuxer](_Parts(path, stream, size, deep))


@dataclass(frozen=True, slots=True)
class _Parts:
    """The file, for the walks below."""

    path: str
    stream: BinaryIO
    size: int
    deep: bool

    def read(self, at: int, count: int) -> bytes:
        """Return bytes at a place, fewer at the end."""
        self.stream.seek(at)
        return self.stream.read(count)

    def refuse(self, what: str) -> SourceError:
        """Return the error for a file of wrong parts."""
        return SourceError(self.path, what)

    def end(self, name: str, at: int, stop: int, slack: int = 0) -> int:
        """Return where a part ends, checked against the end of the file."""
        if stop > self.size + slack:
            raise self.refuse(
                f"{name} at byte {at} ends at byte {stop}, but the file at {self.size}: truncated"
            )
        return stop


def _check_avi(file: _Parts) -> tuple[str, ...]:
    at = 0
    while at + 12 <= file.size:
        head = file.read(at, 12)
        if head[:4] != b"RIFF":
            break  # what others append after the last part
        length = int.from_bytes(head[4:8], "little")
        if length in _ENDLESS:
            raise file.refuse(
                "was never finished: its recorder did not write how long it is; "
                "make it whole with a tool such as ffmpeg -c copy"
            )
        # Whether a last odd part is padded is told differently.
        stop = file.end("the part RIFF", at, at + 8 + length, slack=1)
        _check_movi(file, at + 12, min(stop, file.size))
        at = stop + stop % 2
    return ()


def _check_movi(file: _Parts, at: int, stop: int) -> None:
    """Walk the chunks of one RIFF part: an identifier and a length each."""
    while at + 8 <= stop:
        head = file.read(at, 12)
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if not _is_fourcc(name):
            raise file.refuse(f"damaged at byte {at}: {name!r} is no chunk of an AVI file")
        if file.deep and name == b"LIST" and head[8:12] in (b"movi", b"rec "):
            at += 12
            continue
        if at + 8 + length > stop + 1:
            raise file.refuse(
                f"the chunk {name!r} at byte {at} of {length} bytes reaches beyond its part"
            )
        at += 8 + length + length % 2


def _is_fourcc(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _check_mp4(file: _Parts) -> tuple[str, ...]:
    found = list(_boxes(file, 0, file.size))
    movies = [(start, stop) for name, start, stop in found if name == b"moov"]
    if not movies:
        raise file.refuse("has no box moov, which tells where its frames are: truncated")
    trimmed = False
    for start, stop in movies:
        inside = list(_boxes(file, start, stop))
        ticks = next((_clock(file, low)[0] for name, low, _ in inside if name == b"mvhd"), 0)
        for name, low, high in inside:
            trimmed |= name == b"trak" and _check_track(file, low, high, ticks)
    return (TRIMMED,) if trimmed else ()


def _check_track(file: _Parts, start: int, stop: int, ticks: int) -> bool:
    """Compare how many frames the tables of a video track tell of: times, sizes and chunks.

    Returns
    -------
    bool
        Whether its list of edits leaves out a part of it.
    """
    boxes: dict[bytes, tuple[int, int]] = {}
    _collect(file, start, stop, boxes)
    if b"hdlr" not in boxes or file.read(boxes[b"hdlr"][0] + 8, 4) != b"vide":
        return False
    if b"stsz" in boxes and b"stts" in boxes:  # else FFmpeg says what it lacks
        _check_tables(file, boxes)
    if not ticks or b"elst" not in boxes or b"mdhd" not in boxes:
        return False
    own, length = _clock(file, boxes[b"mdhd"][0])
    _, count = _numbers(file, boxes[b"stsz"][0] + 4, 2) if b"stsz" in boxes else (0, 0)
    if not own or not count:
        return False
    return _edited(file, *boxes[b"elst"]) / ticks < length / own * (1 - _TRIMMED / count)


def _clock(file: _Parts, at: int) -> tuple[int, int]:
    """Return ticks a second, and the length in ticks, that a header of times tells."""
    if file.read(at, 1) == b"\1":
        ticks, high, low = _numbers(file, at + 20, 3)
        return ticks, high << 32 | low
    ticks, length = _numbers(file, at + 12, 2)
    return ticks, length


def _edited(file: _Parts, start: int, stop: int) -> int:
    """Return how long all edits are together, in ticks of the movie."""
    wide = file.read(start, 1) == b"\1"
    (rows,) = _numbers(file, start + 4, 1)
    size = 5 if wide else 3
    if start + 8 + 4 * size * rows > stop:
        raise file.refuse(f"the table at byte {start} of {rows} rows reaches beyond its box")
    values = _numbers(file, start + 8, size * rows)
    if wide:
        return sum(h << 32 | low for h, low in zip(values[::5], values[1::5], strict=True))
    return sum(values[::3])


def _check_tables(file: _Parts, boxes: Mapping[bytes, tuple[int, int]]) -> None:
    same, count = _numbers(file, boxes[b"stsz"][0] + 4, 2)
    if same * count > file.size:
        raise file.refuse(f"claims {count} frames of {same} bytes: more than the file has")
    for name in (b"stts", b"ctts"):
        if name in boxes and (told := _total(file, *boxes[name])) not in (0, count):
            what = f"{name.decode()} tells of {told} frames, stsz of {count}"
            raise file.refuse(f"its tables contradict each other: {what}")


def _collect(file: _Parts, start: int, stop: int, boxes: dict[bytes, tuple[int, int]]) -> None:
    for name, low, high in _boxes(file, start, stop):
        if name in (b"mdia", b"minf", b"stbl", b"edts"):
            _collect(file, low, high, boxes)
        else:
            # A track has a second handler, of its data, in files of QuickTime: the first counts.
            boxes.setdefault(name, (low, high))


def _total(file: _Parts, start: int, stop: int) -> int:
    """Return the sum of the counts in a table of counts and values."""
    (rows,) = _numbers(file, start + 4, 1)
    if start + 8 + 8 * rows > stop:
        raise file.refuse(f"the table at byte {start} of {rows} rows reaches beyond its box")
    return sum(_numbers(file, start + 8, 2 * rows)[::2])


def _numbers(file: _Parts, at: int, count: int) -> tuple[int, ...]:
    data = file.read(at, 4 * count)
    if len(data) < 4 * count:
        raise file.refuse(f"ends within a table at byte {at}: truncated")
    return struct.unpack(f">{count}I", data)


def _boxes(file: _Parts, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, and where the content begins and ends, of each box in a range."""
    at = start
    while at + 8 <= stop:
        head = file.read(at, 16)
        length, name, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0 and name == b"mdat":
            length = stop - at
        elif length == 0 and not any(file.read(at, min(stop - at, 1 << 16))):
            return  # padding
        if length < header or not _is_boxname(name):
            raise file.refuse(f"damaged at byte {at}: {name!r} of {length} bytes is no box")
        end = file.end(f"the box {name.decode('latin-1')}", at, at + length)
        if end > stop:
            raise file.refuse(f"damaged at byte {at}: a box that ends beyond the one around it")
        yield name, at + header, end
        at = end
    if at < stop and any(file.read(at, min(stop - at, _REST))):
        raise file.refuse(f"ends within a box at byte {at}: truncated")


def _is_boxname(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def _check_matroska(file: _Parts) -> tuple[str, ...]:
    _, start, stop = _segment(file)
    for number, at, _, _ in _elements(file, start, stop or file.size):
        if number not in _IN_SEGMENT and number not in _IN_CLUSTER:
            raise file.refuse(f"damaged at byte {at}: {number:#x} is no part of a segment")
    return () if stop else (_LIVE,)


def _segment(file: _Parts) -> tuple[int, int, int | None]:
    for number, at, start, stop in _elements(file, 0, file.size):
        if number == _SEGMENT:
            if stop is not None:
                file.end("the segment", at, stop)
            return at, start, stop
    raise file.refuse("has no segment: truncated")


def count_blocks(path: str, stream: BinaryIO, size: int) -> int:
    """Return how many blocks a Matroska file has in all its clusters.

    Raises
    ------
    SourceError
        Damaged between them.
    """
    file = _Parts(path, stream, size, deep=True)
    _, start, stop = _segment(file)
    return sum(
        _blocks(file, low, high) if number == _CLUSTER and high else number in _BLOCKS
        for number, _, low, high in _elements(file, start, stop or size)
    )


def _blocks(file: _Parts, start: int, stop: int) -> int:
    count = 0
    for number, at, begin, end in _elements(file, start, stop):
        too_long = number in _INTEGERS and end is not None and end - begin > 8
        if end is None or number not in _IN_CLUSTER or too_long:
            raise file.refuse(f"damaged at byte {at}: {number:#x} is no part of a cluster")
        count += number in _BLOCKS
    return count


def _elements(file: _Parts, start: int, stop: int) -> Iterator[tuple[int, int, int, int | None]]:
    """Yield number, place, and where the content of each element begins and ends, if it says so."""
    at = start
    while at < stop:
        head = file.read(at, 12)
        number, width = _vint(head, keep_marker=True)
        length, more = _vint(head[width:], keep_marker=False) if width else (0, 0)
        if not width or not more or width > 4:
            raise file.refuse(f"damaged or truncated at byte {at}: {head[:4]!r} is no element")
        begin = at + width + more
        untold = length == (1 << 7 * more) - 1
        end = None if untold else begin + length
        if end is not None and end > stop and number != _SEGMENT:
            raise file.refuse(f"the element at byte {at} ends at {end}, beyond {stop}: truncated")
        yield number, at, begin, end
        if end is None:
            # Its parts follow at this level as if they were its brothers.
            at = begin
            continue
        at = end


def _vint(head: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return an EBML number and its bytes; 0 bytes where there is none."""
    if not head or not head[0]:
        return 0, 0
    width = 9 - head[0].bit_length()
    if len(head) < width:
        return 0, 0
    value = int.from_bytes(head[:width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width
