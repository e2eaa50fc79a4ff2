"""Shards that are read as files: TensorStore is the judge of the values, damage is never values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.location import Store
from microtome_core.store.shard_files import ShardFiles, shard_files

SHAPE, CHUNK, SHARD = (7, 5, 22), (3, 5, 6), (9, 5, 12)
CODECS = ("none", "blosc-lz4", "blosc-zstd")


def made(store: Store, codec: str, dtype: str = "float32") -> tuple[ShardFiles, NDArray[Any]]:
    """Write an array of noise, so that chunks are of several lengths."""
    spec = ArraySpec("zyx", SHAPE, CHUNK, SHARD, dtype, Codec.parse(codec))
    array = create_array(store, codec, spec)
    values = np.random.default_rng(3).integers(0, 9, SHAPE).astype(dtype)
    values[:3] += np.random.default_rng(4).random((3, 5, 22)).astype(dtype)
    array.write(values).result()
    files = shard_files(store, codec, array)
    assert files is not None
    return files, values


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ShardFiles, NDArray[Any]]]:
    """The same array with each codec."""
    store = Store(str(tmp_path_factory.mktemp("root")))
    return [made(store, codec) for codec in CODECS]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_part_is_what_was_written(
    arrays: list[tuple[ShardFiles, NDArray[Any]]], data: st.DataObject
) -> None:
    """Whatever the codec, the part of the array, and the number of threads."""
    files, values = data.draw(st.sampled_from(arrays))
    box = []
    for extent in SHAPE:
        start = data.draw(st.integers(0, extent - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, extent))))
    found = files.read(tuple(box), data.draw(st.integers(1, 3)))
    np.testing.assert_array_equal(found, values[tuple(box)], strict=True)


def test_large_parts_are_shared_by_threads(tmp_path: Path) -> None:
    """Chunks of one shard, and shards, are read by several threads into one array."""
    store = Store(str(tmp_path))
    spec = ArraySpec("yx", (700, 2000), (100, 500), (700, 1000), "float64", Codec("none", 0))
    array = create_array(store, "a", spec)
    values = np.random.default_rng(1).random(spec.shape)
    array.write(values).result()
    files = shard_files(store, "a", array)
    assert files is not None
    for box in ((slice(0, 700), slice(0, 500)), (slice(5, 690), slice(400, 1700))):
        np.testing.assert_array_equal(files.read(box, 4), values[box], strict=True)


@pytest.mark.parametrize("codec", CODECS)
def test_no_changed_byte_becomes_a_value(tmp_path: Path, codec: str) -> None:
    """A byte that is another, or lacking, is an error that names the file, wherever it stands."""
    files, values = made(Store(str(tmp_path)), codec)
    path = tmp_path / codec / "c/0/0/0"
    whole, everything = path.read_bytes(), tuple(slice(0, extent) for extent in SHAPE)
    draw = np.random.default_rng(0)
    places = [0, len(whole) - 1, *draw.integers(0, len(whole), 40).tolist()]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(draw.integers(8))
        for content in (bytes(changed), whole[:place]):
            path.write_bytes(content)
            with pytest.raises(StorageError, match="c/0/0/0: "):
                files.read(everything)
    path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        files.read(everything)
    path.write_bytes(whole)
    np.testing.assert_array_equal(files.read(everything), values, strict=True)


def test_chunks_that_were_never_written_are_missing(tmp_path: Path) -> None:
    """A shard that lacks a chunk raises for a part that needs it, and for no other."""
    store = Store(str(tmp_path))
    spec = ArraySpec("yx", (4, 8), (4, 2), (4, 8), "uint8")
    array = create_array(store, "a", spec)
    array[:, :2].write(np.ones((4, 2), np.uint8)).result()
    files = shard_files(store, "a", array)
    assert files is not None
    assert (files.read((slice(0, 4), slice(0, 2))) == 1).all()
    with pytest.raises(StorageError, match="lacks chunk 2"):
        files.read((slice(0, 4), slice(4, 5)))
    with pytest.raises(StorageError, match="asked for"):
        files.read((slice(0, 4), slice(0, 9)))


def test_other_forms_are_left_to_tensorstore(tmp_path: Path) -> None:
    """Arrays in memory, of another codec, or without shards are none of files."""
    spec = ArraySpec("yx", (4, 8), (4, 2), (4, 8), "uint8")
    memory = Store("memory://a")
    assert shard_files(memory, "a", create_array(memory, "a", spec)) is None
    store = Store(str(tmp_path))
    other = ArraySpec("yx", (4, 8), (4, 2), (4, 8), "uint8", Codec("zstd", 3))
    assert shard_files(store, "b", create_array(store, "b", other)) is None
    dotted = {**spec.to_zarr(), "chunk_key_encoding": {
        "name": "default", "configuration": {"separator": "."}}}  # fmt: skip
    array = ts.open({"driver": "zarr3", "kvstore": store.kvstore("c"), "metadata": dotted},
                    create=True).result()  # fmt: skip
    assert shard_files(store, "c", array) is None
