"""PUT and PATCH of cutouts: what is taken, what is refused, and what is seen of it."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import numcodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.location import StorageOptions, Store

SEG = LayerId("demo", "brain", "seg")
SHAPE = (16, 24, 40)
NEW = NewLayer("zyx", SHAPE, "uint16", (1.0,) * 3, ("um",) * 3, chunk=(4, 8, 8), shard=(8, 16, 16))
URL = f"/api/datasets/{SEG}/cutout"
BOX = "?z=2:6&y=3:20&x=0:16"
BLOCK = np.random.default_rng(5).integers(0, 3, (4, 17, 16)).astype("uint16")
NPY, RAW, BLOSC, ZSTD = (
    "application/x-npy", "application/octet-stream", "application/blosc", "application/zstd",
)  # fmt: skip


def npy(block: NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401 - NumPy's own
    """Return a .npy file."""
    body = BytesIO()
    np.save(body, block, **options)
    return body.getvalue()


BODIES = {
    NPY: npy(BLOCK),
    RAW: BLOCK.tobytes(),
    BLOSC: numcodecs.Blosc("lz4", 5).encode(BLOCK),
    ZSTD: numcodecs.Zstd(1).encode(BLOCK.reshape(-1)),
}


@pytest.fixture
def seg_store(service_store: Store) -> Store:
    """A store with one empty layer."""
    create_layer(service_store, SEG, NEW)
    return service_store


@pytest.fixture
def seg(seg_store: Store, connect: Callable[..., Any]) -> Any:  # noqa: ANN401 - a caller
    """A caller of a service in which everybody may write."""
    return connect(seg_store, anonymous_writes=True)


def read(caller: Any, query: str = "") -> NDArray[Any]:  # noqa: ANN401 - a caller
    """Return a cutout."""
    answer = caller.get(f"{URL}{query}")
    assert answer.status_code == 200, answer.text
    return np.asarray(np.load(BytesIO(answer.content)))


@pytest.mark.parametrize("media_type", BODIES)
def test_every_format_is_taken(seg: Any, media_type: str) -> None:  # noqa: ANN401 - a caller
    """What was put is what is read; all else stays 0."""
    answer = seg("PUT", URL + BOX, content=BODIES[media_type], headers={"Content-Type": media_type})
    assert answer.status_code == 204, answer.text
    assert answer.content == b""
    assert answer.headers["x-microtome-shards-written"] == "2"
    whole = read(seg)
    assert np.array_equal(whole[2:6, 3:20, 0:16], BLOCK)
    assert int(whole.sum()) == int(BLOCK.sum())


def test_patch_leaves_voxels_where_the_body_is_0(seg: Any) -> None:  # noqa: ANN401 - a caller
    """PUT replaces them."""
    seg("PUT", URL, content=npy(np.full(SHAPE, 9, "uint16")), headers={"Content-Type": NPY})
    assert seg("PATCH", URL + BOX, content=BODIES[NPY], headers={"Content-Type": NPY}).is_success
    assert np.array_equal(read(seg, BOX), np.where(BLOCK == 0, 9, BLOCK))
    assert seg("PUT", URL + BOX, content=BODIES[NPY], headers={"Content-Type": NPY}).is_success
    assert np.array_equal(read(seg, BOX), BLOCK)


def test_arrays_of_any_order_are_taken(seg: Any) -> None:  # noqa: ANN401 - a caller
    """Fortran order, big-endian and .npy version 2 hold the same voxels."""
    for block in (np.asfortranarray(BLOCK), BLOCK.astype(">u2")):
        seg("PUT", URL, content=npy(np.zeros(SHAPE, "uint16")), headers={"Content-Type": NPY})
        answer = seg("PUT", URL + BOX, content=npy(block), headers={"Content-Type": NPY})
        assert answer.status_code == 204, answer.text
        assert np.array_equal(read(seg, BOX), BLOCK)
    body = BytesIO()
    np.lib.format.write_array(body, BLOCK, version=(2, 0))
    answer = seg("PUT", URL + BOX, content=body.getvalue(), headers={"Content-Type": NPY})
    assert answer.status_code == 204, answer.text


def test_an_index_drops_its_axis_from_the_body(seg: Any) -> None:  # noqa: ANN401 - a caller
    """As it does from a cutout."""
    plane = np.full((24, 40), 4, "uint16")
    answer = seg("PUT", f"{URL}?z=7", content=npy(plane), headers={"Content-Type": NPY})
    assert answer.status_code == 204, answer.text
    assert np.array_equal(read(seg, "?z=7"), plane)
    answer = seg("PUT", f"{URL}?z=7", content=npy(plane[None]), headers={"Content-Type": NPY})
    assert answer.status_code == 400
    assert "shape 1,24,40: expected 24,40" in answer.json()["detail"]


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def zstd_bomb() -> bytes:
    """Return a kilobyte that decodes to 64 MiB and says so."""
    return bytes(numcodecs.Zstd(3).encode(np.zeros(64 << 20, "uint8")))


def lying(body: bytes, place: int, value: int) -> bytes:
    """Return a body with another number in its header."""
    return body[:place] + struct.pack("<I", value) + body[place + 4 :]


HEADER = "{'descr': '<u2', 'fortran_order': False, 'shape': (4, 17, 16), }"
BAD: dict[str, tuple[str, bytes, int, str]] = {
    "no type": ("", b"", 415, "expected one of application/x-npy"),
    "a picture": ("image/png", b"", 415, "expected one of"),
    "empty npy": (NPY, b"", 400, "no .npy file"),
    "text as npy": (NPY, b"hello" * 100, 400, "no .npy file"),
    "npy version 9": (NPY, b"\x93NUMPY\x09\x00" + BODIES[NPY][8:], 400, "no .npy file"),
    "npy of a huge header": (NPY, b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", 400, "no .npy file"),
    "npy of code": (NPY, BODIES[NPY][:10] + b"__import__('os')" * 40, 400, "no .npy file"),
    "npy of nests": (NPY, BODIES[NPY][:10] + b"(" * 4000, 400, "no .npy file"),
    "pickle": (NPY, npy(np.array([Bomb()], object), allow_pickle=True), 400, "dtype object"),
    "another dtype": (NPY, npy(BLOCK.astype("int16")), 400, "dtype int16: expected uint16"),
    "floats": (NPY, npy(BLOCK.astype("float32")), 400, "float32: expected uint16"),
    "records": (NPY, npy(np.zeros((4, 17, 16), "u1,u1")), 400, "expected uint16"),
    "another shape": (NPY, npy(BLOCK[:, :16]), 400, "shape 4,16,16: expected 4,17,16"),
    "turned": (NPY, npy(BLOCK.T), 400, "shape 16,17,4: expected 4,17,16"),
    "npy cut short": (NPY, BODIES[NPY][:-1], 400, "2175 bytes of voxels: expected 2176"),
    "npy and more": (NPY, BODIES[NPY] + b"0", 400, "2177 bytes of voxels"),
    "raw cut short": (RAW, BODIES[RAW][:-2], 400, "2174 bytes of voxels: expected 2176"),
    "raw and more": (RAW, BODIES[RAW] + b"0", 413, "the most"),
    "zstd bomb": (ZSTD, zstd_bomb(), 413, "decodes to 67108864 bytes: expected 2176"),
    "zstd that lies": (ZSTD, lying(zstd_bomb(), 6, 2176), 400, "cannot be decoded"),
    "zstd cut short": (ZSTD, BODIES[ZSTD][:-9], 400, "cannot be decoded"),
    "zstd twice": (ZSTD, BODIES[ZSTD] * 2, 400, "cannot be decoded"),
    "zstd of less": (ZSTD, bytes(numcodecs.Zstd(1).encode(b"1" * 2175)), 400, "2175 bytes"),
    "zstd of unknown size": (ZSTD, b"\x28\xb5\x2f\xfd\x00\x58\x00\x00", 400, "does not tell"),
    "no zstd": (ZSTD, BODIES[RAW], 400, "no Zstandard frame"),
    "blosc bomb": (BLOSC, lying(BODIES[BLOSC], 4, 2**31), 413, "decodes to 2147483648 bytes"),
    "blosc of less": (BLOSC, lying(BODIES[BLOSC], 4, 2174), 400, "2174 bytes of voxels"),
    "blosc cut short": (BLOSC, BODIES[BLOSC][:-9], 400, "header tells"),
    "blosc of noise": (BLOSC, BODIES[BLOSC][:16] + b"\xff" * (len(BODIES[BLOSC]) - 16), 400, ""),
    "no blosc": (BLOSC, b"123", 400, "its header alone"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_body_for_the_region_is_refused(seg: Any, case: str) -> None:  # noqa: ANN401
    """Without being unpickled, decoded to more than was expected, or written."""
    media_type, body, status, detail = BAD[case]
    answer = seg("PUT", URL + BOX, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status, answer.text
    assert any(part in answer.json()["detail"] for part in detail.split("|"))
    assert not read(seg).any()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?level=1&z=0:1", 400),
        ("?z=0:17", 400),
        ("?z=4:4", 400),
        ("?t=0:1", 400),
        ("?format=npy", 400),
        ("?level=-1", 422),
    ],
)
def test_what_is_no_region_of_level_0_is_refused(seg: Any, query: str, status: int) -> None:  # noqa: ANN401
    """Nothing is taken in."""
    answer = seg("PUT", URL + query, content=b"1", headers={"Content-Type": NPY})
    assert answer.status_code == status, answer.text


def test_a_body_is_not_compressed_twice(seg: Any) -> None:  # noqa: ANN401 - a caller
    """Content-Encoding is refused: what it hides could be of any size."""
    headers = {"Content-Type": RAW, "Content-Encoding": "gzip"}
    assert seg("PUT", URL + BOX, content=BODIES[RAW], headers=headers).status_code == 415


def test_too_much_at_once_is_refused(seg_store: Store, connect: Callable[..., Any]) -> None:
    """By the region alone, before a body is looked at."""
    caller = connect(seg_store, anonymous_writes=True, max_cutout_bytes=1000)
    answer = caller("PUT", URL + BOX, content=BODIES[RAW], headers={"Content-Type": RAW})
    assert answer.status_code == 413
    assert "the limit is 1000" in answer.json()["detail"]


def test_nobody_writes_who_has_not_said_who_they_are(
    seg_store: Store, connect: Callable[..., Any]
) -> None:
    """Unless the operator lets everybody."""
    caller = connect(seg_store)
    answer = caller("PUT", URL + BOX, content=BODIES[RAW], headers={"Content-Type": RAW})
    assert answer.status_code == 401, answer.text
    assert not read(caller).any()


def test_a_layer_that_was_ingested_is_not_written(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """409, and it says what can be written; a layer that is absent is 404."""
    make_builder(service_store).layer("demo/brain/raw", "zyx", np.zeros((4, 8, 8), "uint8"))
    caller = connect(service_store, anonymous_writes=True)
    for name, status in (("raw", 409), ("none", 404)):
        url = f"/api/datasets/demo/brain/{name}/cutout"
        answer = caller("PUT", url, content=bytes(256), headers={"Content-Type": RAW})
        assert answer.status_code == status, answer.text
    assert not caller.get("/api/datasets/demo/brain/raw").json()["writable"]


def test_the_layer_says_that_it_is_writable(seg: Any) -> None:  # noqa: ANN401 - a caller
    """So clients know before they try."""
    assert seg.get(f"/api/datasets/{SEG}").json()["writable"] is True


def test_a_tag_changes_exactly_when_voxels_of_its_shards_may_have(seg: Any) -> None:  # noqa: ANN401
    """Of any cutout and tile that touches the shard that was written, and of no other."""
    urls = {
        "near": (f"{URL}?z=0:8&y=0:16&x=0:16", f"/api/datasets/{SEG}/tiles/xy/0/0/0/0.png?size=16"),
        "far": (f"{URL}?z=8:16&y=0:16&x=0:16", f"/api/datasets/{SEG}/tiles/xy/0/9/0/0.png?size=16"),
    }
    before = {url: seg.get(url).headers["etag"] for each in urls.values() for url in each}
    one = npy(np.ones((1, 1, 1), "uint16"))
    seg("PUT", f"{URL}?z=0:1&y=0:1&x=0:1", content=one, headers={"Content-Type": NPY})
    for name, each in urls.items():
        for url in each:
            answer = seg.get(url, headers={"If-None-Match": before[url]})
            assert answer.status_code == (200 if name == "near" else 304), url
    now = {url: seg.get(url).headers["etag"] for each in urls.values() for url in each}
    # The same voxels once more change nothing.
    seg("PUT", f"{URL}?z=0:1&y=0:1&x=0:1", content=one, headers={"Content-Type": NPY})
    assert now == {url: seg.get(url).headers["etag"] for each in urls.values() for url in each}


def test_a_write_is_answered_with_the_tag_of_what_it_wrote(seg: Any) -> None:  # noqa: ANN401
    """A cutout of the region in the same format has it, and the next write may name it."""
    headers = {"Content-Type": NPY}
    for turn in range(3):
        answer = seg("PUT", URL + BOX, content=npy(BLOCK + turn), headers=headers)
        assert answer.status_code == 204, answer.text
        assert seg.get(URL + BOX).headers["etag"] == answer.headers["etag"]
        headers["If-Match"] = f'"other", {answer.headers["etag"]}'


def test_a_write_that_names_an_old_tag_writes_nothing(seg: Any) -> None:  # noqa: ANN401
    """The tag may be of a cutout in any format that touches the same shards."""
    old = seg.get(f"{URL}{BOX}&format=raw").headers["etag"]
    headers = {"Content-Type": NPY, "If-Match": old}
    assert seg("PUT", URL + BOX, content=npy(BLOCK), headers=headers).status_code == 204
    answer = seg("PUT", URL + BOX, content=npy(BLOCK + 1), headers=headers)
    assert answer.status_code == 412
    assert answer.json()["error"] == "PreconditionFailed"
    assert np.array_equal(read(seg, BOX), BLOCK)
    now = seg.get(URL + BOX).headers["etag"]
    for turn, tag in enumerate((now, "*")):
        headers["If-Match"] = tag
        answer = seg("PUT", URL + BOX, content=npy(BLOCK + 2 + turn), headers=headers)
        assert answer.status_code == 204, answer.text


def test_who_wrote_what_lies_in_the_store(seg: Any, seg_store: Store) -> None:  # noqa: ANN401
    """Who, when, how, where, and the digest of the body; nothing of it for a refused write."""
    headers = {"Content-Type": RAW, "X-Request-Id": "abc-1"}
    seg("PATCH", URL + BOX, content=BODIES[RAW], headers=headers)
    seg("PUT", URL + BOX, content=b"1", headers=headers)
    (key,) = [key for key, _ in seg_store.sizes(f"{SEG}/0/ledger/writes")]
    told = json.loads(seg_store.read(key) or b"")
    assert told["who"] == "anonymous"
    assert told["method"] == "PATCH"
    assert told["region"] == "z=2:6,y=3:20,x=0:16"
    assert told["bytes"] == len(BODIES[RAW])
    assert told["request_id"] == "abc-1"
    assert told["before"] != told["after"]
    assert seg.get(URL + BOX).headers["etag"].startswith(f'"{told["after"]}-')


def test_the_levels_above_follow(seg: Any) -> None:  # noqa: ANN401 - a caller
    """Until they do, cutouts of them say so."""
    block = np.full(SHAPE, 3, "uint16")
    answer = seg("PUT", URL, content=npy(block), headers={"Content-Type": NPY})
    assert answer.headers["x-microtome-pyramid"] == "updating"
    for _ in range(100):
        if seg("HEAD", f"{URL}?level=1").headers["x-microtome-pyramid"] == "current":
            break
        time.sleep(0.05)
    assert (read(seg, "?level=1") == 3).all()
    assert (read(seg, "?level=2") == 3).all()


def test_storage_that_fails_is_503(
    seg: Any,  # noqa: ANN401 - a caller
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says that the same request may be sent again, and nothing of the storage."""

    def fail(*_: object) -> None:
        raise StorageError("/secret/place: no space left")

    monkeypatch.setattr(Store, "replace", fail)
    answer = seg("PUT", URL + BOX, content=BODIES[RAW], headers={"Content-Type": RAW})
    assert answer.status_code == 503
    assert "may be sent again" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert not read(seg).any()


def test_a_reader_in_another_process_sees_a_write_at_once(
    tmp_path: Any,  # noqa: ANN401 - a path
    connect: Callable[..., Any],
) -> None:
    """What it has cached is held against the store."""
    url = f"file://{tmp_path}"
    create_layer(Store(url), SEG, NEW)
    options = StorageOptions(cache_bytes=1 << 24)
    writer, reader = (
        connect(Store(url, options), anonymous_writes=True, recheck_seconds=60.0) for _ in range(2)
    )
    for turn in range(5):
        writer("PUT", URL + BOX, content=npy(BLOCK + turn), headers={"Content-Type": NPY})
        assert np.array_equal(read(reader, BOX), BLOCK + turn)


def test_a_caller_who_drips_is_cut_off(seg_store: Store, run_server: Callable[..., Any]) -> None:
    """408 after a while in which nothing came, and the room is given back."""

    def drip() -> Iterator[bytes]:
        yield b"1"
        time.sleep(3)
        yield b"1"

    settings = {"anonymous_writes": True, "stalled_seconds": 1.0}
    with run_server(seg_store, **settings) as address:
        started = time.monotonic()
        answer = httpx.put(address + URL + BOX, content=drip(), headers={"Content-Type": RAW})
        assert answer.status_code == 408
        assert time.monotonic() - started < 8
        answer = httpx.put(address + URL + BOX, content=BODIES[RAW], headers={"Content-Type": RAW})
        assert answer.status_code == 204


def test_a_body_that_never_ends_is_cut_off(
    seg_store: Store, run_server: Callable[..., Any]
) -> None:
    """413 as soon as it is longer than any body for the region, whatever length it told."""

    def pour() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(4096)

    with run_server(seg_store, anonymous_writes=True) as address:
        try:
            answer = httpx.put(address + URL + BOX, content=pour(), headers={"Content-Type": RAW})
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # cut off while it still poured
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port), 10) as line:
            words = f"PUT {URL}{BOX} HTTP/1.1\r\nHost: a\r\nContent-Type: {RAW}\r\n"
            line.sendall(f"{words}Content-Length: 99999999\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_what_may_be_written_is_never_kept_for_ever(seg: Any) -> None:  # noqa: ANN401 - a caller
    """Every address of a writable layer's voxels is asked for again, though it names the version;
    its tag changes with what is written there.
    """
    version = seg.get(f"/api/datasets/{SEG}").json()["version"]
    put = {"content": BODIES[NPY], "headers": {"Content-Type": NPY}}
    assert seg("PUT", URL + BOX, **put).status_code == 204
    addresses = (
        f"{URL}{BOX}&version={version}",
        f"{URL}{BOX}&format=chunks",
        f"/api/datasets/{SEG}/tiles/xy/0/3/0/0.png?version={version}",
        f"/precomputed/{SEG}/0/0-8_0-8_0-4",
        f"/zarr/{SEG}/0/c/0/0/0?version={version}",
    )
    before = [seg.get(address) for address in addresses]
    assert {answer.status_code for answer in before} == {200}
    changed = npy(BLOCK + np.uint16(1))
    assert seg("PUT", URL + BOX, **{**put, "content": changed}).status_code == 204
    for address, old in zip(addresses, before, strict=True):
        new = seg.get(address)
        assert "immutable" not in new.headers["cache-control"], address
        assert "no-cache" in new.headers["cache-control"], address
        assert new.headers["etag"] != old.headers["etag"], address
        assert new.content != old.content, address
