"""Reading the chunks of a precomputed volume: files of their own, packed or not, or shards."""

import json
import os
import threading
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import imagecodecs
import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp, is_remote
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description
from microtome_ingest.sources.chunk_folder import Folder, storage_told
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.precomputed_scale import Scale

# cloud-volume packs the files of local volumes and says so by their names; services and other
# writers do so without a word.
_PACKED = (".gz", ".br", ".zstd")
_GZIP = b"\x1f\x8b"
_REMOTE_THREADS = 16
_MOST_COUNTED, _MOST_COUNTED_REMOTE = 100_000, 20_000


class PrecomputedSource:
    """A scale of a volume.

    Parameters
    ----------
    description : Description
    files : Files
    folder : Folder
    scale : Scale
    info : dict

    Notes
    -----
    There can be millions of chunk files, so the stamp and the hash of a source are those of
    ``info`` alone: a chunk file that is written anew while the rest stays is not noticed.
    """

    def __init__(
        self,
        description: Description,
        files: Files,
        folder: Folder,
        scale: Scale,
        info: Mapping[str, Any],
    ) -> None:
        self._description, self._files, self._folder = description, files, folder
        self._scale, self._info = scale, info
        self._meter, self._lock = Meter(), threading.Lock()
        self._dtype = np.dtype(description.dtype)
        self._store: ts.KvStore | None = None

    @property
    def description(self) -> Description:
        """What ``info`` says."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all chunks that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file ``info`` as it was when the source was opened."""
        return self._files.stamps(self._description.files)

    def noted(self, notes: tuple[str, ...]) -> "PrecomputedSource":
        """Return the source with more notes."""
        self._description = replace(self._description, notes=(*self._description.notes, *notes))
        return self

    def close(self) -> None:
        """Let go of the folder; a later read opens it again."""
        with self._lock:
            self._store = None

    def missing(self) -> int | None:
        """Return how many chunk files are not there; None where that cannot be told."""
        scale, remote = self._scale, is_remote(self._folder.path)
        if scale.sharding is not None:
            return None
        if scale.grid.size > (_MOST_COUNTED_REMOTE if remote else _MOST_COUNTED):
            return None
        keys = self._folder.keys(scale.key)
        if keys is None:
            return None
        for ending in _PACKED:
            keys |= {key.removesuffix(ending) for key in keys if key.endswith(ending)}
        whole = Region.whole(scale.axes, scale.shape)
        return sum(scale.name(index) not in keys for index in scale.grid.touched(whole))

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order.

        Raises
        ------
        SourceError
            Damage, a missing chunk, or ``info`` replaced since it was opened.
        StorageError
            A service that may answer later.
        """
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        self._check()
        result = np.zeros(region.shape, self._dtype)
        jobs = [
            partial(self._copy, index, region, result) for index in self._scale.grid.touched(region)
        ]
        run(jobs, _REMOTE_THREADS if is_remote(self._folder.path) else None)
        return result

    def _copy(self, index: tuple[int, ...], region: Region, result: NDArray[Any]) -> None:
        """Lay what a chunk holds of a region into the result."""
        there = self._scale.grid.region(index)
        part = there & region
        if part is None:
            return
        where = f"{self._scale.key}/{self._scale.name(index)}"
        with storage_told(self._folder.path, where):
            chunk = self._decoded(self._fetched(index, there), there)
        self._meter.add(chunk.nbytes)
        result[part.relative_to(region.start).slices] = chunk[part.relative_to(there.start).slices]

    def _check(self) -> None:
        if is_remote(self._folder.path):
            self._folder.check_host()
            return
        for path, stamp in self.stamps.items():
            if Files(self._files.options).stamp(path) != stamp:
                raise SourceError(path, "changed since it was opened")

    def _fetched(self, index: tuple[int, ...], there: Region) -> bytes:
        """Return a chunk as it is encoded."""
        scale, bound = self._scale, _bound(there, self._dtype)
        if scale.sharding is not None:
            found = self._opened().read(scale.code(index)).result()
            if found.state != "value":
                raise SourceError(self._folder.path, f"chunk {scale.name(index)} is missing")
            return _unpacked(bytes(found.value), bound, "")
        for ending in ("", *_PACKED):
            data = self._file(f"{scale.name(index)}{ending}", bound)
            if data is not None:
                return _unpacked(data, bound, ending)
        raise SourceError(self._folder.path, f"chunk {scale.key}/{scale.name(index)} is missing")

    def _file(self, name: str, bound: int) -> bytes | None:
        if not is_remote(self._folder.path):
            inside = f"{self._scale.key}/{name}"
            self._folder.check_inside([inside])
            path = self._folder.file(inside)
            if not os.path.exists(path):
                return None
            if os.path.getsize(path) > bound:
                raise ValueError(f"has {os.path.getsize(path)} bytes, more than it can hold")
        found = self._opened().read(name).result()
        return bytes(found.value) if found.state == "value" else None

    def _opened(self) -> ts.KvStore:
        with self._lock:
            if self._store is None:
                spec = self._folder.spec(self._scale.key)
                if self._scale.sharding is not None:
                    self._check_shards()
                    driver = "neuroglancer_uint64_sharded"
                    sharding = dict(self._scale.sharding)
                    spec = {"driver": driver, "base": spec, "metadata": sharding}
                self._store = ts.KvStore.open(spec, context=self._folder.context).result()
            return self._store

    def _check_shards(self) -> None:
        if is_remote(self._folder.path) or not os.path.isdir(self._folder.file(self._scale.key)):
            return
        names = sorted(os.listdir(self._folder.file(self._scale.key)))
        self._folder.check_inside(f"{self._scale.key}/{name}" for name in names)

    def _decoded(self, data: bytes, there: Region) -> NDArray[Any]:
        """Return the voxels of a chunk, in the order of the description."""
        encoding = self._scale.encoding
        if encoding == "raw":
            return _raw(data, there, self._dtype)
        if encoding == "compresso":
            return _compresso(data, there, self._dtype)
        return self._by_tensorstore(data, there)

    def _by_tensorstore(self, data: bytes, there: Region) -> NDArray[Any]:
        """Have TensorStore decode a chunk that is a volume of its own, in memory."""
        extents = list(there.shape[::-1][:3])
        scale = {
            **self._scale.described,
            "key": "chunk",
            "size": extents,
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [extents],
        }
        scale.pop("sharding", None)
        words = ("type", "data_type", "num_channels")
        info = {name: self._info[name] for name in words if name in self._info}
        place, context = {"driver": "memory", "path": "volume/"}, ts.Context()
        store = ts.KvStore.open(place, context=context).result()
        store.write("info", json.dumps({**info, "scales": [scale]}).encode()).result()
        store.write("chunk/" + "_".join(f"0-{n}" for n in extents), data).result()
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": place,
            "fill_missing_data_reads": False,
        }
        array = ts.open(spec, context=context, open=True, read=True).result()
        voxels: NDArray[Any] = array.T.read().result()
        return voxels.reshape(there.shape)


def _bound(there: Region, dtype: np.dtype[Any]) -> int:
    """Return how many bytes a chunk may have, whatever encodes it."""
    return 2 * there.size * dtype.itemsize + (1 << 20)


def _unpacked(data: bytes, bound: int, ending: str) -> bytes:
    """Return the bytes that a compressor packed, as told by the ending or by how they begin."""
    if ending == ".br":
        return bytes(imagecodecs.brotli_decode(data, out=bytearray(bound)))
    if ending == ".zstd":
        return bytes(imagecodecs.zstd_decode(data, out=bytearray(bound)))
    if ending != ".gz" and not data.startswith(_GZIP):
        return data
    inflater = zlib.decompressobj(wbits=31)
    try:
        found = inflater.decompress(data, bound)
    except zlib.error:
        if ending:
            raise
        return data  # voxels that only begin so
    if ending or inflater.eof:
        if not inflater.eof or inflater.unconsumed_tail:
            raise ValueError("is cut short, or inflates to more than a chunk holds")
        return found
    return data


def _raw(data: bytes, there: Region, dtype: np.dtype[Any]) -> NDArray[Any]:
    needed = there.size * dtype.itemsize
    if len(data) != needed:
        raise ValueError(f"{len(data)} bytes: expected {needed}")
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(there.shape)


def _compresso(data: bytes, there: Region, dtype: np.dtype[Any]) -> NDArray[Any]:
    import compresso  # noqa: PLC0415 - only some volumes need it

    extents = there.shape[::-1]
    header = compresso.header(data)
    found = (header["sx"], header["sy"], header["sz"])
    if found != extents or header["data_width"] != dtype.itemsize:
        raise ValueError(f"claims {found} of {header['data_width']} bytes, expected {extents}")
    voxels = np.asarray(compresso.decompress(data))
    if prod(voxels.shape) != there.size:
        raise ValueError(f"gave {voxels.shape}, expected {extents}")
    return voxels.reshape(extents, order="F").T.astype(dtype, copy=False)
