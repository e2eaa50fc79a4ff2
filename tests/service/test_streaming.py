"""Cutouts of any size: streamed piece by piece, whole or visibly broken off."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.store.location import Store

LAYER = "/api/datasets/demo/brain/neurons"
CUTOUT = f"{LAYER}/cutout"
# Of 12,000 bytes of voxels a slab has at most 500.
SMALL = {"max_cutout_bytes": 1500, "slab_bytes": 400}


@pytest.fixture
def neurons(
    disk_store: Store, make_builder: Callable[..., Any], make_ramp: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """The voxels of a layer in `disk_store`."""
    voxels = make_ramp((10, 20, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    return voxels


@pytest.mark.parametrize("name", ["npy", "raw", "zstd"])
@pytest.mark.parametrize("cut", [(slice(None),) * 3, (slice(1, 9), 7, slice(3, 29))])
def test_what_does_not_fit_memory_is_streamed(
    name: str,
    cut: tuple[Any, ...],
    disk_store: Store,
    neurons: NDArray[Any],
    connect: Callable[..., Any],
    decode: Callable[[httpx.Response], NDArray[Any]],
) -> None:
    """The body is the same as that of an answer read at once, and so are its headers."""
    words = "&z=1:9&y=7&x=3:29" if isinstance(cut[1], int) else ""
    url = f"{CUTOUT}?format={name}{words}"
    streamed = connect(disk_store, **(SMALL | {"slab_bytes": 100})).get(url)
    whole = connect(disk_store).get(url)
    np.testing.assert_array_equal(decode(streamed), neurons[cut])
    np.testing.assert_array_equal(decode(whole), neurons[cut])
    for answer in (streamed, whole):
        answer.headers.pop("content-length", None)
        answer.headers.pop("x-request-id", None)
    assert streamed.headers == whole.headers


def test_head_tells_size_and_cost_of_any_cutout(
    disk_store: Store, neurons: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """Length, decoded bytes and chunks are known without a read, however large."""
    answer = connect(disk_store, **SMALL)("HEAD", f"{CUTOUT}?format=raw")
    assert answer.headers["content-length"] == str(neurons.nbytes)
    assert answer.headers["x-microtome-cost-chunks"] == str(2 * 3 * 4)
    assert answer.headers["x-microtome-cost-bytes-decoded"] == str(24 * 8**3 * 2)


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"max_answer_bytes": 11_999}, "npy", "11999"),
        ({}, "blosc", "1500"),
        ({}, "tiff", "1500"),
        ({"max_chunks": 1}, "raw", "chunks to read"),
    ],
)
def test_limits_that_remain_are_413(
    changes: dict[str, int],
    name: str,
    words: str,
    disk_store: Store,
    neurons: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """An operator's absolute cap, formats that need all voxels at once, too many chunks a slab."""
    call = connect(disk_store, **SMALL, **changes)
    answer = call.get(f"{CUTOUT}?format={name}")
    assert answer.status_code == 413
    assert words in answer.json()["detail"]
    assert call.get(f"{CUTOUT}?z=1&y=1&x=0:4&format={name}").status_code == 200


def test_storage_that_fails_early_is_503(
    disk_store: Store,
    neurons: NDArray[Any],
    connect: Callable[..., Any],
    damage: Callable[[Store], None],
) -> None:
    """The first slab is read before the status is sent, and its room is given back."""
    call = connect(disk_store, **SMALL)
    damage(disk_store)
    assert call.get(f"{CUTOUT}?format=raw").status_code == 503
    assert call.app.state.service.gate.used == 0


@pytest.mark.parametrize("name", ["npy", "raw", "zstd"])
def test_storage_that_fails_later_never_gives_a_whole_body(
    name: str,
    disk_store: Store,
    neurons: NDArray[Any],
    run_server: Callable[..., Any],
    shards: Callable[[Store], list[Path]],
) -> None:
    """The connection ends before the promised length or the last chunk; the client sees it."""
    last = shards(disk_store)[-1]
    last.write_bytes(last.read_bytes()[:100])
    with (
        run_server(disk_store, **SMALL) as address,
        httpx.stream("GET", f"{address}{CUTOUT}?format={name}") as answer,
    ):
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


def test_a_read_decodes_few_chunks_at_a_time(
    disk_store: Store,
    neurons: NDArray[Any],
    connect: Callable[..., Any],
    decode: Callable[[httpx.Response], NDArray[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A box that touches more chunks than are decoded at one time is put together from parts."""
    monkeypatch.setattr("microtome_service.reader.DECODED_AT_ONCE", 3 * 8**3 * 2)
    answer = connect(disk_store).get(f"{CUTOUT}?z=1:9&y=7&x=3:29")
    np.testing.assert_array_equal(decode(answer), neurons[1:9, 7, 3:29])


def test_a_callers_own_share_is_429_and_a_full_service_503(
    disk_store: Store, make_builder: Callable[..., Any], run_server: Callable[..., Any]
) -> None:
    """Either says when to come back."""
    voxels = np.zeros((64, 512, 512), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    path = f"{CUTOUT}?format=raw"
    for share, status in ((0.5, 429), (1, 503)):
        limits = {"max_flying_bytes": 2 * voxels.nbytes, "max_share": share, "wait_seconds": 0.2}
        with run_server(disk_store, **limits) as address, socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", httpx.URL(address).port))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert sock.recv(8, socket.MSG_PEEK)
            answer = httpx.get(f"{address}{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (status, "2")
