"""Tiles are what an independent computation of window, colour and blend gives."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from microtome_core.store.location import Store

LAYER = "/api/datasets/demo/brain/neurons"


def picture(answer: httpx.Response) -> NDArray[Any]:
    """Read a picture as Pillow does."""
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)))


def windowed(plane: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    """Return brightness from 0 to 1, in float64."""
    return np.clip((plane.astype(float) - low) / (high - low), 0, 1)


@pytest.fixture
def volume(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> tuple[Any, NDArray[Any]]:
    """A caller of a store with a two-channel volume shown in green and magenta, and its voxels."""
    voxels = make_ramp((2, 12, 40, 50), "uint8")
    make_builder(service_store).layer("demo/brain/neurons", "czyx", voxels, levels=2)
    return connect(service_store), voxels


def test_a_tile_blends_the_channels_in_their_own_colours(
    volume: tuple[Any, NDArray[Any]],
) -> None:
    """Unasked, the layer's windows (0 to 200) and colours are summed and clipped."""
    call, voxels = volume
    green, magenta = windowed(voxels[:, 5], 0, 200) * 255
    expected = np.rint(np.stack([magenta, green, magenta], axis=-1))
    tile = picture(call.get(f"{LAYER}/tiles/xy/0/5/0/0.png"))
    assert np.abs(tile.astype(float) - expected).max() <= 1


@pytest.mark.parametrize("blend", ["additive", "max"])
def test_windows_colours_gamma_and_blend_are_chosen_by_the_caller(
    blend: str, volume: tuple[Any, NDArray[Any]]
) -> None:
    """Each channel is windowed, raised to gamma, coloured, then summed or the brighter taken."""
    call, voxels = volume
    query = f"window=10:100,50:250&color=FF8000&color=FF0040&gamma=0.5&blend={blend}"
    tile = picture(call.get(f"{LAYER}/tiles/xy/0/5/0/0.png?{query}"))
    first = windowed(voxels[0, 5], 10, 100)[..., None] ** 0.5 * np.array([255, 128, 0])
    second = windowed(voxels[1, 5], 50, 250)[..., None] ** 0.5 * np.array([255, 0, 64])
    both = np.minimum(first + second, 255) if blend == "additive" else np.maximum(first, second)
    assert np.abs(tile.astype(float) - np.rint(both)).max() <= 1


def test_one_white_channel_is_a_grey_picture(volume: tuple[Any, NDArray[Any]]) -> None:
    """A grey colour needs one value a pixel, and a full window shows bytes as they are."""
    call, voxels = volume
    tile = picture(call.get(f"{LAYER}/tiles/xy/0/5/0/0.png?channels=1&color=FFFFFF&window=0:255"))
    np.testing.assert_array_equal(tile, voxels[1, 5])


@pytest.mark.parametrize(
    ("plane", "index", "cut"),
    [
        ("xy", 3, lambda v: v[3]),
        ("xz", 7, lambda v: v[:, 7]),
        ("yz", 9, lambda v: v[:, :, 9].T),
    ],
)
def test_planes_lie_as_in_orthogonal_views(
    plane: str,
    index: int,
    cut: Callable[[NDArray[Any]], NDArray[Any]],
    volume: tuple[Any, NDArray[Any]],
) -> None:
    """Rows and columns are y and x, z and x, y and z."""
    call, voxels = volume
    query = "channels=0&color=FFFFFF&window=0:255"
    tile = picture(call.get(f"{LAYER}/tiles/{plane}/0/{index}/0/0.png?{query}"))
    np.testing.assert_array_equal(tile, cut(voxels[0]))


def test_tiles_put_together_are_the_plane(volume: tuple[Any, NDArray[Any]]) -> None:
    """Tiles of 16 abut, and those at the edge are clipped to the volume."""
    call, voxels = volume
    query = "size=16&channels=0&color=FFFFFF&window=0:255"
    rows = [
        np.hstack(
            [picture(call.get(f"{LAYER}/tiles/xy/0/2/{r}/{c}.png?{query}")) for c in range(4)]
        )
        for r in range(3)
    ]
    np.testing.assert_array_equal(np.vstack(rows), voxels[0, 2])


def test_a_coarser_level_has_tiles_of_its_own(volume: tuple[Any, NDArray[Any]]) -> None:
    """Index, row and column count in voxels of the level that is asked for."""
    call, voxels = volume
    query = "channels=0&color=FFFFFF&window=0:255"
    tile = picture(call.get(f"{LAYER}/tiles/xy/1/5/0/0.png?{query}"))
    np.testing.assert_array_equal(tile, voxels[0, 10, ::2, ::2])


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "webp"])
def test_lossy_tiles_are_close_to_the_exact_one(
    extension: str, service_store: Store, make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:  # fmt: skip
    """JPEG and WebP of a smooth plane differ from the PNG by few counts."""
    plane = np.add.outer(np.arange(64), np.arange(64)).astype("uint8")
    make_builder(service_store).layer("demo/brain/neurons", "yx", plane)
    call = connect(service_store)
    exact = picture(call.get(f"{LAYER}/tiles/xy/0/0/0/0.png?color=FFFFFF"))
    lossy = picture(call.get(f"{LAYER}/tiles/xy/0/0/0/0.{extension}?color=FFFFFF"))
    grey = lossy if lossy.ndim == 2 else lossy[..., 1]
    assert np.abs(grey.astype(int) - exact).max() < 10


def test_labels_have_one_stable_colour_an_id(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Equal ids look equal, different ids different, 0 is transparent, and black in JPEG."""
    builder = make_builder(service_store)
    ids = np.kron(np.array([[0, 1], [2**40, 1]]), np.ones((16, 16))).astype("uint64")[None]
    builder.layer("demo/brain/image", "zyx", ids.astype("uint8"))
    builder.layer("demo/brain/neurons", "zyx", ids, labels_of="image")
    call = connect(service_store)
    for extension in ("png", "webp"):
        tile = picture(call.get(f"{LAYER}/tiles/xy/0/0/0/0.{extension}"))
        assert tile.shape == (32, 32, 4)
        assert not tile[:16, :16].any()
        assert (tile[:16, 16:] == tile[16:, 16:]).all()
        assert tile[31, 0].tolist() != tile[31, 31].tolist()
        assert (tile[16:, :, 3] == 255).all()
        assert tile[16:, :, :3].min() >= 64
    for word in ("color=FF0000", "window=0:9"):
        answer = call.get(f"{LAYER}/tiles/xy/0/0/0/0.png?{word}")
        assert answer.status_code == 400
        assert "labels have no window and no color" in answer.json()["detail"]
    black = picture(call.get(f"{LAYER}/tiles/xy/0/0/0/0.jpg"))
    assert black.shape == (32, 32, 3)
    assert black[:12, :12].max() < 12


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("xy/0/12/0/0.png", 404, "index 12 on axis z is outside of the level: valid is 0 to 11"),
        ("xy/0/0/1/0.png", 404, "row 1 of tiles on axis y"),
        ("xy/0/0/0/1.png", 404, "column 1"),
        ("xy/2/0/0/0.png", 404, "0 to 1"),
        ("zx/0/0/0/0.png", 422, "plane"),
        ("xy/0/0/0/0.gif", 422, "extension"),
        ("xy/0/-1/0/0.png", 422, "index"),
        ("xy/0/0/0/" + "9" * 26 + ".png", 422, "col"),
        ("xy/0/0/0/0.png?size=8", 422, "size"),
        ("xy/0/0/0/0.png?t=1", 400, "0 to 0"),
        ("xy/0/0/0/0.png?channels=2", 400, "0 to 1"),
        ("xy/0/0/0/0.png?channels=a", 400, "0,2"),
        ("xy/0/0/0/0.png?channels=", 400, "0,2"),
        ("xy/0/0/0/0.png?window=5:5", 400, "LOW < HIGH"),
        ("xy/0/0/0/0.png?window=0:inf", 400, "LOW < HIGH"),
        ("xy/0/0/0/0.png?window=0:1e-310", 400, "LOW < HIGH"),
        ("xy/0/0/0/0.png?window=0:1,0:2,0:3", 400, "1 or 2"),
        ("xy/0/0/0/0.png?color=red", 400, "RRGGBB"),
        ("xy/0/0/0/0.png?gamma=0", 422, "gamma"),
        ("xy/0/0/0/0.png?blend=mix", 422, "blend"),
        ("xy/0/0/0/0.png?colour=FF0000", 400, "'colour'"),
    ],
)
def test_a_tile_that_is_not_there_is_told_with_the_valid_range(
    path: str, status: int, words: str, volume: tuple[Any, NDArray[Any]]
) -> None:
    """Addresses outside of the volume are 404, words that cannot be read 400 or 422."""
    answer = volume[0].get(f"{LAYER}/tiles/{path}")
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_a_plane_that_needs_z_is_404_without_it(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A planar layer has xy, index 0, and no other plane."""
    make_builder(service_store).layer("demo/brain/neurons", "yx", np.ones((20, 20), "uint8"))
    call = connect(service_store)
    assert call.get(f"{LAYER}/tiles/xy/0/0/0/0.png").status_code == 200
    assert call.get(f"{LAYER}/tiles/xz/0/0/0/0.png").status_code == 404


def test_tiles_are_not_sent_twice(volume: tuple[Any, NDArray[Any]]) -> None:
    """A tile has an ETag, differs by what it shows, and may be kept for a while."""
    call, _ = volume
    url = f"{LAYER}/tiles/xy/0/5/0/0.png"
    first = call.get(url)
    again = call.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert call.get(f"{url}?gamma=2").headers["etag"] != first.headers["etag"]
    assert "max-age=60" in first.headers["cache-control"]


def test_channels_of_a_tile_count_together(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Each channel may be within the limit on decoded chunks and all of them beyond it: 413."""
    voxels = np.zeros((3, 8, 8, 8), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "czyx", voxels)
    call = connect(disk_store, max_decoded_bytes=2 * 8**3)
    url = f"{LAYER}/tiles/xy/0/5/0/0.png"
    assert call.get(f"{url}?channels=0,1").status_code == 200
    answer = call.get(f"{url}?channels=0,1,2")
    assert answer.status_code == 413
    assert "1536 bytes of chunks to decode" in answer.json()["detail"]
    assert call("HEAD", f"{url}?channels=0,1,2").status_code == 413


def test_a_thumbnail_projects_the_depth_and_keeps_the_aspect_of_tissue(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """One bright voxel at any depth is seen, in a picture as wide as the tissue is long."""
    voxels = np.zeros((12, 40, 80), "uint8")
    voxels[2, 10, 20] = 200
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    small = picture(connect(service_store).get(f"{LAYER}/thumbnail.png?size=80"))
    assert small.shape == (40, 80, 3)
    assert small[10, 20].tolist() == [0, 255, 0]
    assert np.count_nonzero(small) == 1


def test_a_thumbnail_reads_no_more_than_allowed(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Where the depth costs too much, the middle plane is shown; where that does, a coarser level;
    where that does, the answer is 413.
    """
    voxels = np.zeros((16, 32, 32), "uint8")
    voxels[2], voxels[8] = 200, 100
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    brightest = {}
    for allowed in (16 * 32 * 32, 16 * 32 * 32 - 1, 8 * 16 * 16 - 1):
        call = connect(disk_store, max_thumbnail_bytes=allowed)
        answer = call.get(f"{LAYER}/thumbnail.png?size=32")
        brightest[allowed] = picture(answer).max() if answer.status_code == 200 else 413
    assert list(brightest.values()) == [255, 128, 413]


def test_a_thumbnail_is_chosen_by_the_limit_of_cutouts_too(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Where a cutout of the depth would be refused, the thumbnail is of the middle plane."""
    voxels = np.zeros((16, 32, 32), "uint8")
    voxels[2], voxels[8] = 200, 100
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    call = connect(disk_store, max_cutout_bytes=16 * 32 * 32 - 1)
    assert picture(call.get(f"{LAYER}/thumbnail.png?size=32")).max() == 128


def test_a_thumbnail_of_labels_mixes_no_colours(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Labels are shown in exactly the colours of the tiles."""
    builder = make_builder(service_store)
    ids = np.random.default_rng(3).integers(0, 5, (6, 30, 30), "uint16")
    ids[:, :10, :10] = 0
    ids[4, :10, :10], ids[5, :10, :10] = 2, 4
    builder.layer("demo/brain/image", "zyx", ids)
    builder.layer("demo/brain/neurons", "zyx", ids, labels_of="image")
    call = connect(service_store)
    tile = picture(call.get(f"{LAYER}/tiles/xy/0/3/0/0.png"))
    small = picture(call.get(f"{LAYER}/thumbnail.png?size=16"))
    colours = {tuple(pixel) for pixel in tile.reshape(-1, 4).tolist()}
    assert {tuple(pixel) for pixel in small.reshape(-1, 4).tolist()} <= colours
    # The middle plane is empty there; the first id below it is seen.
    below = picture(call.get(f"{LAYER}/tiles/xy/0/4/0/0.png"))
    np.testing.assert_array_equal(small[0, 0], below[0, 0])
