"""Every format holds the voxels that were stored, and says what it cannot hold."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from microtome_core.store.location import Store

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"
DTYPES = ("uint8", "uint16", "int16", "uint32", "uint64", "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["npy", "raw", "blosc", "zstd", "tiff"])
def test_every_format_gives_back_the_same_voxels(
    name: str,
    dtype: str,
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """Each format decodes to exactly the voxels, dtype included, that were stored."""
    voxels = make_ramp((10, 20, 30), dtype)
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    answer = connect(service_store).get(f"{CUTOUT}?z=2:7&y=3:19&x=1:30&format={name}")
    decoded = decode(answer)
    assert decoded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(decoded, voxels[2:7, 3:19, 1:30])
    assert answer.headers["x-microtome-shape"] == "5,16,29"
    assert answer.headers["x-microtome-axes"] == "zyx"
    assert answer.headers["x-microtome-dtype"] == dtype
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_holds_a_plane_exactly(
    dtype: str,
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """A grey PNG of any two axes has the voxels themselves, rows being the first axis."""
    voxels = make_ramp((10, 20, 30), dtype)
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    call = connect(service_store)
    xy = decode(call.get(f"{CUTOUT}?z=4&format=png"))
    np.testing.assert_array_equal(xy, voxels[4])
    zx = decode(call.get(f"{CUTOUT}?y=7:8&x=2:11", headers={"Accept": "image/png"}))
    np.testing.assert_array_equal(zx, voxels[:, 7, 2:11])


def test_three_channels_of_bytes_are_a_colour_picture(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """uint8 with c of 3 becomes an RGB PNG exactly, and a JPEG of the same size."""
    voxels = make_ramp((3, 20, 30), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "cyx", voxels)
    call = connect(service_store)
    png = decode(call.get(f"{CUTOUT}?format=png"))
    np.testing.assert_array_equal(png, np.moveaxis(voxels, 0, -1))
    assert decode(call.get(f"{CUTOUT}?format=jpeg")).shape == (20, 30, 3)


def test_jpeg_is_close_to_the_plane(
    service_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    decode: Callable[..., NDArray[Any]],
) -> None:
    """A grey JPEG of a smooth plane differs from it by few counts."""
    plane = np.add.outer(np.arange(32), np.arange(40)).astype("uint8") * 3
    make_builder(service_store).layer("demo/brain/neurons", "yx", plane)
    picture = decode(connect(service_store).get(f"{CUTOUT}?format=jpeg"))
    assert np.abs(picture.astype(int) - plane).max() < 8


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("format=png", "one plane"),
        ("z=1&format=jpeg", "uint8"),
        ("format=docx", "npy, raw, blosc, zstd, png, jpeg, tiff"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_a_way_out(
    query: str, words: str, volume: tuple[Any, NDArray[Any]]
) -> None:
    """A picture of a volume, a JPEG of uint16 and an unknown format are 400 with the reason."""
    answer = volume[0].get(f"{CUTOUT}?{query}")
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/x-npy"),
        ("application/blosc", "application/blosc"),
        ("image/tiff;q=0.4, application/zstd;q=0.6", "application/zstd"),
        ("text/html, application/octet-stream", "application/octet-stream"),
    ],
)
def test_the_accept_header_chooses_the_format(
    accept: str, expected: str, volume: tuple[Any, NDArray[Any]]
) -> None:
    """Without `format` the Accept header decides; with it, it does not."""
    call, _ = volume
    answer = call.get(f"{CUTOUT}?z=1", headers={"Accept": accept})
    assert answer.headers["content-type"] == expected
    assert "Accept" in answer.headers["vary"]
    wins = call.get(f"{CUTOUT}?z=1&format=tiff", headers={"Accept": accept})
    assert wins.headers["content-type"] == "image/tiff"


def test_nothing_acceptable_is_406(volume: tuple[Any, NDArray[Any]]) -> None:
    """An Accept header that leaves no format is 406 and names those that there are."""
    answer = volume[0].get(CUTOUT, headers={"Accept": "video/mp4"})
    assert answer.status_code == 406
    assert "application/x-npy" in answer.json()["detail"]


def test_tiff_keeps_axes_voxel_size_and_channels(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """The OME-XML of a TIFF says what the layer says, of the level that was asked for."""
    voxels = make_ramp((2, 10, 20, 30), "uint16")
    make_builder(service_store).layer("demo/brain/neurons", "czyx", voxels, levels=2)
    answer = connect(service_store).get(f"{CUTOUT}?level=1&z=1:4&format=tiff")
    with tifffile.TiffFile(BytesIO(answer.content)) as tiff:
        assert tiff.series[0].axes == "CZYX"
        assert tiff.series[0].shape == (2, 3, 10, 15)
        metadata = tifffile.xml2dict(tiff.ome_metadata or "")
    pixels = metadata["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeX"]) == (4.0, 1.0)
    assert pixels["PhysicalSizeXUnit"] == "µm"
    assert [channel["Name"] for channel in pixels["Channel"]] == ["channel 0", "channel 1"]


def test_tiff_of_one_line_still_has_a_plane(
    volume: tuple[Any, NDArray[Any]], decode: Callable[..., NDArray[Any]]
) -> None:
    """A dropped y comes back with extent 1, for every TIFF has rows and columns."""
    call, voxels = volume
    decoded = decode(call.get(f"{CUTOUT}?y=7&format=tiff"))
    np.testing.assert_array_equal(decoded.squeeze(), voxels[:, 7])
