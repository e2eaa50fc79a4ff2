"""The levels above follow what is written into level 0."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.binning import Method, binned
from microtome_core.store.coarser import level_bins, update_levels
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.layer import Layer, read_layer
from microtome_core.store.location import Store
from microtome_core.store.writing import write_region

SEG = LayerId("demo", "brain", "seg")
SHAPE = (2, 11, 37, 41)


def made(store: Store, kind: Any, dtype: str) -> Layer:  # noqa: ANN401 - one of two words
    """Return an empty layer of anisotropic voxels and odd extents."""
    sizes, units = (1.0, 3.0, 1.0, 1.0), (None, "um", "um", "um")
    new = NewLayer(
        "czyx", SHAPE, dtype, sizes, units, kind, chunk=(1, 4, 8, 8), shard=(1, 8, 8, 16)
    )
    create_layer(store, SEG, new)
    return read_layer(store, SEG)


def levels(layer: Layer) -> list[NDArray[Any]]:
    """Return all voxels of all levels."""
    axes = layer.info.axes
    return [v.load(Region.whole(axes, v.shards.shape)) for v in layer.voxels]


def expected(layer: Layer, base: NDArray[Any], method: Method) -> list[NDArray[Any]]:
    """Return what an ingest makes of level 0."""
    made = [base]
    for bins in level_bins(layer):
        made.append(binned(made[-1], bins, method))
    return made


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """Any region of the layer."""
    start = [draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [draw(st.integers(low + 1, n)) for low, n in zip(start, SHAPE, strict=True)]
    return Region("czyx", tuple(start), tuple(stop))


@pytest.mark.parametrize(("kind", "dtype"), [("labels", "uint64"), ("image", "uint16")])
@settings(max_examples=20, deadline=None)
@given(given_regions=st.lists(regions(), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_every_level_is_what_an_ingest_makes_of_level_0(
    kind: str, dtype: str, given_regions: list[Region], seed: int
) -> None:
    """Wherever was written, and however often: labels by the mode, images by the mean."""
    layer = made(Store("memory://levels"), kind, dtype)
    base, rng = np.zeros(SHAPE, dtype), np.random.default_rng(seed)
    for region in given_regions:
        base[region.slices] = rng.integers(0, 5, region.shape)
        write_region(layer, region, base[region.slices])
    assert update_levels(layer, given_regions)
    method: Method = "mode" if kind == "labels" else "mean"
    for found, right in zip(levels(layer), expected(layer, base, method), strict=True):
        assert np.array_equal(found, right)


def test_levels_that_stay_empty_are_not_stored() -> None:
    """A single voxel has no majority: the levels above hold no object."""
    store = Store("memory://levels")
    layer = made(store, "labels", "uint64")
    region = Region("czyx", (0, 0, 0, 0), (1, 1, 1, 1))
    write_region(layer, region, np.full((1, 1, 1, 1), 7, "uint64"))
    update_levels(layer, [region])
    assert [key for key, _ in store.sizes("demo/brain/seg/1/c")] == []


def test_writers_that_update_at_once_leave_levels_that_agree(
    tmp_path: Any,  # noqa: ANN401 - a path
    at_once: Callable[..., list[Any]],
) -> None:
    """Each writes and updates for itself; whoever is last has seen what was last written."""
    store = Store(str(tmp_path))
    made(store, "labels", "uint32")

    def write(number: int) -> None:
        layer = read_layer(Store(str(tmp_path)), SEG)
        rng = np.random.default_rng(number)
        for _ in range(6):
            start = tuple(int(rng.integers(0, n - 1)) for n in SHAPE)
            stop = tuple(min(low + 9, n) for low, n in zip(start, SHAPE, strict=True))
            region = Region("czyx", start, stop)
            write_region(layer, region, np.full(region.shape, number + 1, "uint32"))
            update_levels(layer, [region])

    at_once(write, range(6))
    layer = read_layer(store, SEG)
    found = levels(layer)
    for level, right in zip(found, expected(layer, found[0], "mode"), strict=True):
        assert np.array_equal(level, right)


def test_an_update_can_be_stopped_and_done_again() -> None:
    """What was stopped half way is right once it was done whole."""
    layer = made(Store("memory://levels"), "labels", "uint64")
    region = Region.whole("czyx", SHAPE)
    base = np.random.default_rng(1).integers(0, 3, SHAPE).astype("uint64")
    write_region(layer, region, base)
    left = iter([True] * 7)
    assert not update_levels(layer, [region], lambda: next(left, False))
    assert update_levels(layer, [region])
    for found, right in zip(levels(layer), expected(layer, base, "mode"), strict=True):
        assert np.array_equal(found, right)
