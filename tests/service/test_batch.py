"""Many boxes in one answer: in their order, whole, within bounds."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numcodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.store.location import Store

CUTOUTS = "/api/datasets/demo/brain/neurons/cutouts"
SHAPE = (10, 20, 30)
Box = list[tuple[int, int]]


@pytest.fixture
def layer(
    disk_store: Store, make_builder: Callable[..., Any], make_ramp: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """Write a layer into `disk_store` and return its voxels."""
    voxels = make_ramp(SHAPE, "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    return voxels


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Draw a box within the layer."""
    lows = [draw(st.integers(0, n - 1)) for n in SHAPE]
    return [(low, draw(st.integers(low + 1, n))) for low, n in zip(lows, SHAPE, strict=True)]


def laid(voxels: NDArray[Any], wanted: list[Box]) -> bytes:
    """Return the voxels of one box after another."""
    return b"".join(voxels[tuple(slice(*r) for r in box)].tobytes() for box in wanted)


def unpacked(body: bytes, name: str) -> bytes:
    """Return what a body holds; a Blosc buffer tells its length at byte 12."""
    if name == "raw":
        return body
    if name == "zstd":
        return bytes(numcodecs.Zstd().decode(body))
    found = []
    while body:
        size = int.from_bytes(body[12:16], "little")
        found.append(bytes(numcodecs.Blosc().decode(body[:size])))
        body = body[size:]
    return b"".join(found)


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    wanted=st.lists(boxes(), min_size=1, max_size=12),
    name=st.sampled_from(["raw", "zstd", "blosc"]),
    small=st.booleans(),
)
def test_boxes_of_any_shape_come_one_after_another(
    wanted: list[Box],
    name: str,
    small: bool,
    disk_store: Store,
    layer: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """Raw is the voxels of every box in the order of the list, however little memory there is."""
    limits = {"max_cutout_bytes": 3000, "slab_bytes": 700} if small else {}
    answer = connect(disk_store, **limits)(
        "POST", f"{CUTOUTS}?format={name}", json={"boxes": wanted}
    )
    assert answer.status_code == 200, answer.text
    assert unpacked(answer.content, name) == laid(layer, wanted)
    assert answer.headers["x-microtome-boxes"] == str(len(wanted))


@pytest.mark.parametrize("slab", [32 << 20, 300])
def test_boxes_of_one_shape_are_one_array(
    slab: int, disk_store: Store, layer: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """NPY has one axis more, the first, along which the boxes lie; its length is promised."""
    wanted = [[(z, z + 2), (3, 9), (x, x + 8)] for z in range(8) for x in (0, 5)]
    call = connect(disk_store, slab_bytes=slab)
    answer = call("POST", CUTOUTS, json={"boxes": wanted})
    expected = np.stack([layer[tuple(slice(*r) for r in box)] for box in wanted])
    np.testing.assert_array_equal(np.load(BytesIO(answer.content)), expected)
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["x-microtome-shape"] == "2,6,8"
    assert call.app.state.service.gate.used == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON"),
        (b"{}", 400, "boxes"),
        (b'{"boxes": []}', 400, "boxes"),
        (b'{"boxes": [[[0, 1], [0, 1]]]}', 400, "box 0"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1]], [[0, 1], [0, 1], [0, 31]]]}', 400, "box 1"),
        (b'{"boxes": [[[0, 1], [0, 1], [5, 5]]]}', 400, "box 0"),
        (b'{"boxes": [[[-1, 1], [0, 1], [0, 1]]]}', 400, "boxes.0.0.0"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1' + b"0" * 30 + b"]]]}", 400, "boxes.0.2.1"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1' + b"0" * 5000 + b"]]]}", 400, "out of range"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, "x"]]]}', 400, "boxes.0.2.1"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1]], [[0, 1], [0, 1], [0, 2]]]}', 400, "box 1"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1]]], "more": 1}', 400, "more"),
        (b"[" * 5000, 400, "JSON"),
        (b" " * 6000, 413, "5500"),
        (json.dumps({"boxes": [[[0, 1]] * 3] * 9}).encode(), 413, "9 boxes"),
        (b'{"boxes": [[[0, 1], [0, 1], [0, 1]], [[0, 9], [0, 9], [0, 20]]]}', 413, "box 1"),
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
    """Each fault has its status, and names the box or the place in the JSON."""
    name = "raw" if status == 413 else "npy"
    call = connect(disk_store, max_boxes=8, max_body_bytes=5500, max_chunks=8)
    answer = call("POST", f"{CUTOUTS}?format={name}", content=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert len(answer.text) < 2000


def test_a_box_that_cannot_be_read_is_named(
    disk_store: Store,
    layer: NDArray[Any],
    connect: Callable[..., Any],
    shards: Callable[[Store], list[Path]],
) -> None:
    """Failed storage is 503 with the index of the box, and no box of the answer is sent."""
    last = shards(disk_store)[-1]
    last.write_bytes(last.read_bytes()[:100])
    wanted = [[(0, 2), (0, 2), (0, 2)], [(8, 10), (17, 19), (28, 30)]]
    answer = connect(disk_store)("POST", CUTOUTS, json={"boxes": wanted})
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("box 1: layer demo/brain/neurons")


def test_formats_of_single_cutouts_are_refused(
    disk_store: Store, layer: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """A picture holds one plane: 400 names what there is; other methods are 405."""
    call = connect(disk_store)
    answer = call("POST", f"{CUTOUTS}?format=png", json={"boxes": [[[0, 1]] * 3]})
    assert answer.status_code == 400
    assert "npy, raw, blosc, zstd" in answer.json()["detail"]
    answer = call.get(CUTOUTS)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_real_socket_carries_a_batch(
    disk_store: Store, layer: NDArray[Any], run_server: Callable[..., Any]
) -> None:
    """Over uvicorn, several batches on one connection are complete and exact."""
    wanted = [[(z, z + 1), (0, 20), (0, 30)] for z in range(10)]
    with run_server(disk_store, slab_bytes=2000) as address, httpx.Client() as client:
        for _ in range(3):
            answer = client.post(f"{address}{CUTOUTS}?format=raw", json={"boxes": wanted})
            assert answer.content == layer.tobytes()
