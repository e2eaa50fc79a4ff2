"""NumPy's own files: NPY read where it lies, a member of an NPZ inflated once.

Source of the format: NumPy, numpy.lib.format. It has no axes, so every axis stays open.
"""

import io
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, SourceError
from microtome_core.npy import read_head
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.inflated import DEFLATE_RATIO, Inflated, check_ratio
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.members import SEPARATOR, choose, split
from microtome_ingest.sources.raw import RawArray
from microtome_ingest.stream import told

# What each method of zip can expand at most.
_MOST_RATIO = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_RATIO}
_OTHER_RATIO = 100_000
_MOST_NOTES = 5


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header of an array says, and where the voxels begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def array(self) -> RawArray:
        """The voxels in C order; axes reversed where they are in Fortran order."""
        return RawArray(self.offset, self.turned(self.shape), self.dtype)

    def turned(self, of_axes: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what is given for each axis in the order of `array`."""
        return of_axes[::-1] if self.fortran else of_axes


class NoImageError(SourceError):
    """A whole array that is no image: a single number, texts, truth values."""


class NpySource:
    """An array in a file, or in a member of an archive, which is inflated when it is first read."""

    def __init__(
        self, description: Description, files: Files, header: _Header, meter: Meter | None = None
    ) -> None:
        self._description, self._files, self._header = description, files, header
        self._meter = meter or Meter()
        self._lock = threading.Lock()
        self._data: Bytes | None = None
        self._inflated: Inflated | None = None

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
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Release the map, and what was inflated; a later read does it again."""
        with self._lock:
            self._data = self._inflated = None

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        path = self._description.files[0]
        check_region(region, self._description.axes, self._description.shape)
        with strict(path, str(region)):
            data, inflated = self._opened()
            data.check()
            part = self._part(inflated or data, region)
            return np.array(part, self._description.dtype, order="C")

    def _opened(self) -> tuple[Bytes, Inflated | None]:
        with self._lock:
            if self._data is None:
                self._data = self._files.open(self._description.files[0])
                self._inflated = self._member(self._data) if self._description.image else None
            return self._data, self._inflated

    def _member(self, data: Bytes) -> Inflated:
        count = self._header.array.nbytes
        return Inflated(
            data,
            partial(_opened_member, data, f"{self._description.image}.npy"),
            count,
            skip=self._header.offset,
            done=lambda: self._meter.add(count),
        )

    def _part(self, data: Bytes | Inflated, region: Region) -> NDArray[Any]:
        header, array = self._header, self._header.array
        box = header.turned(region.slices)
        if isinstance(data, Inflated):
            array = replace(array, offset=0)
            views = [data.read(*one) for one in array.ranges(data, box)]
        else:
            views = self._files.fetch([(data, *one) for one in array.ranges(data, box)])
            self._meter.add(prod(region.shape) * array.dtype.itemsize)
        part = array.take(data, box, views)
        return part.T if header.fortran else part


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the arrays: one of an NPY file, every member of an NPZ file."""
    files = files or Files()
    file, name = split(path, files)
    members = [name] if name else _images(file, files)[0]
    found = [source.description for source in _open(file, members, files)]
    return tuple(
        Scene(i, member or "", d.axes, d.shape, d.dtype)
        for i, (member, d) in enumerate(zip(members, found, strict=True))
    )


def open_image(
    path: str, scene: int | None = None, files: Files | None = None, meter: Meter | None = None
) -> NpySource:
    """Open an NPY file, or the member of an NPZ file that ``file.npz::name`` or `scene` chooses.

    `meter` is told what is copied of an NPY file, where several make one image.

    Raises
    ------
    SourceError
        Damage, a header that claims more than the file can hold, several members and none chosen,
        fewer than two axes, or voxels of a type that microtome does not store.
    """
    files = files or Files()
    file, name = split(path, files)
    members, notes = ([name], ()) if name else _images(file, files)
    number = choose(file, [member or "" for member in members], scene)
    return next(_open(file, members[number : number + 1], files, notes, meter))


def open_within(file: str, offset: int, size: int, files: Files) -> NpySource:
    """Open an NPY file that lies within another one as it is, such as a stored member of a zip.

    Parameters
    ----------
    file : str
        The other one.
    offset, size : int
        Where it lies in there, in bytes.
    files : Files

    Raises
    ------
    SourceError
        As for `open_image`.
    """
    with files.open(file) as data, strict(file):
        head = io.BytesIO(data.read(offset, min(size, 1 << 16)))
        header = _header(head, file, size)
        header = replace(header, offset=offset + header.offset)
    return NpySource(_describe("NPY", file, header), files, header)


def _images(file: str, files: Files) -> tuple[list[str | None], tuple[str, ...]]:
    """Return the members that are images, and notes of the others; a single one must be."""
    members = _members(file, files)
    if len(members) == 1:
        return members, ()
    found: list[str | None] = []
    others: list[NoImageError] = []
    with files.open(file) as data, strict(file), _archive(data) as archive:
        for member in members:
            try:
                _member(archive, file, str(member), files)
            except NoImageError as error:
                others.append(error)
            else:
                found.append(member)
    if not found:
        raise others[0]
    more = [f"and {len(others) - _MOST_NOTES} more"] if len(others) > _MOST_NOTES else []
    return found, tuple(f"no image: {text}" for text in [*map(str, others[:_MOST_NOTES]), *more])


def _members(file: str, files: Files) -> list[str | None]:
    with files.open(file) as data:
        if bytes(data.read(0, min(2, data.stamp.size))) != b"PK":
            return [None]
        with strict(file), _archive(data) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    if not names:
        raise SourceError(file, "holds no arrays (no .npy members)")
    if len(set(names)) < len(names):
        raise SourceError(file, "names a member more than once: damaged")
    return list(names)


@contextmanager
def _archive(data: Bytes) -> Iterator[zipfile.ZipFile]:
    with data.stream() as stream, told(stream), zipfile.ZipFile(stream) as archive:
        yield archive


def _open(
    file: str, members: Sequence[str | None], files: Files, notes: tuple[str, ...] = (),
    meter: Meter | None = None,
) -> Iterator[NpySource]:  # fmt: skip
    """Yield the array of an NPY file, or those of an archive, whose directory is read once."""
    with files.open(file) as data, strict(file):
        if None in members:
            with data.stream() as stream, told(stream):
                header = _header(stream, file, data.stamp.size)
            yield NpySource(_describe("NPY", file, header), files, header, meter)
            return
        with _archive(data) as archive:
            for member in members:
                yield _member(archive, file, str(member), files, notes)


def _member(
    archive: zipfile.ZipFile, file: str, member: str, files: Files, notes: tuple[str, ...] = ()
) -> NpySource:
    where = f"{file}{SEPARATOR}{member}"
    with strict(where):
        info = archive.getinfo(f"{member}.npy")
        ratio = _MOST_RATIO.get(info.compress_type, _OTHER_RATIO)
        check_ratio(where, info.file_size, info.compress_size, ratio)
        with archive.open(info) as inflated:
            header = _header(inflated, where, info.file_size)
    described = replace(_describe("NPZ", file, header), image=member, notes=notes)
    return NpySource(described, files, header)


def _header(stream: IO[bytes], where: str, size: int) -> _Header:
    head = read_head(stream)
    _check_image(where, head.shape, head.dtype)
    needed = head.start + head.nbytes
    if needed > size:
        raise SourceError(where, f"its header claims {needed} bytes, but it has {size}: truncated")
    return _Header(head.shape, head.fortran, head.dtype, head.start)


def _check_image(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    try:
        check_dtype(dtype)
    except InputError as error:
        raise NoImageError(where, str(error)) from error
    if len(shape) < 2 or 0 in shape:
        raise NoImageError(where, f"shape {shape}: an image needs y and x at least, and voxels")
    if len(shape) > 6:
        raise NoImageError(where, f"shape {shape}: expected no more than 6 axes")


def _describe(name: str, file: str, header: _Header) -> Description:
    # The two axes whose voxels lie next to each other are read at once.
    count = len(header.shape)
    fast = range(2) if header.fortran else range(count - 2, count)
    return Description(
        format=name,
        axes=open_letters(count),
        shape=header.shape,
        dtype=header.dtype.newbyteorder("=").name,
        block=tuple(extent if i in fast else 1 for i, extent in enumerate(header.shape)),
        files=(file,),
    )


@contextmanager
def _opened_member(data: Bytes, member: str) -> Iterator[IO[bytes]]:
    """Open a member, whose checksum zipfile verifies at its end."""
    with _archive(data) as archive, archive.open(member) as stream:
        yield stream
