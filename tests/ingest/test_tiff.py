"""TIFF: every flavour reads as an independent reader does, or is refused."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import RegionError, SourceError
from microtome_core.region import Region
from microtome_ingest.source import Source
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.tiff import open_image, scenes

STACK = np.random.default_rng(1).integers(0, 60000, (6, 70, 50), "uint16")
COLOUR = np.random.default_rng(2).integers(0, 255, (2, 40, 60, 3), "uint8")

Writer = Callable[[Path], NDArray[Any]]


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def written(data: NDArray[Any], **options: object) -> Writer:
    """Return a function that writes `data` as TIFF and returns it."""

    def write(path: Path) -> NDArray[Any]:
        tifffile.imwrite(path, data, **options)
        return data

    return write


def pages_apart(path: Path) -> NDArray[Any]:
    """Write pages one by one, their directories between them."""
    with tifffile.TiffWriter(path) as writer:
        for plane in STACK:
            writer.write(plane, contiguous=False, metadata=None, rowsperstrip=7)
    return STACK


GREY = {"photometric": "minisblack"}
FLAVOURS: dict[str, Writer] = {
    "contiguous": written(STACK, **GREY),
    "bigtiff": written(STACK, bigtiff=True, **GREY),
    "big-endian": written(STACK, byteorder=">", **GREY),
    "imagej": written(STACK, imagej=True, metadata={"axes": "ZYX"}),
    "strips": written(STACK, compression="zlib", rowsperstrip=16, **GREY),
    "lzw and predictor": written(STACK, compression="lzw", predictor=True, **GREY),
    "zstd tiles": written(STACK, compression="zstd", tile=(32, 16), **GREY),
    "raw tiles": written(STACK, tile=(32, 16), byteorder=">", **GREY),
    "pages apart": pages_apart,
    "colour": written(COLOUR, photometric="rgb"),
    "colour planes": written(np.moveaxis(COLOUR, 3, 1), photometric="rgb", planarconfig="separate"),
    "colour tiles": written(COLOUR, photometric="rgb", tile=(16, 16), compression="zlib"),
    "ome": written(STACK[None], ome=True, metadata={"axes": "TZYX"}),
    "ome tiles": written(STACK, ome=True, metadata={"axes": "CYX"}, tile=(32, 32), compression=8),
    "ome colour": written(COLOUR, ome=True, photometric="rgb", metadata={"axes": "ZYXS"}),
    "volumetric tiles": written(STACK, volumetric=True, tile=(16, 16, 16), compression=8, **GREY),
    "float": written(STACK.astype("float32") / 7, predictor=3, compression="zlib", **GREY),
    "negative": written(STACK.astype("int16"), **GREY),
    "one page": written(STACK[0], rowsperstrip=5),
}  # fmt: skip


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, NDArray[Any]]:
    """Return a file of each flavour and what it holds."""
    path = tmp_path / f"{request.param}.tif"
    return str(path), FLAVOURS[request.param](path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_flavour_equals_the_array(
    flavour: tuple[str, NDArray[Any]], data: st.DataObject
) -> None:
    """A region read from the file equals the same part of what was written."""
    path, array = flavour
    source = open_image(path)
    axes, shape = source.description.axes, source.description.shape
    expected = array.reshape(shape)
    edges = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    region = Region(axes, tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    np.testing.assert_array_equal(source.read(region), expected[region.slices], strict=True)


def test_flavours_keep_type_and_block(flavour: tuple[str, NDArray[Any]]) -> None:
    """The type is the array's, and a block lies within the array along every axis."""
    path, array = flavour
    found = open_image(path).description
    assert found.dtype == array.dtype.name
    assert len(found.block) == len(found.shape) == len(found.axes) == len(set(found.axes))
    assert all(0 < block <= extent for block, extent in zip(found.block, found.shape, strict=True))


@pytest.mark.parametrize("at", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_file_cut_off_is_refused_or_whole(flavour: tuple[str, NDArray[Any]], at: float) -> None:
    """A file that ends early never gives fewer planes or other voxels."""
    path, array = flavour
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * at)])
    try:
        found = whole(open_image(path))
    except SourceError:
        return
    np.testing.assert_array_equal(found.reshape(array.shape), array)


def test_threads_read_the_same_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression="zlib", rowsperstrip=8, photometric="minisblack")
    source = open_image(str(path))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(24)]
        assert all(np.array_equal(job.result(), STACK) for job in jobs)


def test_wrong_regions_are_refused(tmp_path: Path) -> None:
    """A region of other axes or out of bounds is an error, not a cut."""
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    source = open_image(str(tmp_path / "a.tif"))
    with pytest.raises(RegionError, match="expected axes 'yx'"):
        source.read(Region("xy", (0, 0), (1, 1)))
    with pytest.raises(RegionError, match="valid is y=0:70"):
        source.read(Region("yx", (0, 0), (71, 1)))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """A file cut off after it was opened gives an error and does not end the process."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack")
    source = open_image(str(path))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SourceError, match="changed since it was opened"):
        whole(source)


def test_several_images_are_listed_instead_of_the_first(tmp_path: Path) -> None:
    """A file of several images opens only by number, and the error lists them."""
    path = str(tmp_path / "a.tif")
    with tifffile.TiffWriter(path) as writer:
        writer.write(STACK, photometric="minisblack")
        writer.write(STACK[0, :30, :20])
    assert [scene.shape for scene in scenes(path)] == [(6, 70, 50), (30, 20)]
    with pytest.raises(SourceError, match=r"--scene N: 0: .*70.*; 1: .*30 × 20"):
        open_image(path)
    with pytest.raises(SourceError, match="no scene 2"):
        open_image(path, 2)
    np.testing.assert_array_equal(whole(open_image(path, 1)), STACK[0, :30, :20])


def test_half_as_large_is_a_level_only_where_a_flag_says_so(tmp_path: Path) -> None:
    """A second image of half the size stands alone; one marked as reduced is a pyramid's level."""
    for flag, count in ((0, 2), (1, 1)):
        path = str(tmp_path / f"{flag}.tif")
        with tifffile.TiffWriter(path) as writer:
            writer.write(STACK[0], metadata=None, tile=(16, 16))
            writer.write(STACK[0, ::2, ::2], metadata=None, tile=(16, 16), subfiletype=flag)
        assert len(scenes(path)) == count
        np.testing.assert_array_equal(whole(open_image(path, 0)), STACK[0])


def test_an_ome_pyramid_reads_its_finest_level(tmp_path: Path) -> None:
    """SubIFDs are levels, not images."""
    path = str(tmp_path / "a.ome.tif")
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(STACK, subifds=1, tile=(32, 32), metadata={"axes": "ZYX"})
        writer.write(STACK[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    np.testing.assert_array_equal(whole(open_image(path)), STACK)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_a_small_file_that_claims_much_is_refused(tmp_path: Path, compression: int) -> None:
    """222 bytes that claim 391 GiB are refused before memory is asked for."""
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((16, 16), "uint8"), compression=compression, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tags = tif.pages.first.tags
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tags[tag].overwrite(65000)
    with pytest.raises(SourceError, match=r"claims|shorter|truncated"):
        open_image(str(path))


def test_a_directory_that_points_to_itself_is_refused(tmp_path: Path) -> None:
    """A chain of pages without end is an error, not an endless loop."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], metadata=None, byteorder="<")
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[end : end + 4] = data[4:8]
    path.write_bytes(data)
    with pytest.raises(SourceError, match="points back"):
        open_image(str(path))


def test_flipped_bits_in_compressed_voxels_are_found(tmp_path: Path) -> None:
    """A strip that no longer inflates is an error that names page and segment."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[3]
        at = page.dataoffsets[0] + page.databytecounts[0] // 2
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match="page 3, segment 0"):
        whole(open_image(str(path)))


def test_a_strip_without_data_is_refused(tmp_path: Path) -> None:
    """A sparse file, whose missing strips other readers give as zeros, is refused."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], rowsperstrip=10, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        counts = tif.pages.first.databytecounts
        tif.pages.first.tags["StripByteCounts"].overwrite((0, *counts[1:]))
    with pytest.raises(SourceError, match="no data"):
        open_image(str(path))


def test_damage_is_blamed_on_the_thread_that_met_it() -> None:
    """What one thread's decoder logs does not fail another thread's file."""
    import logging

    inside, logged = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        logging.getLogger("tifffile").warning("damage of another file")
        logged.set()

    thread = threading.Thread(target=other)
    thread.start()
    with strict("good.tif"):
        inside.set()
        assert logged.wait(10)
    thread.join()
    with (
        pytest.raises(SourceError, match=r"bad\.tif: page 1: no tags"),
        strict("bad.tif", "page 1"),
    ):
        logging.getLogger("tifffile").error("no tags")


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((10000, 1), "CENTIMETER", {"y": 1e-4, "x": 1e-4}),
        ((72, 1), "INCH", {}),
        ((300, 1), "INCH", {}),
        ((1, 1), "CENTIMETER", {}),
        ((0, 1000), "CENTIMETER", {}),
        ((2, 1), "NONE", {"y": 0.5, "x": 0.5}),
    ],
)
def test_resolutions_of_printers_mean_missing(
    tmp_path: Path, resolution: tuple[int, int], unit: str, expected: dict[str, float]
) -> None:
    """A measured resolution is a voxel size; 72 dpi, 1/1 and 0/1000 are not."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, STACK[0], resolution=((2, 1), (2, 1)), resolutionunit=unit, metadata=None
    )
    with tifffile.TiffFile(path, mode="r+") as tif:
        for tag in ("XResolution", "YResolution"):
            tif.pages.first.tags[tag].overwrite(resolution)
    found = open_image(str(path)).description
    assert found.voxel_size == pytest.approx(expected)
    assert found.unit == ("centimeter" if expected and unit == "CENTIMETER" else None)
