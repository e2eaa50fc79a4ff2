"""Files that hold one block of voxels, written part by part in C order, complete or not at all.

===========  ===========================================================================
``.npy``     NumPy's format, version 1.0
``.nrrd``    NRRD 5 (https://teem.sourceforge.net/nrrd/format.html), raw, little-endian
``.tif``     OME-TIFF, with axes, voxel size and channel names
``.zarr``    OME-Zarr 0.5 of one level
===========  ===========================================================================
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from microtome.errors import InputError, MicrotomeError
from microtome.indexing import Cut
from microtome_core.dtypes import little_endian
from microtome_core.nrrd import along_axes, channel_pairs, nrrd_header
from microtome_core.ome_tiff import TYPES, sizes
from microtome_core.units import bytes_text
from microtome_core.wire import Channel

# Not ingest's exports: those read a store where it lies, while `get` needs NumPy and urllib3 alone.
Parts = Iterable[NDArray[Any]]
# From here on a TIFF needs addresses of 64 bits; its own tags take some of the 4 GiB.
_BIG = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """What a file is to hold; sequences are in the order of `axes`.

    Parameters
    ----------
    name : str
        Of the layer and level.
    axes : str
        One letter an axis, in array order.
    shape, chunk : tuple of int
        Extents in voxels, of all of it and of a unit of compression.
    dtype : dtype
    scale, offset : tuple of float
        Voxel size, and centre of the first voxel.
    units : tuple of str or None
    channels : tuple of Channel
    kind : str
        ``image`` or ``labels``.
    cut : Cut
        Which voxels of the volume these are.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    units: tuple[str | None, ...]
    channels: tuple[Channel, ...]
    kind: str
    chunk: tuple[int, ...]
    cut: Cut

    @property
    def nbytes(self) -> int:
        """Bytes of its voxels."""
        return self.cut.size * self.dtype.itemsize

    @property
    def text(self) -> str:
        """One line for people."""
        shape = "×".join(map(str, self.shape)) or "one voxel"
        return f"{self.name}: {self.axes} {shape} {self.dtype}, {bytes_text(self.nbytes)}"


@contextmanager
def place(out: Path) -> Iterator[Path]:
    """Yield a path beside `out`, which becomes `out` once all is written, else vanishes."""
    beside = out.with_name(f".{out.name}.{os.getpid()}.part{out.suffix}")
    try:
        yield beside
        if beside.is_dir() and out.is_dir():
            shutil.rmtree(out)
        beside.replace(out)
    except MicrotomeError:
        _remove(beside)
        raise
    except OSError as error:
        _remove(beside)
        raise MicrotomeError(f"{out}: {error.strerror or error}") from error
    except BaseException:
        _remove(beside)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(FileNotFoundError):
        path.unlink()


def npy(path: Path, block: Block, parts: Parts) -> None:
    """Write NumPy's format."""
    header = {"descr": little_endian(block.dtype).str, "fortran_order": False, "shape": block.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        _pour(file, parts)


def nrrd(path: Path, block: Block, parts: Parts) -> None:
    """Write NRRD: voxels as they are behind a header of text."""
    with path.open("wb") as file:
        file.write(_nrrd_header(block))
        _pour(file, parts)


def _pour(file: BinaryIO, parts: Parts) -> None:
    for part in parts:
        voxels = np.ascontiguousarray(part, little_endian(part.dtype))
        file.write(voxels.reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())


def _nrrd_header(block: Block) -> bytes:
    scale = dict(zip(block.axes, block.scale, strict=True))
    origin = dict(zip(block.axes, block.offset, strict=True))
    units = dict(zip(block.axes, block.units, strict=True))
    return nrrd_header(
        block.shape,
        block.dtype,
        block.axes,
        matrix=along_axes(block.axes, scale, origin),
        units=[units[axis] for axis in "xyz" if axis in block.axes],
        name=block.name,
        pairs=channel_pairs(block.channels),
    )


def tiff(path: Path, block: Block, parts: Parts) -> None:
    """Write OME-TIFF plane by plane; 64-bit integers, which OME lacks, as TIFF that names axes."""
    tifffile = _needs("tifffile", ".tif", "ingest")
    axes = "".join(a for a in "tczyx" if a in block.axes or a in "yx")
    extents = dict(zip(block.axes, block.shape, strict=True))
    shape = tuple(extents.get(axis, 1) for axis in axes)
    ome = block.dtype.name in TYPES
    with tifffile.TiffWriter(path, bigtiff=block.nbytes > _BIG, ome=ome) as file:
        file.write(
            planes(parts, shape[-2:]),
            shape=shape,
            dtype=little_endian(block.dtype),
            photometric="minisblack",
            metadata={"axes": axes.upper(), **(_ome(block) if ome else {})},
        )


def planes(parts: Parts, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield parts that follow one another in C order as planes of `shape`."""
    size, held, count = prod(shape), list[NDArray[Any]](), 0
    for part in parts:
        flat = part.reshape(-1)
        while count + len(flat) >= size:
            held.append(flat[: size - count])
            flat = flat[size - count :]
            yield np.concatenate(held).reshape(shape)
            held, count = [], 0
        if len(flat):
            held.append(flat)
            count += len(flat)


def _ome(block: Block) -> dict[str, Any]:
    described: dict[str, Any] = {"Name": block.name}
    described |= sizes(zip(block.axes, block.scale, block.units, strict=True))
    if "c" in block.axes and block.channels:
        described["Channel"] = {"Name": [channel.name for channel in block.channels]}
    return described


def zarr(path: Path, block: Block, parts: Parts) -> None:
    """Write OME-Zarr 0.5 of one level, chunked as the layer is."""
    if len(block.shape) < 2:
        raise InputError(f"axes {block.axes!r}: OME-Zarr has two at least: ask for a range")
    library = _needs("zarr", ".zarr", "store")
    group = library.create_group(path, zarr_format=3, attributes={"ome": ome_zarr(block)})
    array = group.create_array(
        "0",
        shape=block.shape,
        dtype=block.dtype,
        chunks=tuple(map(min, block.chunk, block.shape)),
        dimension_names=list(block.axes),
    )
    for where, part in placed(parts, block):
        array[where] = part


def placed(parts: Parts, block: Block) -> Iterator[tuple[tuple[slice, ...], NDArray[Any]]]:
    """Yield parts that follow one another in C order, each with its place in the whole."""
    at = 0
    kept = [i for i, dropped in enumerate(block.cut.dropped) if not dropped]
    for part in parts:
        extents = tuple(part.shape[i] for i in kept)
        start = np.unravel_index(at, block.shape)
        yield (
            tuple(slice(int(low), int(low) + n) for low, n in zip(start, extents, strict=True)),
            part.reshape(extents),
        )
        at += part.size


def ome_zarr(block: Block) -> dict[str, Any]:
    """Return the attribute ``ome`` (OME-Zarr 0.5, "multiscales" and "omero")."""
    types = {"t": "time", "c": "channel"}
    axes = [
        {"name": axis, "type": types.get(axis, "space"), **({"unit": unit} if unit else {})}
        for axis, unit in zip(block.axes, block.units, strict=True)
    ]
    moves = [
        {"type": "scale", "scale": list(block.scale)},
        {"type": "translation", "translation": list(block.offset)},
    ]
    dataset = {"path": "0", "coordinateTransformations": moves}
    found: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [{"name": block.name, "axes": axes, "datasets": [dataset]}],
    }
    if block.kind == "labels":
        found["image-label"] = {"version": "0.5"}
    elif block.channels:
        found["omero"] = {"channels": [_omero(channel) for channel in block.channels]}
    return found


def _omero(channel: Channel) -> dict[str, Any]:
    low, high = channel.window
    window = {"min": low, "max": high, "start": low, "end": high}
    return {"label": channel.name, "color": channel.color, "active": True, "window": window}


def _needs(module: str, ending: str, extra: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MicrotomeError(
            f"{ending} needs {error.name}: install the extra '{extra}' of microtome; "
            ".npy and .nrrd do not"
        ) from error


WRITERS: Mapping[str, Callable[[Path, Block, Parts], None]] = {
    ".npy": npy,
    ".nrrd": nrrd,
    ".tif": tiff,
    ".tiff": tiff,
    ".zarr": zarr,
}
