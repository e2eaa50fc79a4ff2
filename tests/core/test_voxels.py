"""Reading a level: empty shards are zeros, lost ones are errors."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.region import Region
from microtome_core.store.array import ArraySpec, create_array, open_array
from microtome_core.store.location import Store
from microtome_core.store.voxels import Voxels

SHAPE, CHUNK, SHARD = (21, 35, 18), (4, 8, 4), (8, 16, 8)
SPEC = ArraySpec("zyx", SHAPE, CHUNK, SHARD, "uint16")
SHARDS = Grid("zyx", SHAPE, SHARD)


def layer(store: Store) -> tuple[Voxels, NDArray[Any]]:
    """Write noise; every other shard is zeros and is not stored."""
    voxels = np.random.default_rng(1).integers(1, 60000, SHAPE).astype("uint16")
    empty = np.zeros(SHARDS.counts, bool)
    array = create_array(store, "0", SPEC)
    for index in np.ndindex(SHARDS.counts):
        slices = SHARDS.region(index).slices
        empty[index] = sum(index) % 2
        if empty[index]:
            voxels[slices] = 0
        else:
            array[slices].write(voxels[slices]).result()
    return Voxels(open_array(store, "0", complete=True), SHARDS, empty), voxels


@pytest.fixture(scope="module")
def noise() -> tuple[Voxels, NDArray[Any]]:
    """A level of which half is empty, in memory."""
    return layer(Store("memory://root"))


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """Any region of the level."""
    start = [draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [draw(st.integers(low + 1, n)) for low, n in zip(start, SHAPE, strict=True)]
    return Region("zyx", tuple(start), tuple(stop))


@given(region=regions())
def test_any_region_is_what_numpy_cuts(noise: tuple[Voxels, NDArray[Any]], region: Region) -> None:
    """Awaited or not, within one shard or over many, empty, stored or both."""
    read = noise[0].load(region)
    assert np.array_equal(read, noise[1][region.slices])
    assert read.flags.c_contiguous
    assert np.array_equal(asyncio.run(noise[0].read(region)), read)


def test_without_empty_shards_every_one_must_be_there(
    noise: tuple[Voxels, NDArray[Any]],
) -> None:
    """The same array, read as one of which all was stored, is an error where nothing lies."""
    every = Voxels(noise[0].array, SHARDS)
    with pytest.raises(StorageError):
        every.load(Region.whole("zyx", SHAPE))
    stored = SHARDS.region((0, 0, 0))
    assert np.array_equal(every.load(stored), noise[1][stored.slices])


@pytest.mark.parametrize("data", [None, b"", b"x" * 40], ids=["gone", "of no bytes", "short"])
def test_a_lost_shard_is_an_error_and_never_zeros(store: Store, data: bytes | None) -> None:
    """A region that touches it fails, empty neighbours or not; the rest can be read."""
    level, voxels = layer(store)
    store.remove("0/c/0/0/0") if data is None else store.write("0/c/0/0/0", data)
    for region in (Region("zyx", (0, 0, 0), (1, 1, 1)), Region.whole("zyx", SHAPE)):
        with pytest.raises(StorageError, match="0/c/0/0/0"):
            level.load(region)
        with pytest.raises(ValueError, match="0/c/0/0/0"):
            asyncio.run(level.read(region))
    beside = Region("zyx", (0, 16, 0), (8, 35, 18))
    assert np.array_equal(level.load(beside), voxels[beside.slices])
