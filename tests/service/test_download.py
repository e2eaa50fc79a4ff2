"""Boxes as files that programs of people open, and their size before they are asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import nrrd
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.store.location import Store
from microtome_core.units import bytes_text

CUT = "/api/datasets/demo/brain/neurons/cutout"


@pytest.fixture
def dyes(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> tuple[Any, NDArray[Any]]:
    """A caller of a volume of two dyes, and its voxels."""
    voxels = np.random.default_rng(1).integers(0, 999, (2, 6, 20, 30)).astype("uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "czyx", voxels, levels=2)
    return connect(disk_store), voxels


def test_nrrd_holds_voxels_sizes_and_place(dyes: tuple[Any, NDArray[Any]], tmp_path: Path) -> None:
    """As pynrrd reads it: the voxels, their size, and where the box begins."""
    call, voxels = dyes
    answer = call.get(f"{CUT}?c=1&z=2:5&y=4:20&x=10:30&format=nrrd")
    assert answer.headers["content-type"] == "application/x-nrrd"
    (tmp_path / "box.nrrd").write_bytes(answer.content)
    data, header = nrrd.read(str(tmp_path / "box.nrrd"), index_order="C")
    assert np.array_equal(data, voxels[1, 2:5, 4:20, 10:30])
    assert np.array_equal(np.diag(header["space directions"]), [0.5, 0.5, 2.0])
    assert header["space origin"].tolist() == [5.0, 2.0, 4.0]
    assert header["space units"] == ["microns"] * 3


def test_nrrd_of_any_axes_is_read_back(dyes: tuple[Any, NDArray[Any]], tmp_path: Path) -> None:
    """Axes that were dropped are not there; a single voxel is one number."""
    call, voxels = dyes
    for words in ("", "&c=1", "&c=1&z=3", "&c=0&z=0&y=0&x=0"):
        (tmp_path / "box.nrrd").write_bytes(call.get(f"{CUT}?format=nrrd{words}").content)
        data, _ = nrrd.read(str(tmp_path / "box.nrrd"), index_order="C")
        index = tuple(int(w.split("=")[1]) for w in words.split("&")[1:])
        assert np.array_equal(np.squeeze(data), np.squeeze(voxels[index])), words


@pytest.mark.parametrize("words", ["", "&c=1&z=2:5&y=4:20&x=10:30", "&c=0&z=0&y=0&x=0"])
def test_a_zip_is_an_ome_zarr(words: str, dyes: tuple[Any, NDArray[Any]], tmp_path: Path) -> None:
    """As zarr-python and the models of OME-Zarr read it; the same box is the same bytes."""
    from ome_zarr_models.v05 import Image

    call, voxels = dyes
    answer = call.get(f"{CUT}?format=zarr{words}")
    assert answer.headers["content-disposition"].endswith('.ome.zarr.zip"')
    (tmp_path / "box.zip").write_bytes(answer.content)
    with zarr.storage.ZipStore(tmp_path / "box.zip", mode="r") as store:
        group = zarr.open_group(store, mode="r")
        box = np.asarray(group["0"][...])
        described = Image.from_zarr(group).attributes.ome
    cut = voxels[1, 2:5, 4:20, 10:30] if "2:5" in words else voxels
    assert np.array_equal(box, cut if "c=0" not in words else voxels[0, 0, :1, :1])
    scale, shift = described.multiscales[0].datasets[0].coordinateTransformations
    if "2:5" in words:
        assert (scale.scale, shift.translation) == ([2.0, 0.5, 0.5], [4.0, 2.0, 5.0])
        assert [channel["label"] for channel in described.omero["channels"]] == ["channel 1"]
    assert call.get(f"{CUT}?format=zarr{words}").content == answer.content


def test_the_page_tells_the_size_before(dyes: tuple[Any, NDArray[Any]]) -> None:
    """Without a script the form asks this page, which names voxels and bytes and offers the box."""
    call, _ = dyes
    page = call.get("/download/demo/brain/neurons?level=0&c=1&z=2:5&y=:&x=10:30&format=nrrd").text
    assert f"3 × 20 × 20 voxels, <strong>{bytes_text(3 * 20 * 20 * 2)}</strong>" in page
    assert f"{CUT}?level=0&amp;c=1&amp;z=2:5&amp;y=:&amp;x=10:30&amp;format=nrrd" in page


def test_a_box_that_cannot_be_is_told(dyes: tuple[Any, NDArray[Any]]) -> None:
    """The page says what is wrong, in place of a size."""
    for words, told in (("z=5:99", "6"), ("level=7", "no level 7"), ("format=doc", "tiff")):
        page = dyes[0].get(f"/download/demo/brain/neurons?{words}").text
        assert told in page.split('id="box-size"')[1].split("</p>")[0], words


def test_a_box_beyond_the_limit_is_told(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """What the service would refuse is said before it is asked for; NPY is streamed."""
    voxels = np.ones((8, 16, 16), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    call = connect(disk_store, max_cutout_bytes=1000)
    assert "choose a smaller box" in call.get("/download/demo/brain/neurons?format=tiff").text
    assert call.get(f"{CUT}?format=tiff").status_code == 413
    assert "smaller box" not in call.get("/download/demo/brain/neurons?format=npy").text


# Of 1 MB of voxels a part has at most 100 kB; chunks of a zip are of 64 by 256 by 256.
SMALL = {"max_cutout_bytes": 300_000, "slab_bytes": 100_000}


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, make_builder: Callable[..., Any]
) -> tuple[Store, NDArray[Any]]:
    """A store of a volume of which no part of a zip is a whole number of chunks."""
    store = Store(str(tmp_path_factory.mktemp("large")))
    dice = np.random.default_rng(2)
    voxels = dice.integers(0, 2, (2, 66, 30, 260)).astype("uint8")
    voxels[1, :64, :, :256] = 0
    make_builder(store).layer("demo/brain/neurons", "czyx", voxels)
    return store, voxels


@pytest.mark.parametrize("words", ["", "&c=0&z=3:66&y=5:29&x=2:260", "&z=5&y=1:3"])
def test_boxes_larger_than_memory_are_streamed(
    words: str,
    large: tuple[Store, NDArray[Any]],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """As OME-Zarr in a zip, and as NRRD, whose bytes are those of an answer read at once."""
    store, voxels = large
    index = {"": (), "&z=5&y=1:3": (slice(None), 5, slice(1, 3))}
    cut = voxels[index.get(words, (0, slice(3, 66), slice(5, 29), slice(2, 260)))]
    small, whole = connect(store, **{**SMALL, "max_cutout_bytes": 13_000_000}), connect(store)
    answer = small.get(f"{CUT}?format=zarr{words}")
    (tmp_path / "box.zip").write_bytes(answer.content)
    with zarr.storage.ZipStore(tmp_path / "box.zip", mode="r") as opened:
        box = np.asarray(zarr.open_group(opened, mode="r")["0"][...])
    assert np.array_equal(box, cut)
    with ZipFile(tmp_path / "box.zip") as archive:
        assert archive.testzip() is None
        # A chunk of zeros is not stored.
        assert ("0/c/1/0/0/0" in archive.namelist()) is False
        assert archive.namelist()[:2] == ["zarr.json", "0/zarr.json"]
    small = connect(store, **SMALL)
    streamed, read = (call.get(f"{CUT}?format=nrrd{words}") for call in (small, whole))
    assert streamed.content == read.content
    assert int(streamed.headers["content-length"]) == len(streamed.content)


def test_a_zip_that_fails_on_the_way_is_broken_off(
    large: tuple[Store, NDArray[Any]], run_server: Callable[..., Any], tmp_path: Path
) -> None:
    """Nobody takes a part of it for the whole."""
    store = Store(str(shutil.copytree(large[0].url.removeprefix("file://"), tmp_path / "root")))
    shards = sorted((tmp_path / "root/demo/brain/neurons/0/c").rglob("*"))
    last = [path for path in shards if path.is_file()][-1]
    data = bytearray(last.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    last.write_bytes(data)
    with (
        run_server(store, **{**SMALL, "max_cutout_bytes": 13_000_000}) as url,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        httpx.get(f"{url}{CUT}?format=zarr")


def test_the_form_offers_what_is_streamed_and_refuses_what_is_not(
    large: tuple[Store, NDArray[Any]], connect: Callable[..., Any]
) -> None:
    """A TIFF is made whole; it says how many bytes it may have, and what to do."""
    call, page = connect(large[0], **SMALL), "/download/demo/brain/neurons?z=:&y=:&x=:&c=:"
    for form in ("nrrd", "npy", "zarr"):
        assert "choose a smaller box" not in call.get(f"{page}&format={form}").text, form
    assert "choose a smaller box" in call.get(f"{page}&format=tiff").text
    refused = call.get(f"{CUT}?format=tiff")
    assert refused.status_code == 413
    assert "300000" in refused.json()["detail"]
