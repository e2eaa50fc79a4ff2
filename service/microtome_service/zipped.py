"""A cutout as OME-Zarr in one zip file, as zarr-python's ZipStore and napari open it.

It is written part by part, so that a box of any size is sent in bounded memory. Source:
https://ngff.openmicroscopy.org/0.5; its single-file form stores entries uncompressed, the root's
metadata first.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numcodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome_core.dtypes import little_endian
from microtome_core.grid import Grid
from microtome_core.levels import Level
from microtome_core.looks import value_range
from microtome_core.region import Region
from microtome_core.store.ome import ImageLabel, Ome, multiscale, omero
from microtome_service.slabs import bricks

_CHUNK = {"t": 1, "c": 1, "z": 64, "y": 256, "x": 256}
# The format has axes for planes at least.
_LEAST = "yx"
_LEVEL = 3


class Zipped:
    """A zip of one level, written in order.

    Parameters
    ----------
    shape : sequence of int
        Of the box.
    axes : str
        Its axes; y and x that were dropped come back with extent 1.
    dtype
    metadata : mapping
        ``name`` and ``kind``; ``scale``, ``origin`` and ``unit`` by axis letter; ``looks``, the
        channels of the box.
    """

    def __init__(
        self, shape: Sequence[int], axes: str, dtype: DTypeLike, metadata: Mapping[str, Any]
    ) -> None:
        self._dtype = little_endian(dtype)
        full = "".join(a for a in "tczyx" if a in axes or a in _LEAST)
        extents = dict(zip(axes, shape, strict=True))
        self._shape = tuple(extents.get(axis, 1) for axis in full)
        chunk = tuple(max(1, min(extents.get(a, 1), _CHUNK[a])) for a in full)
        self._grid = Grid(full, self._shape, chunk)
        self._metadata = metadata
        self._codec = numcodecs.Zstd(level=_LEVEL)
        self._body = _Tail()
        self._archive = ZipFile(cast("IO[bytes]", self._body), "w", ZIP_STORED)

    @property
    def whole(self) -> Region:
        """All of it."""
        return Region.whole(self._grid.axes, self._shape)

    def parts(self, nbytes: int) -> Iterator[Region]:
        """Yield the parts in which to `add` it in turn, of whole chunks of about so many bytes."""
        return bricks(self.whole, self._grid, self._dtype.itemsize, nbytes)

    def begin(self) -> bytes:
        """Return what the file begins with: its metadata."""
        self._write("zarr.json", json.dumps(self._group()).encode())
        self._write("0/zarr.json", self._array())
        return self._body.take()

    def add(self, block: NDArray[Any], part: Region) -> bytes:
        """Return the entries of one of `parts`."""
        block = block.reshape(part.shape)
        for index in self._grid.touched(part):
            cell = self._grid.region(index)
            inside = tuple(
                slice(low - first, high - first)
                for low, high, first in zip(cell.start, cell.stop, part.start, strict=True)
            )
            voxels = block[inside]
            # What is not there is 0, as for zarr-python.
            if voxels.any():
                self._write("/".join(map(str, ("0", "c", *index))), self._encoded(voxels))
        return self._body.take()

    def end(self) -> bytes:
        """Return what the file ends with."""
        self._archive.close()
        return self._body.take()

    def _encoded(self, voxels: NDArray[Any]) -> bytes:
        if voxels.shape != self._grid.cell:
            whole = np.zeros(self._grid.cell, self._dtype)
            whole[tuple(slice(0, extent) for extent in voxels.shape)] = voxels
            voxels = whole
        plain = np.ascontiguousarray(voxels, self._dtype)
        return bytes(self._codec.encode(plain.reshape(-1).view(np.uint8)))

    def _write(self, name: str, data: bytes) -> None:
        # Of the same request the same bytes: no entry has the time at which it was made.
        self._archive.writestr(ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)

    def _array(self) -> bytes:
        # It takes a second to import, which no other answer should wait for.
        import zarr  # noqa: PLC0415
        from zarr.codecs import ZstdCodec  # noqa: PLC0415

        kept: dict[str, Any] = {}
        zarr.create_array(
            zarr.storage.MemoryStore(kept),
            name="0",
            shape=self._shape,
            dtype=self._dtype,
            chunks=self._grid.cell,
            dimension_names=list(self._grid.axes),
            compressors=ZstdCodec(level=_LEVEL),
        )
        document: bytes = kept["0/zarr.json"].to_bytes()
        return document

    def _group(self) -> dict[str, Any]:
        axes, metadata = self._grid.axes, self._metadata
        scale = tuple(metadata["scale"].get(axis, 1.0) for axis in axes)
        units = [metadata["unit"].get(axis) for axis in axes]
        level = Level((1,) * len(axes), self._shape, scale)
        labels = metadata["kind"] == "labels"
        told = multiscale(metadata["name"], axes, units, [level], "mode" if labels else "mean")
        told.type = told.metadata = None
        told.datasets[0].coordinateTransformations[1].translation = [  # type: ignore[union-attr]
            metadata["origin"].get(axis, 0.0) for axis in axes
        ]
        lowest, highest = value_range(self._dtype)
        looks: Sequence[Any] = () if labels else metadata["looks"]
        ome = Ome(
            multiscales=[told],
            omero=omero(looks, lowest, highest) if looks else None,
            image_label=ImageLabel() if labels else None,
        )
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome.to_json()}}


class _Tail:
    """The end of a file, whose beginning is gone; a zip is changed within its last entry alone.

    Not one of `io`: an answer that breaks off leaves it unfinished, and nothing is to be closed.
    """

    def __init__(self) -> None:
        self._gone, self._held = 0, io.BytesIO()

    def seekable(self) -> bool:
        """Tell that places can be gone back to."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def tell(self) -> int:
        """Return the place in the whole file."""
        return self._gone + self._held.tell()

    def seek(self, place: int) -> int:
        """Go to a place of what is held."""
        return self._gone + self._held.seek(place - self._gone)

    def write(self, data: bytes) -> int:
        """Write there."""
        return self._held.write(data)

    def take(self) -> bytes:
        """Return what is held, and let it go."""
        body = self._held.getvalue()
        self._gone += len(body)
        self._held = io.BytesIO()
        return body


def encode_zipped(block: NDArray[Any], axes: str, metadata: Mapping[str, Any]) -> bytes:
    """Return a zip of a block that is in memory; parameters are those of `Zipped`."""
    zipped = Zipped(block.shape, axes, block.dtype, metadata)
    return b"".join((zipped.begin(), zipped.add(block, zipped.whole), zipped.end()))
