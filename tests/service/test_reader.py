"""A read that costs too much is refused unread; one that fails is never fill values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.store.location import Store

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_cutout_bytes": 11_999}, "11999"),
        ({"max_decoded_bytes": 8 * 8 * 8 * 2 * 24 - 1}, "chunks to decode"),
        ({"max_chunks": 23}, "24 chunks"),
    ],
)
def test_too_much_is_refused_before_anything_is_read(
    changes: dict[str, int],
    words: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    damage: Callable[[Store], None],
) -> None:
    """Beyond a limit on voxels, decoded chunks or chunks the answer is 413, however damaged the
    shards are; within it, it is not.
    """
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    one_more = {name: limit + 1 for name, limit in changes.items()}
    url = f"{CUTOUT}?format=tiff"
    assert connect(disk_store, **one_more).get(url).status_code == 200
    damage(disk_store)
    answer = connect(disk_store, **changes).get(url)
    assert answer.status_code == 413
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("name", ["npy", "raw", "png", "tiff"])
def test_a_damaged_shard_is_503_and_never_zeros(
    name: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    damage: Callable[[Store], None],
) -> None:
    """A read that fails is told as such, for later, without a word about paths."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    call = connect(disk_store)
    assert call.get(f"{CUTOUT}?z=3&format={name}").status_code == 200
    damage(disk_store)
    answer = call.get(f"{CUTOUT}?z=3&format={name}")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    problem = answer.json()
    assert "demo/brain/neurons, level 0, region z=3:4" in problem["detail"]
    assert disk_store.url.removeprefix("file://") not in answer.text


def test_a_shard_cut_short_is_503(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    shards: Callable[[Store], list[Path]],
) -> None:
    """A shard that lost its end is a failed read as well."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    first = shards(disk_store)[0]
    first.write_bytes(first.read_bytes()[:100])
    call = connect(disk_store)
    assert call.get(f"{CUTOUT}?x=0:4&y=0:4&z=0:4").status_code == 503


def test_a_shard_that_cannot_be_opened_is_503(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    shards: Callable[[Store], list[Path]],
) -> None:
    """Where the system refuses to give a shard, the answer is 503 and not fill values."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    first = shards(disk_store)[0]
    first.unlink()
    # A link to itself cannot be opened by anyone, not even by root.
    first.symlink_to(first)
    assert connect(disk_store).get(f"{CUTOUT}?x=0:4&y=0:4&z=0:4").status_code == 503


def test_a_shard_that_was_never_written_reads_as_fill_value(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
    shards: Callable[[Store], list[Path]],
) -> None:
    """An absent shard is zeros by definition of the store."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    shards(disk_store)[0].unlink()
    answer = connect(disk_store).get(f"{CUTOUT}?x=0:4&y=0:4&z=0:4")
    assert answer.status_code == 200
    assert not decode(answer).any()


@pytest.mark.parametrize("name", ["npy", "raw"])
def test_head_tells_the_length_without_reading(
    name: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    run_server: Callable[..., Any],
    damage: Callable[[Store], None],
) -> None:
    """HEAD has the headers of GET, the length included, even where the shards are damaged."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    with run_server(disk_store) as address:
        got = httpx.get(f"{address}{CUTOUT}?z=1:3&format={name}")
        damage(disk_store)
        head = httpx.head(f"{address}{CUTOUT}?z=1:3&format={name}")
        assert httpx.get(f"{address}{CUTOUT}?z=1:3&format={name}").status_code == 503
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))
    for header in ("etag", "x-microtome-shape", "content-type", "vary"):
        assert head.headers[header] == got.headers[header]


def test_a_caller_who_leaves_gives_back_the_room(
    disk_store: Store, make_builder: Callable[..., Any], run_server: Callable[..., Any]
) -> None:
    """With room for one answer only, callers who hang up in its midst do not block the next."""
    voxels = np.random.default_rng(1).integers(0, 255, (64, 256, 256), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    with run_server(disk_store, max_flying_bytes=voxels.nbytes, wait_seconds=10) as address:
        for _ in range(3):
            with httpx.stream("GET", f"{address}{CUTOUT}?format=raw") as answer:
                assert len(next(answer.iter_raw(1000))) == 1000
        last = httpx.get(f"{address}{CUTOUT}?format=raw")
    assert last.content == voxels.tobytes()


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc%2fpasswd", "..", "%00", "a%00b", "%2e%2e", "neur%C3%B6n", "NEURONS", "a" * 65],
)
def test_names_that_are_no_names_are_refused(
    name: str, volume: tuple[Any, NDArray[Any]], service_store: Store
) -> None:
    """Traversal, NUL, capitals, accents and over-long names are 4xx and leak no path."""
    for url in (
        f"/api/datasets/demo/brain/{name}/cutout",
        f"/api/datasets/demo/{name}/neurons",
        f"/api/datasets/{name}/brain",
    ):
        answer = volume[0].get(url)
        assert answer.status_code in (400, 404, 422), url
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.text)["status"] == answer.status_code
        assert service_store.url.split("//")[1] not in answer.text or service_store.url == (
            "memory://root"
        )
