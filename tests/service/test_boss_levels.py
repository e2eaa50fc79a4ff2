"""Resolutions halve x and y alone, whatever the pyramid does, and their voxels are right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.store.location import Store
from microtome_core.wire import LayerInfo, LevelInfo
from microtome_service.bossdb.levels import (
    count_served,
    count_shown,
    find_resolution,
    stored,
)

Factors = list[tuple[int, int, int]]


def info(shape: tuple[int, int, int], factors: Factors, *, down: bool = False) -> LayerInfo:
    """Return a layer with a level for each of `factors`, z y x."""
    levels = []
    for each in factors:
        extents = [n // f if down else -(-n // f) for n, f in zip(shape, each, strict=True)]
        scale = tuple(s * f for s, f in zip((2.0, 0.5, 0.5), each, strict=True))
        levels.append(LevelInfo(tuple(extents), (8, 8, 8), (8, 8, 8), scale, (0.0, 0.0, 0.0)))
    units = ("micrometer",) * 3
    return LayerInfo("a/b/c", "image", "zyx", units, "uint8", tuple(levels), (), "v")


PLANAR = [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
MIXED = [(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8), (8, 16, 16), (16, 32, 32), (32, 64, 64)]
CUBIC = [(1, 1, 1), (2, 2, 2), (4, 4, 4)]


@pytest.mark.parametrize(
    ("shape", "factors", "kept", "served", "shown"),
    [
        ((20, 61, 83), PLANAR, {0: 0, 1: 1, 2: 2}, 6, 3),
        ((64, 640, 640), MIXED, {0: 0, 1: 1}, 5, 5),
        ((64, 640, 640), CUBIC, {0: 0}, 4, 3),
        ((64, 640, 640), [(1, 1, 1), (1, 4, 4)], {0: 0, 2: 1}, 6, 3),
        ((64, 640, 640), [(1, 1, 1), (1, 3, 3)], {0: 0}, 4, 2),
        ((5, 1, 9), [(1, 1, 1)], {0: 0}, 1, 1),
        ((5, 3, 9), PLANAR[:2], {0: 0, 1: 1}, 2, 2),
    ],
)
def test_a_resolution_comes_from_the_nearest_level_that_left_z_alone(
    shape: tuple[int, int, int], factors: Factors, kept: dict[int, int], served: int, shown: int
) -> None:
    """Three steps may be computed, each of which costs four times as much; there is no more."""
    layer = info(shape, factors)
    assert stored(layer) == kept
    assert (count_served(layer), count_shown(layer)) == (served, shown)
    for number in range(served):
        found = find_resolution(layer, number)
        assert found.factor * 2 ** next(k for k, v in kept.items() if v == found.level) == 2**number
        assert found.extents["z"] == shape[0]
        # What intern takes for the shape can be read.
        assert found.extents["y"] >= shape[1] >> number >= 1
        assert found.extents["x"] >= shape[2] >> number >= 1


def test_pyramids_that_round_down_serve_as_well() -> None:
    """Their levels are taken as they are."""
    layer = info((20, 61, 83), PLANAR, down=True)
    assert stored(layer) == {0: 0, 1: 1, 2: 2}
    assert find_resolution(layer, 2).extents == {"z": 20, "y": 15, "x": 20}


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_computed_resolution_is_the_mean_or_the_most_frequent_id(
    number: int,
    labels: bool,
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Voxel by voxel as NumPy bins them, over the edge and over the seams of parts alike."""
    rng = np.random.default_rng(3)
    shape = (5, 75, 90)
    voxels = rng.integers(0, 3 if labels else 255, shape, "uint16" if labels else "uint8")
    builder = make_builder(service_store)
    builder.layer("d/e/image", "zyx", np.zeros(shape, "uint8"), levels=4)
    builder.layer("d/e/x", "zyx", voxels, levels=4, labels_of="image" if labels else None)
    whole = binned(voxels, 2**number, labels)
    call = connect(service_store)
    for z, y, x in (((0, 5), (0, whole.shape[1]), (0, whole.shape[2])), ((1, 3), (2, 7), (5, 11))):
        url = f"/v1/cutout/d/e/x/{number}/{x[0]}:{x[1]}/{y[0]}:{y[1]}/{z[0]}:{z[1]}/"
        answer = call.get(url, headers={"Accept": "application/npygz"})
        assert answer.status_code == 200, answer.text
        found = unpacked(answer.content)
        wanted = whole[z[0] : z[1], y[0] : y[1], x[0] : x[1]]
        if labels:
            # Of ids that are equally frequent any may win.
            assert found.shape == wanted.shape
            assert np.mean(found == wanted) > 0.7
            assert set(np.unique(found)) <= {0, 1, 2}
        else:
            assert np.abs(found.astype(float) - wanted).max() <= 0.5


def binned(voxels: NDArray[Any], factor: int, labels: bool) -> NDArray[Any]:
    """Bin x and y by what lies there."""
    z, y, x = voxels.shape
    result = np.empty((z, -(-y // factor), -(-x // factor)), float)
    for i in range(result.shape[1]):
        for j in range(result.shape[2]):
            part = voxels[:, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            for k in range(z):
                plane = part[k].ravel()
                result[k, i, j] = np.bincount(plane).argmax() if labels else plane.mean()
    return result


def unpacked(body: bytes) -> NDArray[Any]:
    """Read zlib of .npy."""
    import io
    import zlib

    return np.asarray(np.load(io.BytesIO(zlib.decompress(body)), allow_pickle=False))
