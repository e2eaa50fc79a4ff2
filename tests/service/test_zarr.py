"""The store over HTTP: what is visible, byte for byte, and nothing else."""

import json
import os
from collections.abc import Callable
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.store.location import Store
from microtome_core.store.record import SCHEMA
from microtome_service.objects import PIECE

NEURONS = "/zarr/demo/brain/neurons"
SHARD = f"{NEURONS}/0/c/0/0/0"


@pytest.fixture
def stored(volume: tuple[Any, NDArray[Any]]) -> tuple[Any, bytes]:
    """A caller of a store with one volume, and the bytes of its first shard."""
    call, _ = volume
    body = call.app.state.service.store.read("demo/brain/neurons/0/c/0/0/0")
    assert len(body) > 1000
    return call, body


def test_metadata_and_shards_are_those_of_the_store(stored: tuple[Any, bytes]) -> None:
    """An array's document and its shards are sent as they are stored."""
    call, body = stored
    store = call.app.state.service.store
    answer = call.get(SHARD)
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "no-cache"
    document = call.get(f"{NEURONS}/1/zarr.json")
    assert document.content == store.read("demo/brain/neurons/1/zarr.json")
    assert document.headers["content-type"] == "application/json"
    own = json.loads(store.read("demo/brain/neurons/zarr.json"))
    assert call.get(f"{NEURONS}/zarr.json").json()["attributes"] == own["attributes"]


@pytest.mark.parametrize("key", [SHARD, f"{NEURONS}/0/zarr.json", f"{NEURONS}/zarr.json"])
def test_head_tells_what_get_would_send(key: str, stored: tuple[Any, bytes]) -> None:
    """HEAD has the headers of GET, ranges being ignored, and no body."""
    call, _ = stored
    head = call("HEAD", key, headers={"Range": "bytes=0-3"})
    got = call.get(key)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "accept-ranges", "content-type", "cache-control"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("words", "cut"),
    [("0-9", slice(0, 10)), ("-20", slice(-20, None)), ("500-", slice(500, None)),
     ("7-99999999", slice(7, None))],
)  # fmt: skip
def test_one_range_is_a_part(words: str, cut: slice, stored: tuple[Any, bytes]) -> None:
    """206, with the bytes asked for and where in the whole they lie."""
    call, body = stored
    answer = call.get(SHARD, headers={"Range": f"bytes={words}"})
    start, stop, _ = cut.indices(len(body))
    assert (answer.status_code, answer.content) == (206, body[cut])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(body)}"
    assert answer.headers["content-length"] == str(stop - start)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_several_ranges_are_parts_of_one_message(
    data: st.DataObject, stored: tuple[Any, bytes]
) -> None:
    """Each part says which bytes it holds; an independent parser of MIME takes them apart."""
    call, body = stored
    edges = data.draw(st.lists(st.integers(0, len(body) - 1), min_size=4, max_size=12, unique=True))
    edges = sorted(edges)[: len(edges) // 2 * 2]
    pairs = data.draw(st.permutations(list(zip(edges[::2], edges[1::2], strict=True))))
    words = ",".join(f"{first}-{last}" for first, last in pairs)
    answer = call.get(SHARD, headers={"Range": f"bytes={words}"})
    assert answer.status_code == 206
    assert answer.headers["content-length"] == str(len(answer.content))
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content, policy=HTTP)
    parts = list(message.iter_parts())
    assert [part["content-range"] for part in parts] == [
        f"bytes {first}-{last}/{len(body)}" for first, last in pairs
    ]
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    found = answer.content.split(b"\r\n--" + boundary)[1:-1]
    assert [each.partition(b"\r\n\r\n")[2] for each in found] == [
        body[first : last + 1] for first, last in pairs
    ]


def test_ranges_beyond_the_end_are_416(stored: tuple[Any, bytes]) -> None:
    """The answer says how many bytes there are."""
    call, body = stored
    answer = call.get(SHARD, headers={"Range": f"bytes={len(body)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(body)}"
    assert answer.json()["error"] == "RangeNotSatisfiable"


@pytest.mark.parametrize("key", [SHARD, f"{NEURONS}/zarr.json", "/zarr/zarr.json"])
def test_who_has_an_object_gets_304(key: str, stored: tuple[Any, bytes]) -> None:
    """ETags are strong and hold; If-Match and If-Range compare with them."""
    call, _ = stored
    etag = call.get(key).headers["etag"]
    assert etag.startswith('"')
    again = call.get(key, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert call("HEAD", key, headers={"If-None-Match": etag}).status_code == 304
    assert call.get(key, headers={"If-Match": etag}).status_code == 200
    refused = call.get(key, headers={"If-Match": '"other"'})
    assert (refused.status_code, refused.json()["error"]) == (412, "PreconditionFailed")
    part = {"Range": "bytes=0-3"}
    assert call.get(key, headers={**part, "If-Range": etag}).status_code == 206
    assert call.get(key, headers={**part, "If-Range": '"other"'}).status_code == 200


def test_an_address_of_one_version_may_be_kept_for_ever(stored: tuple[Any, bytes]) -> None:
    """Until the layer has another version, of which it is refused."""
    call, body = stored
    version = call.get("/api/datasets/demo/brain/neurons").json()["version"]
    answer = call.get(f"{SHARD}?version={version}")
    assert answer.content == body
    assert "immutable" in answer.headers["cache-control"]
    assert call.get(f"{SHARD}?version=other").status_code == 409


def test_a_replaced_object_has_another_tag(stored: tuple[Any, bytes]) -> None:
    """Of the same length even, and at once."""
    call, body = stored
    store = call.app.state.service.store
    tags = {call.get(SHARD).headers["etag"]}
    for change in (b"\1", b"\2"):
        store.write("demo/brain/neurons/0/c/0/0/0", change + body[1:])
        tags.add(call.get(SHARD).headers["etag"])
    assert len(tags) == 3


def test_scripts_of_other_origins_may_ask_for_ranges(stored: tuple[Any, bytes]) -> None:
    """The preflight lets a viewer send ranges and conditions, and it may read what they gave."""
    call, _ = stored
    wanted = "range, if-range, if-match, if-none-match, if-modified-since"
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": wanted,
    }
    preflight = call("OPTIONS", SHARD, headers=asked)
    assert preflight.status_code == 200
    for method in ("GET", "HEAD", "OPTIONS"):
        assert method in preflight.headers["access-control-allow-methods"]
    answer = call.get(SHARD, headers={"Origin": "https://viewer.example", "Range": "bytes=0-3"})
    exposed = answer.headers["access-control-expose-headers"].lower()
    for name in ("content-range", "content-length", "etag", "accept-ranges"):
        assert name in exposed
    plain = call("OPTIONS", SHARD)
    assert (plain.status_code, plain.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert call("PUT", SHARD, content=b"x").status_code == 405
    assert call("DELETE", SHARD).status_code == 405


def test_a_chunk_that_others_left_out_is_absent(stored: tuple[Any, bytes]) -> None:
    """Other software leaves out what holds the fill value, as Zarr says: 404."""
    call, _ = stored
    call.app.state.service.store.remove("demo/brain/neurons/0/c/0/0/0")
    assert call.get(SHARD).status_code == 404
    assert call("HEAD", SHARD).status_code == 404


@pytest.mark.parametrize("size", [None, 0, 50])
def test_a_shard_that_is_lost_or_cut_is_503(
    size: int | None,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    shards: Callable[..., list[Path]],
) -> None:
    """Of a layer of which every shard was stored: readers would take 404 for zeros."""
    voxels = make_ramp((10, 20, 30), "uint16")
    make_builder(disk_store).layer(
        "demo/brain/neurons", "zyx", voxels, record={"schema_id": SCHEMA}
    )
    path = shards(disk_store)[0]
    path.write_bytes(path.read_bytes()[: size or 0])
    if size is None:
        path.unlink()
    call = connect(disk_store)
    for method in ("GET", "HEAD"):
        answer = call(method, SHARD)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    told = call.get(SHARD).json()["detail"]
    assert "demo/brain/neurons, shard 0/c/0/0/0" in told
    assert disk_store.url not in told
    assert call.get(f"{NEURONS}/0/c/0/1/1").status_code == 200


def test_storage_that_refuses_is_503(
    stored_on_disk: tuple[Any, Path],
) -> None:
    """And recovers by itself."""
    call, path = stored_on_disk
    folder = path.parent
    moved = folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder)
    assert call.get(SHARD).status_code == 503
    folder.unlink()
    moved.rename(folder)
    assert call.get(SHARD).status_code == 200


@pytest.fixture
def stored_on_disk(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    shards: Callable[..., list[Path]],
) -> tuple[Any, Path]:
    """A caller of a store on disk, and the file of its first shard."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    return connect(disk_store), shards(disk_store)[0]


def test_room_is_given_back_however_an_answer_ends(stored_on_disk: tuple[Any, Path]) -> None:
    """Whole, in part, not modified, refused: nothing stays admitted or open."""
    call, _ = stored_on_disk
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    etag = call.get(SHARD).headers["etag"]
    for headers in ({}, {"Range": "bytes=0-9,20-29"}, {"If-None-Match": etag}, {"If-Match": '"x"'},
                    {"Range": "bytes=999999999-"}):  # fmt: skip
        for method in ("GET", "HEAD"):
            call(method, SHARD, headers=headers)
    assert call.app.state.service.gate.used == 0
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before + 4, "files stay open"


def test_a_large_shard_is_sent_in_pieces_and_whole(
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Several pieces, and ranges across their seams, are the bytes of the file."""
    voxels = np.random.default_rng(0).integers(0, 255, (128, 128, 256), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels, chunk=128)
    call = connect(service_store)
    body = service_store.read("demo/brain/neurons/0/c/0/0/0")
    assert body is not None
    assert len(body) > 2 * PIECE
    assert call.get(SHARD).content == body
    cut = slice(PIECE - 7, 2 * PIECE + 7)
    words = {"Range": f"bytes={cut.start}-{cut.stop - 1}"}
    assert call.get(SHARD, headers=words).content == body[cut]


def test_a_caller_who_goes_away_stops_the_reading(
    disk_store: Store,
    make_builder: Callable[..., Any],
    run_server: Callable[..., Any],
) -> None:
    """Half of an answer taken, then gone: the room comes back, and others are served."""
    voxels = np.random.default_rng(0).integers(0, 255, (256, 256, 512), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=256)
    with run_server(disk_store, max_flying_bytes=4 * PIECE, wait_seconds=10.0) as address:
        for _ in range(4):
            with httpx.stream("GET", f"{address}{SHARD}") as answer:
                next(answer.iter_raw(1000))
        part = httpx.get(f"{address}{SHARD}", headers={"Range": "bytes=-9"})
        assert part.status_code == 206


def test_links_lead_to_the_store(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """The address in a layer's or dataset's JSON and page is a group; labels lie below an image."""
    builder = make_builder(service_store)
    builder.layer("demo/brain/neurons", "yx", make_ramp((20, 30), "uint8"))
    builder.layer("demo/brain/cells", "yx", make_ramp((20, 30), "uint16"), labels_of="neurons")
    call = connect(service_store)
    links = [call.get(f"/api/datasets/demo/brain{x}").json()["links"]["zarr"]
             for x in ("", "/neurons", "/cells")]  # fmt: skip
    assert links == ["/zarr/demo/brain", NEURONS, f"{NEURONS}/labels/cells"]
    for link in links:
        assert call.get(f"{link}/zarr.json").status_code == 200
    page = call.get("/demo/brain/cells", headers={"Accept": "text/html"}).text
    assert f"http://test{links[2]}</code>" in page
