"""CZI: scenes and mosaics as they were taken, nothing dropped."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pylibCZIrw import czi as lib

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from microtome_ingest.sources import czi
from tests.ingest.czi_made import Tile, noise, saved

NONE: dict[str, int] = {}
COMPRESSIONS = (None, "zstd0:ExplicitLevel=3", "zstd1:ExplicitLevel=3")


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def read(path: str, scene: int | None = None) -> NDArray[Any]:
    """Read all of an image."""
    with closing(czi.open_image(path, scene)) as source:
        return whole(source)


def planes(voxels: NDArray[Any]) -> Iterator[tuple[dict[str, int], NDArray[Any]]]:
    """Yield coordinates and planes of an array in t, c, z, y, x and maybe s."""
    for t, c, z in product(*map(range, voxels.shape[:3])):
        yield {"T": t, "Z": z, "C": c}, voxels[t, c, z]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a path for a file that pylibCZIrw writes."""
    return tmp_path / "a.czi"


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_another_program_wrote_is_read(
    written: Path, dtype: str, compression: str | None
) -> None:
    """Planes of every type and compression, with the voxel size and the names of channels."""
    voxels = noise((2, 3, 4, 21, 33), dtype)
    with lib.create_czi(str(written), compression_options=compression) as file:
        for place, plane in planes(voxels):
            file.write(plane, plane=place)
        file.write_metadata(
            "brain", {0: "GFP", 1: "RFP", 2: "DAPI"}, scale_x=5e-7, scale_y=4e-7, scale_z=2e-6
        )
    # One of them through the process that it is read in by itself.
    opened = open_source if (dtype, compression) == ("uint16", COMPRESSIONS[2]) else czi.open_image
    with closing(opened(str(written))) as source:
        found = source.description
        assert (found.format, found.axes, found.shape) == ("CZI", "tczyx", voxels.shape)
        assert (found.dtype, found.block) == (dtype, (1, 1, 1, 21, 33))
        assert (found.voxel_size, found.unit) == ({"z": 2.0, "y": 0.4, "x": 0.5}, "micrometer")
        assert [channel.name for channel in found.channels] == ["GFP", "RFP", "DAPI"]
        assert found.metadata["name"] == "brain"
        assert "<ImageDocument>" in found.metadata["CZI"]
        np.testing.assert_array_equal(whole(source), voxels, strict=True)
        assert source.decoded == voxels.nbytes


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_come_as_red_green_blue(written: Path, dtype: str) -> None:
    """The file has blue first; samples are the last axis."""
    voxels = noise((11, 17, 3), dtype)
    with lib.create_czi(str(written)) as file:
        file.write(voxels)
    with closing(czi.open_image(str(written))) as source:
        assert (source.description.axes, source.description.shape) == ("yxs", (11, 17, 3))
        np.testing.assert_array_equal(whole(source), voxels[..., ::-1], strict=True)
        region = Region("yxs", (3, 4, 1), (9, 8, 2))
        np.testing.assert_array_equal(source.read(region), voxels[3:9, 4:8, 1:2])


def test_each_scene_is_an_image(written: Path) -> None:
    """None is taken unasked, and none is as large as the rectangle around all of them."""
    parts = [noise((10, 12), seed=1), noise((20, 8), seed=2)]
    with lib.create_czi(str(written)) as file:
        for i, part in enumerate(parts):
            file.write(part, location=(-50 + 90_000 * i, -7), scene=i)
    listed = scenes(str(written))
    assert listed == czi.scenes(str(written))
    assert [(one.name, one.axes, one.shape) for one in listed] == [
        ("scene 0", "yx", (10, 12)),
        ("scene 1", "yx", (20, 8)),
    ]
    with pytest.raises(SourceError, match=r"2 images, choose with --scene N: 0: scene 0, 1: scene"):
        open_source(str(written))
    with pytest.raises(SourceError, match="no scene 2"):
        czi.open_image(str(written), 2)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(read(str(written), i), part)


def test_a_mosaic_is_laid_together(written: Path) -> None:
    """Later tiles lie on top; what no tile covers is 0 and is told."""
    tiles = [noise((10, 10), seed=i) for i in range(3)]
    places = [(-5, -3), (3, -3), (-5, 5)]
    expected = np.zeros((18, 18), "uint16")
    with lib.create_czi(str(written)) as file:
        for (x, y), tile in zip(places, tiles, strict=True):
            file.write(tile, location=(x, y))
            expected[y + 3 : y + 13, x + 5 : x + 15] = tile
    with closing(czi.open_image(str(written))) as source:
        assert source.description.block == (10, 10)
        part = (18 * 18 - 10 * 18 - 8 * 10) / 18**2
        assert f"{part:.2%} of its rectangle" in source.description.notes[0]
        np.testing.assert_array_equal(whole(source), expected)
        before = source.decoded
        source.read(Region("yx", (0, 0), (3, 3)))
        assert source.decoded - before == tiles[0].nbytes


def test_a_pyramid_is_skipped(tmp_path: Path) -> None:
    """Only the finest level is read, whatever comes first in the file."""
    voxels = noise((16, 16))
    coarse = Tile(voxels[::2, ::2].copy(), {"C": 0}, covers=(16, 16))
    path = saved(tmp_path, [coarse, Tile(voxels, {"C": 0, "M": 0})])
    np.testing.assert_array_equal(read(path), voxels)
    with pytest.raises(SourceError, match="no voxels, but of pyramids"):
        czi.open_image(saved(tmp_path, [coarse]))
    whole_one, half = Tile(voxels, {"S": 0}), Tile(voxels, {"S": 1}, covers=(32, 32))
    with pytest.raises(SourceError, match="nothing but a pyramid of S 1"):
        czi.scenes(saved(tmp_path, [whole_one, half]))


@pytest.mark.parametrize(
    ("dimension", "word"),
    [("H", "phase"), ("V", "view"), ("I", "illumination"), ("R", "rotation"), ("B", "B")],
)
def test_other_dimensions_are_images_of_their_own(
    tmp_path: Path, dimension: str, word: str
) -> None:
    """Phases, views, illuminations, rotations and blocks are listed, and each is read whole."""
    voxels = noise((3, 2, 9, 7))
    places = product(range(3), range(2))
    tiles = [Tile(voxels[h, z], {"Z": z, "C": 0, "T": 0, dimension: h}) for h, z in places]
    path = saved(tmp_path, tiles)
    assert [one.name for one in czi.scenes(path)] == [f"{word} {i}" for i in range(3)]
    with pytest.raises(SourceError, match="3 images"):
        czi.open_image(path)
    for i in range(3):
        np.testing.assert_array_equal(read(path, i), voxels[i])


def test_one_phase_is_no_dimension(tmp_path: Path) -> None:
    """A dimension of one turn, which programs always write, is dropped."""
    place = {"T": 0, "Z": 0, "C": 0, "H": 0, "V": 0, "B": 0, "S": 0}
    path = saved(tmp_path, [Tile(noise((5, 6)), place)])
    assert [(one.name, one.axes) for one in czi.scenes(path)] == [("", "yx")]


def test_channels_of_other_types_are_images_of_their_own(written: Path) -> None:
    """Each type has its image with its channels; each colour channel has one."""
    grey, wide, colour = noise((2, 8, 9), "uint8"), noise((8, 9)), noise((2, 8, 9, 3), "uint8")
    with lib.create_czi(str(written)) as file:
        for c, plane in enumerate([*grey, wide, *colour]):
            file.write(plane, plane={"C": c})
    assert [(one.name, one.shape, one.dtype) for one in czi.scenes(str(written))] == [
        ("Gray8", (2, 8, 9), "uint8"),
        ("Gray16", (8, 9), "uint16"),
        ("Bgr24, channel 3", (8, 9, 3), "uint8"),
        ("Bgr24, channel 4", (8, 9, 3), "uint8"),
    ]
    expected = [grey, wide, colour[0, ..., ::-1], colour[1, ..., ::-1]]
    for i, voxels in enumerate(expected):
        np.testing.assert_array_equal(read(str(written), i), voxels)


def test_a_part_of_a_recording_begins_where_it_was_cut_out(tmp_path: Path) -> None:
    """Coordinates that do not begin at 0 are kept apart from places in the array."""
    voxels = noise((2, 3, 6, 5))
    places = list(product(range(2), range(3)))
    tiles = [Tile(voxels[t, z], {"T": t + 4, "Z": z + 7, "C": 2}) for t, z in places]
    np.testing.assert_array_equal(read(saved(tmp_path, tiles)), voxels)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_is_a_slice_of_the_whole(tmp_path: Path, data: st.DataObject) -> None:
    """Of a mosaic with channels and depth, whatever tiles a region touches."""
    path = tmp_path / "regions.czi"
    voxels = noise((2, 3, 30, 26))
    if not path.exists():
        with lib.create_czi(str(path), compression_options=COMPRESSIONS[2]) as file:
            for c, z, y, x in product(range(2), range(3), (0, 10, 20), (0, 13)):
                tile = voxels[c, z, y : y + 10, x : x + 13]
                file.write(tile, location=(x - 9, y + 5), plane={"C": c, "Z": z})
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in voxels.shape
    ]
    region = Region("czyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    with closing(czi.open_image(str(path))) as source:
        np.testing.assert_array_equal(source.read(region), voxels[region.slices], strict=True)


def test_threads_share_a_source(written: Path) -> None:
    """Many threads that read at once, while one closes, get what one alone gets."""
    voxels = noise((1, 2, 5, 64, 64))
    with lib.create_czi(str(written), compression_options=COMPRESSIONS[1]) as file:
        for place, plane in planes(voxels):
            file.write(plane, plane=place)
    source = czi.open_image(str(written))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(24)]
        source.close()
        assert all(np.array_equal(job.result(), voxels[0]) for job in jobs)
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), voxels[0])


def test_a_written_file_comes_out_of_the_store(written: Path, tmp_path: Path) -> None:
    """What pylibCZIrw wrote is what zarr-python reads of the layer."""
    voxels = noise((1, 2, 6, 40, 50))
    with lib.create_czi(str(written), compression_options=COMPRESSIONS[2]) as file:
        for place, plane in planes(voxels):
            file.write(plane, plane=place)
        file.write_metadata(scale_x=1e-6, scale_y=1e-6, scale_z=3e-6)
    root = tmp_path / "root"
    code = main(["ingest", str(written), str(root), "--as", "lab/mouse/brain"])
    assert code == 0
    stored = zarr.open_group(str(root / "lab/mouse/brain"), mode="r")["0"]
    np.testing.assert_array_equal(np.asarray(stored[...]), voxels[0])  # type: ignore[index]


def truths() -> list[Any]:
    """Return file, number of images and extents, as the manifest has them."""
    name = "S3_1Pos_2Mosaic_T1_Z1_CH1"
    rows: list[tuple[str, list[tuple[int, ...]]]] = [
        ("aicspylibczi/RGB-8bit", [(624, 924, 3)]),
        ("aicspylibczi/tiles_z", [(2, 2, 512, 510)]),
        ("czitools/100x100", [(10, 10)]),
        ("czitools/CellDivision_T3_Z5_CH2_X240_Y170_comp1", [(3, 2, 5, 170, 240)]),
        (f"czitools/{name}", [(122, 295), (64, 64), (237, 352)]),
        ("czitools/WellD6-7_S2", [(440, 544), (440, 544)]),
        ("czitools/newCZI_compressed", [(512, 512)]),
    ]
    return [pytest.param(*row, id=row[0]) for row in rows]


@pytest.mark.samples
@pytest.mark.parametrize(("name", "shapes"), truths())
def test_every_sample_reads_as_libczi_does(
    samples: Path, name: str, shapes: list[tuple[int, ...]]
) -> None:
    """Each image has the manifest's extents and, plane by plane, libCZI's voxels."""
    path = str(samples / f"czi/{name}.czi")
    assert [one.shape for one in czi.scenes(path)] == shapes
    with lib.open_czi(path) as file:
        boxes = file.scenes_bounding_rectangle_no_pyramid or {None: file.total_bounding_rectangle}
        for number, (scene, box) in enumerate(boxes.items()):
            opened = open_source if number == 0 else czi.open_image
            with closing(opened(path, number)) as source:
                found, voxels = source.description, whole(source)
            sizes = dict(zip(found.axes, found.shape, strict=True))
            extents = [sizes.get(axis, 1) for axis in "tcz"]
            voxels = voxels.reshape(*extents, sizes["y"], sizes["x"], sizes.get("s", 1))
            for place, plane in planes(voxels):
                expected = file.read(roi=box, plane=place, scene=scene)
                np.testing.assert_array_equal(plane, expected[..., ::-1])


@pytest.mark.samples
def test_samples_say_what_they_are(samples: Path) -> None:
    """Voxel sizes, channels and places of real files, as ZEN shows them."""
    tiles = czi.open_image(str(samples / "czi/aicspylibczi/tiles_z.czi")).description
    assert tiles.voxel_size["z"] == 4
    assert tiles.voxel_size["x"] == pytest.approx(0.83026582)
    assert [(c.name, c.color) for c in tiles.channels] == [("Ch1", "00FF00"), ("T PMT", "FFFFFF")]
    assert tiles.metadata["objective"]["Model"] == "C-Apochromat 40x/1.2 W Korr FCS M27"
    well = czi.open_image(str(samples / "czi/czitools/WellD6-7_S2.czi"), 1).description
    assert well.metadata["name"] == "D7"
    assert well.metadata["stage_position"]["x"] == 58500
    [channel] = well.channels
    assert (channel.name, channel.metadata["emission_wavelength_in_nm"]) == ("AF488", 517)
    unknown = samples / "czi/czitools/newCZI_compressed.czi"
    assert czi.open_image(str(unknown)).description.voxel_size == {}
    mosaic = samples / "czi/czitools/S3_1Pos_2Mosaic_T1_Z1_CH1.czi"
    assert "27.95%" in czi.open_image(str(mosaic), 2).description.notes[0]
