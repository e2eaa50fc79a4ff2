"""A level as xarray opens it: its voxels, and a coordinate for each axis but channels."""

import json

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from microtome_core.wire import LayerInfo, LevelInfo
from microtome_service.labelled import coordinate_bytes, level_group

AXES, SHAPE = "czx", (2, 150_001, 3)
LEVEL = LevelInfo(SHAPE, (1, 64, 3), (1, 64, 3), (1.0, 0.25, 2.0), (0.0, 7.0, 0.0))
INFO = LayerInfo("a/b/c", "image", AXES, (None, "micrometer", None), "uint8", (LEVEL,), (), "v")


@pytest.mark.parametrize(("axis", "count"), [("z", 3), ("x", 1)])
def test_a_coordinate_comes_in_chunks_of_bounded_size(axis: str, count: int) -> None:
    """zarr-python puts them together; there is none beyond the axis."""
    stored = level_group(INFO, 0, {})[axis]
    chunks = [coordinate_bytes(INFO, 0, axis, f"c/{n}") for n in range(count)]
    assert coordinate_bytes(INFO, 0, axis, f"c/{count}") is None
    kept = {"zarr.json": json.dumps(stored).encode()}
    kept |= {f"c/{n}": chunk or b"" for n, chunk in enumerate(chunks)}
    make = default_buffer_prototype().buffer.from_bytes
    array = zarr.open_array(MemoryStore({key: make(value) for key, value in kept.items()}))
    place = AXES.index(axis)
    steps = np.arange(SHAPE[place]) * LEVEL.scale[place]
    np.testing.assert_array_equal(array[...], LEVEL.translation[place] + steps)
    assert max(len(chunk or b"") for chunk in chunks) <= 8 << 16


@pytest.mark.parametrize("key", ["c/00", "c/-1", "c/1", "c/" + "9" * 30, "c", "", "c/0/0"])
def test_what_is_no_chunk_is_nothing(key: str) -> None:
    """Each chunk has one name; channels have no coordinate."""
    assert coordinate_bytes(INFO, 0, "x", key) is None
    assert coordinate_bytes(INFO, 0, "c", "c/0") is None
