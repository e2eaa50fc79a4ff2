"""Any region of any layer comes back as the voxels that were stored, or as a clear error."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.store.location import Store

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"
SHAPES = {
    "yx": (20, 30),
    "zyx": (10, 20, 30),
    "czyx": (2, 5, 20, 30),
    "tczyx": (2, 3, 5, 10, 12),
}


@pytest.mark.parametrize("axes", SHAPES)
def test_layers_have_two_to_five_axes(
    axes: str,
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """An axis that is not named comes whole, and one index drops its axis."""
    voxels = make_ramp(SHAPES[axes], "uint16")
    make_builder(service_store).layer("demo/brain/neurons", axes, voxels)
    call = connect(service_store)
    np.testing.assert_array_equal(decode(call.get(CUTOUT)), voxels)
    answer = call.get(f"{CUTOUT}?{axes[0]}=1&y=5:6")
    expected = voxels[1] if axes[0] == "y" else voxels[1][..., 5:6, :]
    if axes[0] == "y":
        assert answer.status_code == 400
        answer = call.get(f"{CUTOUT}?y=1")
    np.testing.assert_array_equal(decode(answer), expected)
    assert answer.headers["x-microtome-axes"] == axes[1:]


def test_a_channel_is_named_by_its_number_or_its_name(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """Either drops the axis; a name that no channel has is refused."""
    voxels = make_ramp((2, 20, 30), "uint16")
    make_builder(service_store).layer("demo/brain/neurons", "cyx", voxels)
    call = connect(service_store)
    named = call.get(CUTOUT, params={"c": "channel 1"})
    np.testing.assert_array_equal(decode(named), voxels[1])
    for word in ("EYFP", "Channel 1", "channel 1:"):
        refused = call.get(CUTOUT, params={"c": word})
        assert refused.status_code == 400
        assert "expected a name of 'channel 0', 'channel 1'" in refused.json()["detail"]


def test_a_number_is_a_name_where_no_channel_has_it(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """Laser lines name channels; one that is called 1 is not meant by the number 1."""
    voxels = make_ramp((3, 20, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "cyx", voxels)
    path = "demo/brain/neurons/zarr.json"
    document = json.loads(disk_store.read(path) or b"")
    channels = document["attributes"]["ome"]["omero"]["channels"]
    for channel, name in zip(channels, ("1", "561", "488"), strict=True):
        channel["label"] = name
    disk_store.write(path, json.dumps(document).encode())
    call = connect(disk_store)
    for word, place in (("1", 1), ("561", 1), ("488", 2)):
        found = decode(call.get(CUTOUT, params={"c": word}))
        np.testing.assert_array_equal(found, voxels[place])
    assert call.get(CUTOUT, params={"c": "405"}).status_code == 400


def test_a_channel_without_a_name_is_not_the_only_one(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """Whoever names no channel gets all, whatever other software calls them."""
    voxels = make_ramp((2, 20, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "cyx", voxels)
    path = "demo/brain/neurons/zarr.json"
    document = json.loads(disk_store.read(path) or b"")
    document["attributes"]["ome"]["omero"]["channels"][0]["label"] = ""
    disk_store.write(path, json.dumps(document).encode())
    np.testing.assert_array_equal(decode(connect(disk_store).get(CUTOUT)), voxels)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_cutout_is_what_numpy_indexing_gives(
    data: st.DataObject, volume: tuple[Any, NDArray[Any]], decode: Callable[..., NDArray[Any]]
) -> None:
    """For every level and every range or index of each axis, the answer equals NumPy's."""
    call, voxels = volume
    level = data.draw(st.integers(0, 1))
    stored = voxels[tuple(slice(None, None, 2**level) for _ in range(3))]
    words, index = [f"level={level}"], []
    for axis, extent in zip("zyx", stored.shape, strict=True):
        low = data.draw(st.integers(0, extent - 1))
        high = data.draw(st.integers(low + 1, extent))
        single = data.draw(st.booleans())
        words.append(f"{axis}={low}" if single else f"{axis}={low}:{high}")
        index.append(low if single else slice(low, high))
    answer = call.get(f"{CUTOUT}?{'&'.join(words)}&format=raw")
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(decode(answer), stored[tuple(index)])


def test_single_voxel_of_all_axes_is_a_scalar(
    volume: tuple[Any, NDArray[Any]], decode: Callable[..., NDArray[Any]]
) -> None:
    """When every axis is given by one index, npy holds an array of no axes."""
    call, voxels = volume
    decoded = decode(call.get(f"{CUTOUT}?z=3&y=4&x=5"))
    assert decoded.shape == ()
    assert decoded == voxels[3, 4, 5]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("z=0:11", 400, "z=0:10"),
        ("z=10", 400, "z=0:10"),
        ("z=-1:0", 400, "z=0:10"),
        ("x=5:5", 400, "x=0:30"),
        ("x=9:3", 400, "x=0:30"),
        ("y=0:" + "9" * 26, 400, "y=0:20"),
        ("y=" + "9" * 26, 400, "y=0:20"),
        ("y=٣", 400, "y=0:20"),
        ("t=0", 400, "'zyx'"),
        ("level=2", 404, "0 to 1"),
        ("level=-1", 422, "level"),
        ("level=" + "9" * 26, 422, "level"),
        ("level=one", 422, "level"),
        ("Z=1:2", 400, "'Z'"),
        ("z=1:2&z=3:4", 400, "more than once"),
        ("format=", 400, "npy"),
    ],
)
def test_words_that_cannot_be_read_are_named(
    query: str, status: int, words: str, volume: tuple[Any, NDArray[Any]]
) -> None:
    """Each fault has its status, is a problem document, and names what would be valid."""
    answer = volume[0].get(f"{CUTOUT}?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert answer.json()["status"] == status
    assert len(answer.text) < 1000


def test_who_has_the_answer_gets_304(volume: tuple[Any, NDArray[Any]]) -> None:
    """A strong ETag names version, region and format; with it nothing is sent again."""
    call, _ = volume
    first = call.get(f"{CUTOUT}?z=1:3")
    etag = first.headers["etag"]
    assert not etag.startswith("W/")
    again = call.get(f"{CUTOUT}?z=1:3", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == etag
    # The same region in other words is the same answer.
    assert call.get(f"{CUTOUT}?z=1:3&y=0:20").headers["etag"] == etag
    for other in ("z=1:4", "z=1:3&format=raw", "level=1&z=1:3"):
        assert call.get(f"{CUTOUT}?{other}").headers["etag"] != etag
    assert call.get(f"{CUTOUT}?z=1").headers["etag"] != call.get(f"{CUTOUT}?z=1:2").headers["etag"]


def test_head_of_a_compressed_cutout_has_no_length(volume: tuple[Any, NDArray[Any]]) -> None:
    """What only encoding would tell is left out."""
    answer = volume[0]("HEAD", f"{CUTOUT}?format=zstd")
    assert answer.status_code == 200
    assert "content-length" not in answer.headers


def test_a_real_socket_carries_the_same_bytes(
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    run_server: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """Over uvicorn, several cutouts on one connection are complete and exact."""
    voxels = make_ramp((64, 128, 130), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=32)
    with run_server(disk_store) as address, httpx.Client(base_url=address) as client:
        for low in (0, 5, 30):
            answer = client.get(f"{CUTOUT}?z={low}:{low + 33}&format=npy")
            np.testing.assert_array_equal(decode(answer), voxels[low : low + 33])


@pytest.mark.parametrize(("alias", "name"), [("tif", "tiff"), ("jpg", "jpeg")])
def test_endings_of_files_are_names_of_formats(
    alias: str,
    name: str,
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """What people call the files by is understood, and gives the same answer."""
    make_builder(service_store).layer("demo/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    call = connect(service_store)
    url = "/api/datasets/demo/brain/neurons/cutout?format="
    short, full = call.get(url + alias), call.get(url + name)
    assert short.status_code == 200
    assert (short.content, short.headers["etag"]) == (full.content, full.headers["etag"])


@pytest.mark.parametrize(("name", "ending"), [("npy", "npy"), ("zstd", "zst"), ("tiff", "ome.tif")])
def test_a_cutout_has_a_name_to_save_by(
    name: str,
    ending: str,
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Layer, level and region make the name that a browser saves the body by."""
    voxels = np.ones((4, 8, 8), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    query = f"z=2&y=1:5&format={name}"
    answer = connect(service_store).get(f"/api/datasets/demo/brain/neurons/cutout?{query}")
    expected = f'inline; filename="neurons-0-z2-3_y1-5_x0-8.{ending}"'
    assert answer.headers["content-disposition"] == expected
