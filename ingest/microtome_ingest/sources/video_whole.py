"""Whether a video file is all there: its parts must fill it, as their own sizes tell.

Sources of the formats: Microsoft, AVI RIFF File Reference and OpenDML AVI 1.02; ISO/IEC 14496-12,
4.2; RFC 8794 (EBML) and RFC 9559 (Matroska). Demultiplexers read a file that was cut off as a
shorter one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from microtome_core.errors import SourceError

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_LIVE = (
    "the file does not say how long it is (recorded live): "
    "if it was cut off between two clusters, nobody can see"
)
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
    """

    name: str
    demuxer: str


AVI = Container("AVI", "avi")
MP4 = Container("MP4/MOV", "mov")
MATROSKA = Container("Matroska/WebM", "matroska")
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
    path: str, kind: Container, stream: BinaryIO, size: int, *, deep: bool
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
    names = [name for name, _, _ in _boxes(file)]
    if b"moov" not in names:
        raise file.refuse("has no box moov, which tells where its frames are: truncated")
    return ()


def _boxes(file: _Parts) -> Iterator[tuple[bytes, int, int]]:
    at = 0
    while at + 8 <= file.size:
        head = file.read(at, 16)
        length, name, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0 and name == b"mdat":
            length = file.size - at
        elif length == 0 and not any(file.read(at, 1 << 16)):
            return  # padding
        if length < header or not _is_boxname(name):
            raise file.refuse(f"damaged at byte {at}: {name!r} of {length} bytes is no box")
        stop = file.end(f"the box {name.decode('latin-1')}", at, at + length)
        yield name, at, stop
        at = stop
    if file.size - at > 0 and any(file.read(at, _REST)):
        raise file.refuse(f"ends within a box at byte {at}: truncated")


def _is_boxname(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 or byte == 0xA9 for byte in name)


def _check_matroska(file: _Parts) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    for number, at, start, stop in _elements(file, 0, file.size):
        if number != _SEGMENT:
            continue
        if stop is None:
            notes = (_LIVE,)
        else:
            file.end("the segment", at, stop)
        for inner, _, low, high in _elements(file, start, stop or file.size):
            if inner == _CLUSTER and high is not None and file.deep:
                _check_cluster(file, low, high)
        break
    else:
        raise file.refuse("has no segment: truncated")
    return notes


def _check_cluster(file: _Parts, start: int, stop: int) -> None:
    for number, at, _, end in _elements(file, start, stop):
        if end is None or number in (_CLUSTER, _SEGMENT):
            raise file.refuse(f"damaged at byte {at}: no part of a cluster")


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
