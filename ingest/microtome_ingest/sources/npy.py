"""NumPy's own files: NPY mapped into memory, a member of an NPZ inflated once.

Source of the format: NumPy, numpy.lib.format. It has no axes, so every axis stays open.
"""

import mmap
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from shutil import copyfileobj, disk_usage
from typing import IO, Any, cast

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, RegionError, SourceError
from microtome_core.region import Region, check_inside
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.letters import open_letters

SEPARATOR = "::"
# What each method of zip can expand at most; deflate's limit is 1032.
_MOST_RATIO = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1040}
_OTHER_RATIO = 100_000


class NpySource:
    """An array in a file, mapped into memory when it is first read."""

    def __init__(self, description: Description, load: Callable[[], NDArray[Any]]) -> None:
        self._description = description
        self._load = load
        self._lock = threading.Lock()
        self._voxels: NDArray[Any] | None = None
        self._size = Path(description.files[0]).stat().st_size

    @property
    def description(self) -> Description:
        """What the header says."""
        return self._description

    def close(self) -> None:
        """Release the map; a later read opens it again."""
        with self._lock:
            self._voxels = None

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        path = self._description.files[0]
        if region.axes != self._description.axes:
            raise RegionError(f"region {region}: expected axes {self._description.axes!r}")
        check_inside(region, self._description.shape)
        with strict(path, str(region)):
            # Reading a map beyond a file that was cut short would end the process.
            if Path(path).stat().st_size != self._size:
                raise SourceError(path, "changed since it was opened")
            return np.array(self._mapped()[region.slices], self._description.dtype, order="C")

    def _mapped(self) -> NDArray[Any]:
        with self._lock:
            if self._voxels is None:
                self._voxels = self._load()
            return self._voxels


def scenes(path: str) -> tuple[Scene, ...]:
    """List the arrays: one of an NPY file, every member of an NPZ file."""
    file, name = _split(path)
    members = [name] if name else _members(file)
    found = [_open(file, member).description for member in members]
    return tuple(
        Scene(i, member or "", d.axes, d.shape, d.dtype)
        for i, (member, d) in enumerate(zip(members, found, strict=True))
    )


def open_image(path: str, scene: int | None = None) -> NpySource:
    """Open an NPY file, or the member of an NPZ file that ``file.npz::name`` or `scene` chooses.

    Raises
    ------
    SourceError
        Damage, a header that claims more than the file can hold, several members and none chosen,
        fewer than two axes, or voxels of a type that microtome does not store.
    """
    file, name = _split(path)
    members = [name] if name else _members(file)
    if scene is None and len(members) > 1:
        choice = ", ".join(f"{i}: {member}" for i, member in enumerate(members))
        raise SourceError(
            file, f"holds {len(members)} arrays, choose with --scene N or {file}::name: {choice}"
        )
    if not 0 <= (scene or 0) < len(members):
        raise SourceError(file, f"has no scene {scene}: it holds {len(members)} arrays")
    return _open(file, members[scene or 0])


def _split(path: str) -> tuple[str, str | None]:
    file, separator, name = path.rpartition(SEPARATOR)
    return (file, name) if separator and not Path(path).exists() else (path, None)


def _members(file: str) -> list[str | None]:
    with strict(file), Path(file).open("rb") as stream:
        if not stream.read(4).startswith(b"PK"):
            return [None]
    with strict(file), zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise SourceError(file, "holds no arrays (no .npy members)")
    return list(names)


def _open(file: str, member: str | None) -> NpySource:
    if member is None:
        with strict(file), Path(file).open("rb") as stream:
            shape, fortran, dtype = _header(stream, file)
            _check_size(
                file, stream.tell() + prod(shape) * dtype.itemsize, Path(file).stat().st_size
            )
        return NpySource(_describe("NPY", file, shape, fortran, dtype), lambda: _map(file))
    where = f"{file}{SEPARATOR}{member}"
    with strict(where), zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{member}.npy")
        _check_ratio(where, info)
        with archive.open(info) as stream:
            shape, fortran, dtype = _header(stream, where)
            _check_size(where, stream.tell() + prod(shape) * dtype.itemsize, info.file_size)
    description = replace(_describe("NPZ", file, shape, fortran, dtype), image=member)
    return NpySource(description, lambda: _inflated(file, f"{member}.npy"))


def _header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(stream)
    read = {(1, 0): npy_format.read_array_header_1_0}.get(version, npy_format.read_array_header_2_0)
    if version not in ((1, 0), (2, 0)):
        # Version 3 only adds names outside of Latin-1 to structured types.
        raise SourceError(where, f"NPY version {version}: expected 1.0 or 2.0")
    shape, fortran, dtype = read(stream)
    try:
        check_dtype(dtype)
    except InputError as error:
        raise SourceError(where, str(error)) from error
    if len(shape) < 2 or 0 in shape:
        raise SourceError(where, f"shape {shape}: an image needs y and x at least, and voxels")
    if len(shape) > 6:
        raise SourceError(where, f"shape {shape}: expected no more than 6 axes")
    return shape, fortran, dtype


def _check_size(where: str, needed: int, present: int) -> None:
    if needed > present:
        raise SourceError(
            where, f"its header claims {needed} bytes, but it has {present}: truncated"
        )


def _check_ratio(where: str, info: zipfile.ZipInfo) -> None:
    ratio = _MOST_RATIO.get(info.compress_type, _OTHER_RATIO)
    if info.file_size > info.compress_size * ratio:
        raise SourceError(
            where, f"claims {info.file_size} bytes in {info.compress_size} compressed ones: refused"
        )


def _describe(
    name: str, file: str, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> Description:
    # The two axes whose voxels lie next to each other are read at once.
    fast = range(2) if fortran else range(len(shape) - 2, len(shape))
    return Description(
        format=name,
        axes=open_letters(len(shape)),
        shape=shape,
        dtype=dtype.newbyteorder("=").name,
        block=tuple(extent if i in fast else 1 for i, extent in enumerate(shape)),
        files=(file,),
    )


def _map(file: str) -> NDArray[Any]:
    return cast(NDArray[Any], np.load(file, mmap_mode="r", allow_pickle=False))


def _inflated(file: str, member: str) -> NDArray[Any]:
    """Inflate a member into a file without a name, whose checksum zipfile verifies, and map it."""
    with zipfile.ZipFile(file) as archive, tempfile.TemporaryFile() as target:
        info = archive.getinfo(member)
        free = disk_usage(tempfile.gettempdir()).free
        if info.file_size > free:
            raise SourceError(file, f"inflates to {info.file_size} bytes, but only {free} are free")
        with archive.open(info) as stream:
            copyfileobj(stream, target, 1 << 20)
        target.seek(0)
        shape, fortran, dtype = _header(target, file)
        memory = mmap.mmap(target.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(shape, dtype, memory, target.tell(), order="F" if fortran else "C")
