"""Single voxels: in the order of the list, within bounds."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.store.location import Store

POINTS = "/api/datasets/demo/brain/neurons/points"
SHAPE = (10, 20, 30)


@pytest.fixture
def layer(
    disk_store: Store, make_builder: Callable[..., Any], make_ramp: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """Write a layer into `disk_store` and return its voxels."""
    voxels = make_ramp(SHAPE, "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    return voxels


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    points=st.lists(
        st.tuples(*(st.integers(0, n - 1) for n in SHAPE)).map(list), min_size=1, max_size=40
    ),
    name=st.sampled_from(["raw", "npy"]),
)
def test_each_point_has_its_voxel(
    points: list[list[int]],
    name: str,
    disk_store: Store,
    layer: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """Values come in the order of the list, also of points that are listed twice."""
    call = connect(disk_store)
    answer = call("POST", f"{POINTS}?format={name}", json={"points": points})
    assert answer.status_code == 200, answer.text
    expected = layer[tuple(np.array(points).T)]
    got = np.load(BytesIO(answer.content)) if name == "npy" else answer.content
    assert bytes(got) == expected.tobytes()
    assert answer.headers["x-microtome-shape"] == str(len(points))
    assert answer.headers["x-microtome-axes"] == ""
    assert call.app.state.service.gate.used == 0


def test_a_chunk_is_read_once(
    disk_store: Store, layer: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """A hundred points of one chunk pass where no more than one chunk may be read."""
    points = [[z, y, x] for z in range(4) for y in range(5) for x in range(5)]
    call = connect(disk_store, max_chunks=1)
    assert call("POST", POINTS, json={"points": points}).status_code == 200
    answer = call("POST", POINTS, json={"points": [*points, [9, 9, 9]]})
    assert answer.status_code == 413
    assert "2 chunks" in answer.text


def test_points_of_a_coarser_level(
    disk_store: Store, layer: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """`level` says of which voxels the list speaks."""
    answer = connect(disk_store)("POST", f"{POINTS}?level=1", json={"points": [[4, 9, 14]]})
    assert np.load(BytesIO(answer.content)).tolist() == [layer[8, 18, 28]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON"),
        (b'{"points": []}', 400, "points"),
        (b'{"points": [[0, 0]]}', 400, "point 0: 2 numbers"),
        (b'{"points": [[0, 0, 0], [0, 20, 0]]}', 400, "point 1: y=20 is out of bounds"),
        (b'{"points": [[0, 0, -1]]}', 400, "points.0.2"),
        (b'{"points": [[0, 0, 1.5]]}', 400, "points.0.2"),
        (b'{"points": [[0, 0, 0]], "more": 1}', 400, "more"),
        (json.dumps({"points": [[0, 0, 0]] * 1000}).encode(), 413, "5500"),
    ],
)
def test_what_cannot_be_is_refused_by_index(
    body: bytes,
    status: int,
    words: str,
    disk_store: Store,
    layer: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """Each fault has its status, and names the point or the place in the JSON."""
    answer = connect(disk_store, max_body_bytes=5500)("POST", POINTS, content=body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_picture_holds_no_points(
    disk_store: Store, layer: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """Only npy and raw do."""
    answer = connect(disk_store)("POST", f"{POINTS}?format=png", json={"points": [[0, 0, 0]]})
    assert answer.status_code == 400
    assert "npy or raw" in answer.text
