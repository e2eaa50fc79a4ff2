"""Stored chunks in one answer: a decoder of the documented form gives the voxels of the region."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import httpx
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from microtome_core.store.location import Store
from microtome_core.store.record import SCHEMA

CUTOUT = "/api/datasets/demo/brain/neurons/cutout?format=chunks"


def take_apart(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a body, as the documentation says."""
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]), body[8 + length :]


def decode_chunk(header: dict[str, Any], encoded: bytes) -> NDArray[Any]:
    """Let zarr-python decode one chunk, as the only one of an array."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": header["chunk_shape"],
        "data_type": header["dtype"],
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": header["chunk_shape"]},
        },
        "chunk_key_encoding": {"name": "default"},
        "codecs": header["codecs"],
        "fill_value": header["fill_value"],
        "attributes": {},
    }
    key = "c/" + "/".join("0" for _ in header["chunk_shape"])
    parts = {"zarr.json": json.dumps(metadata).encode(), key: encoded}
    store = MemoryStore({name: cpu.Buffer.from_bytes(part) for name, part in parts.items()})
    return np.asarray(zarr.open_array(store, mode="r")[...])


def assemble(body: bytes) -> NDArray[Any]:
    """Return the voxels of the region, axes of one index included."""
    header, data = take_apart(body)
    start, stop, extents = (np.array(header[name]) for name in ("start", "stop", "chunk_shape"))
    block = np.full(stop - start, header["fill_value"], header["dtype"])
    seen = set()
    chunks = (header["chunks"][name] for name in ("index", "offset", "length"))
    for index, offset, length in zip(*chunks, strict=True):
        assert tuple(index) not in seen
        seen.add(tuple(index))
        if offset < 0:
            assert length == 0
            continue
        low = np.array(index) * extents
        first, end = np.maximum(start, low), np.minimum(stop, low + extents)
        voxels = decode_chunk(header, data[offset : offset + length])
        block[_slices(first - start, end - start)] = voxels[_slices(first - low, end - low)]
    assert len(seen) == np.prod(-(-stop // extents) - start // extents)
    return block


def _slices(start: NDArray[Any], stop: NDArray[Any]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_chunks_decode_to_the_region(data: st.DataObject, volume: tuple[Any, NDArray[Any]]) -> None:
    """For any region of any level, zarr's own codecs give NumPy's slice, from no other chunks."""
    call, voxels = volume
    level = data.draw(st.integers(0, 1))
    stored = voxels[tuple(slice(None, None, 2**level) for _ in range(3))]
    words, index = [f"level={level}"], []
    for axis, extent in zip("zyx", stored.shape, strict=True):
        low = data.draw(st.integers(0, extent - 1))
        high = data.draw(st.integers(low + 1, extent))
        words.append(f"{axis}={low}:{high}")
        index.append(slice(low, high))
    answer = call.get(f"{CUTOUT}&{'&'.join(words)}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.microtome.chunks"
    assert answer.headers["content-length"] == str(len(answer.content))
    np.testing.assert_array_equal(assemble(answer.content), stored[tuple(index)])
    assert call.app.state.service.gate.used == 0


def test_the_header_says_what_is_needed_to_decode(volume: tuple[Any, NDArray[Any]]) -> None:
    """Layer, version, axes, type, region and codecs, in a header that ends at 8 bytes."""
    call, voxels = volume
    answer = call.get(f"{CUTOUT}&z=3&y=4:20")
    header, data = take_apart(answer.content)
    assert (len(answer.content) - len(data)) % 8 == 0
    assert header["format"] == "microtome-chunks/1"
    assert header["layer_version"] == answer.headers["x-microtome-version"]
    named = {name: header[name] for name in ("layer", "level", "axes", "dtype", "dropped")}
    assert named == {"layer": "demo/brain/neurons", "level": 0, "axes": "zyx", "dtype": "uint16",
                     "dropped": "z"}  # fmt: skip
    assert (header["shape"], header["chunk_shape"]) == ([10, 20, 30], [8, 8, 8])
    assert (header["start"], header["stop"]) == ([3, 4, 0], [4, 20, 30])
    assert [codec["name"] for codec in header["codecs"]] == ["bytes", "zstd", "crc32c"]
    np.testing.assert_array_equal(assemble(answer.content), voxels[3:4, 4:20])
    by_accept = call.get(
        CUTOUT.removesuffix("?format=chunks"),
        headers={"Accept": "application/vnd.microtome.chunks"},
    )
    assert by_accept.headers["content-type"] == "application/vnd.microtome.chunks"
    etag = answer.headers["etag"]
    again = call.get(f"{CUTOUT}&z=3&y=4:20", headers={"If-None-Match": etag})
    assert again.status_code == 304


def test_chunks_far_apart_come_without_what_lies_between(
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """A thin region of a shard of large chunks is not the whole shard."""
    voxels = np.random.default_rng(0).integers(0, 255, (128, 128, 128), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    answer = connect(service_store).get(f"{CUTOUT}&x=0:1&z=0:128")
    np.testing.assert_array_equal(assemble(answer.content), voxels[:, :, :1])
    assert len(answer.content) < 0.6 * voxels.nbytes


def test_chunks_that_were_never_stored_are_named(
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """A shard that other software left out has chunks of the fill value: offset -1, length 0."""
    voxels = np.ones((10, 20, 30), "uint16")
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    service_store.remove("demo/brain/neurons/0/c/0/0/0")
    voxels[:, :16, :16] = 0
    answer = connect(service_store).get(CUTOUT)
    np.testing.assert_array_equal(assemble(answer.content), voxels)


def test_arrays_without_shards_give_their_chunks_too(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """What another writer stored chunk by chunk is given out likewise."""
    voxels = make_ramp((20, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "yx", voxels)
    path = Path(disk_store.url.removeprefix("file://")) / "demo/brain/neurons/0"
    array = zarr.create_array(str(path), shape=(20, 30), chunks=(8, 8), dtype="uint16",
                              overwrite=True, dimension_names=("y", "x"))  # fmt: skip
    array[...] = voxels
    answer = connect(disk_store).get(f"{CUTOUT}&y=5:20&x=7:9")
    np.testing.assert_array_equal(assemble(answer.content), voxels[5:20, 7:9])


@pytest.mark.parametrize("fault", ["lost", "empty", "cut", "index", "beyond", "chunk missing"])
def test_shards_that_are_lost_or_damaged_are_503(
    fault: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    shards: Callable[..., list[Path]],
) -> None:
    """Their chunks are never taken for zeros; the answer names the shard."""
    voxels = make_ramp((10, 20, 30), "uint16")
    make_builder(disk_store).layer(
        "demo/brain/neurons", "zyx", voxels, record={"schema_id": SCHEMA}
    )
    path = shards(disk_store)[0]
    body = bytearray(path.read_bytes())
    if fault == "lost":
        path.unlink()
    else:
        path.write_bytes(_broken(body, fault))
    answer = connect(disk_store).get(CUTOUT)
    assert answer.status_code == 503
    assert "shard 0/c/0/0/0" in answer.json()["detail"]


def _broken(body: bytearray, fault: str) -> bytes:
    if fault == "empty":
        return b""
    if fault == "cut":
        return bytes(body[:-7])
    if fault == "index":
        body[-20] ^= 1
        return bytes(body)
    rows = np.frombuffer(bytes(body[-132:-4]), "<u8").reshape(8, 2).copy()
    rows[2] = (2**64 - 1, 2**64 - 1) if fault == "chunk missing" else (len(body), 2**63)
    index = rows.tobytes()
    return bytes(body[:-132]) + index + google_crc32c.value(index).to_bytes(4, "little")


def test_what_costs_too_much_is_refused_before_it_is_read(
    volume: tuple[Any, NDArray[Any]], connect: Callable[..., Any]
) -> None:
    """The limits of any cutout hold, and one on the bytes of the chunks themselves."""
    store = volume[0].app.state.service.store
    assert connect(store, max_chunks=2).get(CUTOUT).status_code == 413
    assert connect(store, max_cutout_bytes=1000).get(CUTOUT).status_code == 413
    # One voxel is little, the chunk that holds it is not.
    answer = connect(store, max_cutout_bytes=100).get(f"{CUTOUT}&z=0&y=0&x=0")
    assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge")


def test_a_shard_replaced_meanwhile_ends_the_answer(
    stored_large: tuple[Any, Path],
) -> None:
    """Bytes of two states of a shard are never one answer: the connection is cut."""
    address, path = stored_large
    whole = path.read_bytes()
    last = sorted(path.parent.parent.parent.rglob("*/*/*"))[-1]
    with httpx.stream("GET", f"{address}{CUTOUT}") as answer:
        parts = answer.iter_raw()
        next(parts)
        last.write_bytes(whole)
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


@pytest.fixture
def stored_large(
    disk_store: Store,
    make_builder: Callable[..., Any],
    run_server: Callable[..., Any],
    shards: Callable[..., list[Path]],
) -> Any:  # noqa: ANN401 - a generator of address and path
    """A server of a layer of several shards of 8 MB, and the file of the first."""
    voxels = np.random.default_rng(0).integers(0, 255, (512, 256, 256), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=128)
    with run_server(disk_store) as address:
        yield address, shards(disk_store)[0]
