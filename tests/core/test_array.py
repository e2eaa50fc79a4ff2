"""Arrays: Zarr v3 that others read, and damage that is never read as data."""

import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.errors import InputError, StorageError
from microtome_core.store.array import ArraySpec, Codec, create_array, open_array
from microtome_core.store.location import Store, storage_errors

SPEC = ArraySpec("zyx", (20, 33, 45), (8, 8, 8), (16, 32, 16), "uint16")


@pytest.fixture
def voxels() -> NDArray[Any]:
    """Return noise of the shape of SPEC."""
    return np.random.default_rng(5).integers(0, 4000, SPEC.shape, "uint16")


def test_what_is_written_is_read(store: Store, voxels: NDArray[Any]) -> None:
    """Files, memory and S3 give back the same voxels."""
    create_array(store, "c/d/l/0", SPEC).write(voxels).result()
    assert np.array_equal(open_array(store, "c/d/l/0").read().result(), voxels)


@pytest.mark.parametrize("codec", ["blosc-zstd:3", "blosc-lz4:5", "zstd:7", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "uint64", "float32"])
def test_zarr_python_reads_the_same(tmp_path: Path, codec: str, dtype: str) -> None:
    """An independent reader sees the same voxels, names, chunks and shards for every codec."""
    spec = ArraySpec("zyx", SPEC.shape, SPEC.chunk, SPEC.shard, dtype, Codec.parse(codec))
    voxels = np.random.default_rng(5).integers(0, 100, SPEC.shape).astype(dtype)
    create_array(Store(str(tmp_path)), "0", spec).write(voxels).result()
    array = zarr.open_array(f"{tmp_path}/0")
    assert np.array_equal(array[...], voxels)
    assert (array.chunks, array.shards) == (SPEC.chunk, SPEC.shard)
    assert array.metadata.dimension_names == ("z", "y", "x")


@pytest.mark.filterwarnings("ignore")  # botocore's own deprecations
def test_zarr_python_reads_from_s3(s3_store: Store, voxels: NDArray[Any]) -> None:
    """zarr-python over s3fs reads what TensorStore wrote to a bucket."""
    create_array(s3_store, "c/d/l/0", SPEC).write(voxels).result()
    options = {"client_kwargs": {"endpoint_url": s3_store.options.endpoint}}
    array = zarr.open_array(f"{s3_store.url}/c/d/l/0", mode="r", storage_options=options)
    assert np.array_equal(array[...], voxels)
    filesystem = fsspec.filesystem("s3", **options, skip_instance_cache=True)
    assert filesystem.exists(f"{s3_store.url}/c/d/l/0/zarr.json")


def test_every_chunk_ends_in_a_checksum(tmp_path: Path) -> None:
    """crc32c is the last codec of the inner chunks and of the shard's index."""
    create_array(Store(str(tmp_path)), "0", SPEC)
    sharding = json.loads((tmp_path / "0/zarr.json").read_text())["codecs"][0]["configuration"]
    assert sharding["codecs"][-1]["name"] == "crc32c"
    assert sharding["index_codecs"][-1]["name"] == "crc32c"


@pytest.mark.parametrize("codec", ["blosc-zstd:3", "none"])
def test_a_flipped_bit_is_an_error(tmp_path: Path, codec: str, voxels: NDArray[Any]) -> None:
    """No flipped bit anywhere in a shard is ever read as voxels."""
    spec = ArraySpec("zyx", SPEC.shape, SPEC.chunk, SPEC.shard, "uint16", Codec.parse(codec))
    create_array(Store(str(tmp_path)), "0", spec).write(voxels).result()
    shard = tmp_path / "0/c/0/0/0"
    whole = shard.read_bytes()
    for position in np.random.default_rng(6).integers(0, 8 * len(whole), 60):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << (position % 8)
        shard.write_bytes(damaged)
        with pytest.raises(StorageError):
            _read(tmp_path)


def _read(folder: Path) -> NDArray[Any]:
    with storage_errors("level 0"):
        return np.asarray(open_array(Store(str(folder)), "0").read().result())


def test_an_array_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Creating over a different array is refused; creating the very same one opens it."""
    store = Store(str(tmp_path))
    create_array(store, "0", SPEC)
    create_array(store, "0", SPEC)
    with pytest.raises(StorageError):
        create_array(store, "0", ArraySpec("yx", (4, 4), (4, 4), (4, 4), "uint8"))


def test_no_array_is_a_storage_error(store: Store) -> None:
    """Opening what is not there fails by name instead of giving an empty array."""
    with pytest.raises(StorageError, match="c/d/l/0"):
        open_array(store, "c/d/l/0")


@pytest.mark.parametrize("text", ["", "zip", "blosc-zstd:10", "zstd:23", "blosc-zstd:", "none:x"])
def test_an_unknown_codec_is_refused(text: str) -> None:
    """The message lists those that there are."""
    with pytest.raises(InputError, match="blosc-lz4"):
        Codec.parse(text)


@pytest.mark.parametrize("view", [True, False])
@pytest.mark.parametrize(
    ("c", "dtype"), [(1, "uint16"), (2, "uint8"), (2, "uint64"), (3, "float32")]
)
def test_chunks_of_any_number_of_axes_are_stored(
    tmp_path: Path, view: bool, c: int, dtype: str
) -> None:
    """No chunk is taken for an empty one, whether it lies alone in memory or within a block."""
    spec = ArraySpec("tczyx", (2, 3, 12, 16, 8), (1, c, 6, 8, 4), (2, 3 * c, 12, 16, 8), dtype)
    whole = np.random.default_rng(4).integers(1, 200, (2, 3, 12, 17, 9)).astype(dtype)
    voxels = whole[..., :16, 1:] if view else whole[..., :16, 1:].copy()
    array = create_array(Store(str(tmp_path)), "0", spec)
    array.write(voxels, can_reference_source_data_indefinitely=True).result()
    assert np.array_equal(_read(tmp_path), voxels)
    assert np.array_equal(zarr.open_array(f"{tmp_path}/0")[...], voxels)


def test_a_shard_that_is_lost_is_an_error_and_not_zeros(store: Store) -> None:
    """Where every chunk was stored, even those of zeros, one that is missing is damage."""
    create_array(store, "c/d/l/0", SPEC).write(np.zeros(SPEC.shape, "uint16")).result()
    assert not open_array(store, "c/d/l/0", complete=True).read().result().any()
    store.remove("c/d/l/0/c/0/0/0")
    with pytest.raises(StorageError), storage_errors("level 0"):
        open_array(store, "c/d/l/0", complete=True).read().result()
    assert not open_array(store, "c/d/l/0").read().result().any()
