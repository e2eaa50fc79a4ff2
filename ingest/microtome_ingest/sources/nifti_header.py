"""Headers of NIfTI and Analyze as nibabel reads and mends them, and what they say.

Source of the formats: NIfTI-1 and NIfTI-2 (nifti1.h, nifti2.h), Analyze 7.5 (Mayo, dbh.h) with the
scale factor that SPM added.
"""

import logging
import struct
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from nibabel import nifti1
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader

from microtome_core.errors import SourceError

LONGEST = 544
_MAGICS = (b"n+1\0", b"ni1\0")
_LENGTHS = {1: "meter", 2: "millimeter", 3: "micrometer"}
_TIMES = {8: 1.0, 16: 1e-3, 24: 1e-6}
_NO_TIMES = {32: "Hz", 40: "ppm", 48: "rad/s"}
# nibabel reports at 30 what is wrong but can be read, and refuses from 40 on.
_TOLD, _REFUSED = logging.WARNING, logging.ERROR
_CIFTI = range(3000, 3100)
_MOST_TEXT = 256 << 10


class _Collector(logging.Logger):
    """Keeps what nibabel says of a header, instead of printing it."""

    def __init__(self) -> None:
        super().__init__("nibabel header")
        self.messages: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        """Keep complaints without how nibabel mended them."""
        if record.levelno >= _TOLD:
            self.messages.append(record.getMessage().partition(";")[0])


@dataclass(frozen=True, slots=True)
class Header:
    """A header.

    Parameters
    ----------
    format : str
        Of the description.
    single : bool
        The voxels are in the same file.
    stored : object
        nibabel's header as it is in the file.
    mended : object
        The same after nibabel's own checks and repairs.
    complaints : tuple of str
        What nibabel found odd.
    """

    format: str
    single: bool
    stored: Any
    mended: Any
    complaints: tuple[str, ...]

    @property
    def is_analyze(self) -> bool:
        """Whether it has no affine and no units."""
        return isinstance(self.stored, Spm2AnalyzeHeader)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, x first."""
        return tuple(map(int, self.mended.get_data_shape()))

    @property
    def length_unit(self) -> str | None:
        """The unit of voxel sizes. Analyze 7.5 defines millimeters unless ``vox_units`` differs."""
        if self.is_analyze:
            text = self.stored["vox_units"].item().strip(b"\0 ").decode("latin-1")
            return text or "millimeter"
        return _LENGTHS.get(int(self.stored["xyzt_units"]) & 7)

    @property
    def seconds(self) -> float | None:
        """How long the unit of the fourth axis is, if it has one of time."""
        return None if self.is_analyze else _TIMES.get(int(self.stored["xyzt_units"]) & 0x38)

    @property
    def no_time(self) -> str | None:
        """What the fourth axis counts if not time."""
        return None if self.is_analyze else _NO_TIMES.get(int(self.stored["xyzt_units"]) & 0x38)

    @property
    def intent(self) -> int:
        """NIfTI's code for what the voxels are."""
        return 0 if self.is_analyze else int(self.stored["intent_code"])

    def step(self, axis: int) -> float:
        """Return the distance along one axis, x being 0, as the header spells it."""
        return shortest(self.stored["pixdim"][axis + 1])

    def offset(self, path: str) -> int:
        """Return where the voxels begin in their file."""
        offset = int(self.mended.get_data_offset())
        least = self.mended.single_vox_offset if self.single else 0
        if offset < least:
            raise SourceError(path, f"its voxels begin at byte {offset}: expected {least} or more")
        return offset

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the voxels as they are stored, with its order of bytes."""
        dtype: np.dtype[Any] = self.stored.get_data_dtype()
        return dtype


def parse(block: bytes, path: str, *, pair: bool) -> Header:
    """Return the header at the beginning of `block`.

    Raises
    ------
    SourceError
        Not one of these formats, CIFTI, or contradictions that nibabel refuses.
    """
    sizes = {struct.unpack_from(order + "i", block)[0] for order in "<>"} if len(block) > 3 else ()
    kind: Any
    if 540 in sizes:
        name, kind, length = "NIfTI-2", Nifti2PairHeader if pair else Nifti2Header, 540
    elif block[344:348] in _MAGICS:
        name, kind, length = "NIfTI-1", Nifti1PairHeader if pair else Nifti1Header, 348
    elif 348 in sizes and pair:
        name, kind, length = "Analyze 7.5", Spm2AnalyzeHeader, 348
    else:
        raise SourceError(path, "has no header of NIfTI or Analyze")
    if len(block) < length:
        raise SourceError(path, f"its header has {len(block)} of {length} bytes: truncated")
    stored = kind(block[:length], check=False)
    _check_dimensions(stored, path)
    _check_type(stored, path)
    if not pair and bytes(stored["magic"].item())[:2] == b"ni":
        raise SourceError(path, "is the header of a pair: its voxels are in an .img file")
    header = Header(name, not pair, stored, *_mended(stored))
    if header.intent in _CIFTI:
        raise SourceError(path, "is CIFTI: values of surface vertices and voxels, not an image")
    return header


def _check_dimensions(stored: Any, path: str) -> None:  # noqa: ANN401 - nibabel has no types
    count = int(stored["dim"][0])
    if not 1 <= count <= 7:
        raise SourceError(path, f"its header claims {count} axes: expected 1 to 7")


def _check_type(stored: Any, path: str) -> None:  # noqa: ANN401
    code = int(stored["datatype"])
    # nibabel offers its table nowhere else.
    kinds = stored._data_type_codes
    if code not in kinds.code:
        raise SourceError(path, f"datatype {code}: unknown to the format")
    found = kinds.dtype[code]
    if found.kind == "V" and not found.names:
        raise SourceError(path, f"datatype {code} ({kinds.label[code]}): not supported")


def _mended(stored: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
    mended, logger = stored.copy(), _Collector()
    mended.check_fix(logger=logger, error_level=_REFUSED)
    return mended, tuple(f"header: {message}" for message in logger.messages)


def shortest(value: Any) -> float:  # noqa: ANN401
    """Return the number of fewest digits that is stored as `value`: 2.2, not 2.2000000477.

    >>> shortest(np.float32(2.2))
    2.2
    """
    return float(str(value))


def fields(header: Header) -> dict[str, Any]:
    """Return every field of the header as JSON holds it."""
    return {name: _plain(np.asarray(header.stored[name])) for name in header.stored}


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    if value.ndim:
        return [_plain(np.asarray(item)) for item in value]
    if value.dtype.kind == "f":
        number = shortest(value[()])
        return number if isfinite(number) else str(number)
    item = value.item()
    return text(item) if isinstance(item, bytes) else item


def text(value: bytes) -> str:
    """Return a field of characters up to its first zero byte."""
    kept = value.partition(b"\0")[0]
    try:
        return kept.decode().strip()
    except UnicodeDecodeError:
        return kept.decode("latin-1").strip()


def label(codes: Any, code: int) -> str:  # noqa: ANN401
    """Return nibabel's word for a code, or the number."""
    try:
        return str(codes.label[code])
    except KeyError:
        return str(code)


def extensions(block: bytes, header: Header) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return what follows a header up to the voxels, and what is wrong with it.

    Parameters
    ----------
    block : bytes
        From the beginning of the file on.
    header : Header
    """
    found: list[dict[str, Any]] = []
    at = int(header.mended.sizeof_hdr)
    if header.is_analyze or not block[at : at + 1].strip(b"\0"):
        return found, ()
    at += 4
    while at + 8 <= len(block):
        size, code = struct.unpack_from(header.stored.endianness + "ii", block, at)
        if size == 0 and not block[at:].strip(b"\0"):
            break
        if size < 8 or at + size > len(block):
            return found, (f"header extension at byte {at} is damaged or very long: left out",)
        kind = label(nifti1.extension_codes, code)
        found.append({"code": code, "kind": kind, "content": _content(block[at + 8 : at + size])})
        at += size
    return found, ()


def _content(value: bytes) -> str:
    """Return text as text, all else as hexadecimal digits."""
    if len(value) > _MOST_TEXT:
        return f"left out: {len(value)} bytes"
    kept = value.rstrip(b"\0")
    try:
        return kept.decode()
    except UnicodeDecodeError:
        return kept.hex()
