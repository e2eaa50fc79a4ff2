"""The parts of a CZI file: its segments, its directory of subblocks, its attachments.

Source of the layout: ZEISS, ZISRAW file format (DS_ZISRAW-FileFormat), as libCZI's CziStructs.h has
it: each segment begins with 16 bytes of name and two sizes; numbers are little-endian.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes

_SEGMENT = struct.Struct("<16sqq")
_HEADER = struct.Struct("<iiii16s16siqqiq")
_ENTRY = struct.Struct("<2siqiiB5xi")
_DIMENSION = struct.Struct("<4siifi")
_SUBBLOCK = struct.Struct("<iiq")
_ATTACHMENT = struct.Struct("<2s10xqi16s8s80s")
_DIRECTORY_HEAD, _METADATA_HEAD, _ATTACHMENTS_HEAD, _SUBBLOCK_HEAD = 128, 256, 256, 256
_ATTACHMENT_HEAD = 256
_MOST_DIMENSIONS = 40


@dataclass(frozen=True, slots=True)
class Header:
    """Where the parts of a file lie; 0 where there is none."""

    directory: int
    metadata: int
    attachments: int
    part: int
    pending: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A subblock, as the directory has it.

    Parameters
    ----------
    place : dict
        Coordinate by dimension, those of the plane and of the tile excluded.
    x, y, width, height : int
        What it covers, in voxels of the whole scene.
    stored : (int, int)
        Its own width and height: smaller in a pyramid.
    tile : int, optional
        Its number in a mosaic; later ones lie on top.
    pixel, compression : int
    position : int
        Byte of its segment.
    """

    place: Mapping[str, int]
    x: int
    y: int
    width: int
    height: int
    stored: tuple[int, int]
    tile: int | None
    pixel: int
    compression: int
    position: int

    @property
    def finest(self) -> bool:
        """Whether it is no part of a pyramid's coarser levels."""
        return self.stored == (self.width, self.height)


def header(data: Bytes) -> Header:
    """Return where the parts lie.

    Raises
    ------
    SourceError
        Not whole, or one of several files of a recording.
    """
    view = segment(data, 0, b"ZISRAWFILE")
    _check(data, len(view) >= _HEADER.size, "its header is cut off")
    values = _HEADER.unpack_from(view)
    return Header(
        directory=values[7],
        metadata=values[8],
        attachments=values[10],
        part=values[6],
        pending=bool(values[9]),
    )


def blocks(data: Bytes, found: Header) -> list[Block]:
    """Return every subblock of the directory."""
    view = segment(data, found.directory, b"ZISRAWDIRECTORY")
    _check(data, len(view) >= _DIRECTORY_HEAD, "its directory of subblocks is cut off")
    count = int.from_bytes(view[:4], "little", signed=True)
    room = len(view) - _DIRECTORY_HEAD
    _check(data, 0 <= count * _ENTRY.size <= room, f"its directory claims {count} subblocks")
    result, at = [], _DIRECTORY_HEAD
    for number in range(count):
        block, at = entry(data, view, at, f"subblock {number} of its directory")
        result.append(block)
    _check(
        data, bytes(view[at : at + 2]) != b"DV", f"its directory holds more than {count} subblocks"
    )
    return result


def entry(data: Bytes, view: memoryview, at: int, where: str) -> tuple[Block, int]:
    """Return a subblock's entry and where the next one begins."""
    _check(data, at + _ENTRY.size <= len(view), f"{where} is cut off")
    schema, pixel, position, part, compression, _, count = _ENTRY.unpack_from(view, at)
    _check(data, schema == b"DV", f"{where} has the unknown layout {schema!r}")
    _check(data, part == 0, f"{where} lies in another file, which is not read")
    at += _ENTRY.size
    known = 0 < count <= _MOST_DIMENSIONS and at + count * _DIMENSION.size <= len(view)
    _check(data, known, f"{where} claims {count} dimensions")
    found: dict[str, tuple[int, int, int]] = {}
    for name, start, size, _, stored in _DIMENSION.iter_unpack(
        view[at : at + count * _DIMENSION.size]
    ):
        found[name.rstrip(b"\0").decode("latin-1")] = start, size, stored or size
    block = _block(data, found, where, (pixel, compression, position))
    return block, at + count * _DIMENSION.size


def _block(
    data: Bytes, found: dict[str, tuple[int, int, int]], where: str, rest: tuple[int, int, int]
) -> Block:
    _check(data, {"X", "Y"} <= set(found), f"{where} has no X and Y")
    x, width, stored_width = found.pop("X")
    y, height, stored_height = found.pop("Y")
    sizes = (width, height, stored_width, stored_height)
    _check(data, min(sizes) > 0, f"{where} is {width} × {height} voxels large")
    tile = found.pop("M", (None,))[0]
    thick = [name for name, (_, size, _) in found.items() if size > 1]
    _check(data, not thick, f"{where} holds several planes along {', '.join(thick)}: not read")
    place = {name: start for name, (start, _, _) in found.items()}
    return Block(place, x, y, width, height, (stored_width, stored_height), tile, *rest)


@dataclass(frozen=True, slots=True)
class Content:
    """What a subblock's own segment holds."""

    block: Block
    metadata: memoryview
    voxels: memoryview


def content(data: Bytes, position: int) -> Content:
    """Return what lies in a subblock's segment.

    Raises
    ------
    SourceError
        Something else lies there, or it is cut off.
    """
    where = f"the subblock at byte {position}"
    view = segment(data, position, b"ZISRAWSUBBLOCK")
    _check(data, len(view) >= _SUBBLOCK.size, f"{where} is cut off")
    metadata, _, size = _SUBBLOCK.unpack_from(view)
    block, end = entry(data, view, _SUBBLOCK.size, where)
    start = max(_SUBBLOCK_HEAD, end)
    whole = metadata >= 0 and size >= 0 and start + metadata + size <= len(view)
    _check(data, whole, f"{where} is cut off: {metadata} and {size} bytes do not fit into it")
    voxels = start + metadata
    return Content(block, view[start:voxels], view[voxels : voxels + size])


def xml(data: Bytes, found: Header) -> str:
    """Return the metadata; empty where there are none."""
    if not found.metadata:
        return ""
    view = segment(data, found.metadata, b"ZISRAWMETADATA")
    _check(data, len(view) >= _METADATA_HEAD, "its metadata are cut off")
    size = int.from_bytes(view[:4], "little", signed=True)
    text = view[_METADATA_HEAD : _METADATA_HEAD + max(size, 0)]
    _check(data, len(text) == size, f"its metadata are cut off: {len(text)} of {size} bytes")
    return bytes(text).decode("utf-8-sig").rstrip("\0 \r\n")


def time_stamps(data: Bytes, found: Header) -> list[float]:
    """Return the seconds of each time point that an attachment tells; else nothing."""
    for name, kind, position in _attachments(data, found):
        if name == b"TimeStamps" and kind == b"CZTIMS":
            view = segment(data, position, b"ZISRAWATTACH")[_ATTACHMENT_HEAD:]
            _check(data, len(view) >= 8, "its time stamps are cut off")
            count = int.from_bytes(view[4:8], "little", signed=True)
            _check(data, 0 <= count * 8 <= len(view) - 8, f"its {count} time stamps are cut off")
            return list(struct.unpack_from(f"<{count}d", view, 8))
    return []


def _attachments(data: Bytes, found: Header) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield name, kind and position of what is attached."""
    if not found.attachments:
        return
    view = segment(data, found.attachments, b"ZISRAWATTDIR")
    count = int.from_bytes(view[:4], "little", signed=True)
    room = len(view) - _ATTACHMENTS_HEAD
    _check(data, 0 <= count * _ATTACHMENT.size <= room, f"its directory claims {count} attachments")
    for i in range(count):
        at = _ATTACHMENTS_HEAD + i * _ATTACHMENT.size
        _, position, _, _, kind, name = _ATTACHMENT.unpack_from(view, at)
        yield name.rstrip(b"\0"), kind.rstrip(b"\0"), position


def segment(data: Bytes, position: int, name: bytes) -> memoryview:
    """Return the content of a segment.

    Raises
    ------
    SourceError
        Another one lies there, or it reaches beyond the file.
    """
    where = f"{name.decode()} at byte {position}"
    size = data.stamp.size
    _check(data, 0 <= position <= size - _SEGMENT.size, f"{where} lies beyond its end: truncated")
    found, allocated, used = _SEGMENT.unpack(data.read(position, _SEGMENT.size))
    _check(data, found.rstrip(b"\0") == name, f"{where}: {found[:15]!r} is there: damaged")
    length = used or allocated
    room = size - position - _SEGMENT.size
    _check(data, 0 <= length <= room, f"{where} has {length} bytes of which {room} are there")
    return data.read(position + _SEGMENT.size, length)


def _check(data: Bytes, good: bool, reason: str) -> None:
    if not good:
        raise SourceError(data.path, reason)
