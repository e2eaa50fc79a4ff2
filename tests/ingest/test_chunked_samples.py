"""Real Zarr, N5 and precomputed stores: each reads as another reader has it, or is refused."""

import gzip
from pathlib import Path
from typing import Any

import compresso
import imagecodecs
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import format_of, open_source, scenes
from microtome_ingest.source import Source

pytestmark = pytest.mark.samples
NEUROGLANCER = "ome_zarr/neuroglancer/ome_zarr"
WEBKNOSSOS = "ome_zarr/webknossos"
SEGMENTS = "em_seg/precomputed/cloudvolume_seg_unsharded"
PLANE = ("yx", (10, 10), "uint16", {"y": 4.0, "x": 30.0}, "nanometer")
CUBE = ("cxyz", (3, 24, 24, 24), "uint8", dict.fromkeys("zyx", 1.0), "nanometer")


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def facts(source: Source) -> tuple[Any, ...]:
    """Return what a source says of itself."""
    found = source.description
    return found.axes, found.shape, found.dtype, dict(found.voxel_size), found.unit


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        (f"{NEUROGLANCER}/simple_0.4", "scale0/image", PLANE),
        (f"{NEUROGLANCER}/simple_0.5", "scale0/image", PLANE),
        (f"{NEUROGLANCER}/simple_0.5::scale2/image", "scale2/image",
         ("yx", (2, 2), "uint16", {"y": 16.0, "x": 120.0}, "nanometer")),
        (f"{NEUROGLANCER}/all_0.6/simple/anisotropic_rotation.zarr", "array",
         ("zyx", (27, 226, 186), "uint8", {"z": 2.0, "y": 0.5, "x": 0.25}, "micrometer")),
        (f"{WEBKNOSSOS}/simple_zarr3_dataset", "color/1", CUBE),
        (f"{WEBKNOSSOS}/simple_zarr3_dataset/color", "1", CUBE),
        (f"{WEBKNOSSOS}/simple_zarr_dataset::color/1-1-1", "color/1-1-1",
         ("qijk", CUBE[1], "uint8", {}, None)),
    ],
)  # fmt: skip
def test_zarr_reads_as_zarr_python_does(
    samples: Path, name: str, array: str, expected: tuple[Any, ...]
) -> None:
    """Shape, axes, sizes and voxels are zarr-python's and the metadata's."""
    path = str(samples / name)
    source = open_source(path)
    assert format_of(path).name == "Zarr"
    assert facts(source) == expected
    judged = zarr.open_array(f"{path.split('::', maxsplit=1)[0]}/{array}", mode="r")[:]
    np.testing.assert_array_equal(whole(source), judged, strict=True)


@pytest.mark.parametrize("packed", ["simple_0.5.zip", "simple_0.5.ocdbt"])
def test_packed_stores_read_as_the_folder(samples: Path, packed: str) -> None:
    """The same store in a zip file and in an OCDBT database is the same image."""
    source = open_source(str(samples / NEUROGLANCER / packed))
    assert facts(source) == PLANE
    expected = whole(open_source(str(samples / NEUROGLANCER / "simple_0.5")))
    np.testing.assert_array_equal(whole(source), expected)


@pytest.mark.parametrize(
    ("name", "axes", "sizes", "origin"),
    [
        ("basic/identity", "zyx", (1, 1, 1), None),
        ("basic/scale", "zyx", (4, 3, 2), None),
        ("basic/translation", "zyx", (1, 1, 1), (30, 20, 10)),
        ("basic/sequenceScaleTranslation", "zyx", (4, 3, 2), (32, 21, 10)),
        ("simple/affine", "zyx", (4, 3, 2), (32, 21, 10)),
        ("axis_dependent/mapAxis", "xzy", (1, 1, 1), None),
    ],
)
def test_drafts_are_described_and_what_is_no_chunk_is_refused(
    samples: Path, name: str, axes: str, sizes: tuple[float, ...], origin: tuple[float, ...] | None
) -> None:
    """Transformations of 0.6 are understood; chunks that are the text of a link are an error."""
    source = open_source(str(samples / NEUROGLANCER / "all_0.6" / f"{name}.zarr"))
    found = source.description
    assert (found.axes, found.unit) == (axes, "micrometer")
    assert found.voxel_size == dict(zip(axes, sizes, strict=True))
    place = found.metadata.get("origin", {})
    assert tuple(place.get(axis) for axis in "zyx") == (origin or (None,) * 3)
    with pytest.raises(SourceError, match="c/0/0/0"):
        whole(source)


def test_a_pyramid_that_names_other_arrays_is_refused(samples: Path) -> None:
    """Metadata that names an array which is not there is an error that names those which are."""
    with pytest.raises(SourceError, match=r"color/1, is not there; .* ::color/1-1-1"):
        open_source(str(samples / WEBKNOSSOS / "simple_zarr_dataset"))


def test_n5_reads_as_its_blocks_are(samples: Path) -> None:
    """Blocks decoded by the specification, without a library, are what is read."""
    path = samples / "n5" / "webknossos" / "simple_n5_dataset" / "color" / "1"
    source = open_source(str(path))
    assert facts(source) == ("qijk", (24, 24, 24, 3), "uint32", {}, None)
    assert source.description.notes == ()
    voxels = whole(source)
    for channel in range(3):
        content = (path / str(channel) / "0" / "0" / "0").read_bytes()
        block = np.frombuffer(gzip.decompress(content[20:]), ">u4").reshape(32, 32, 32, 1)
        np.testing.assert_array_equal(voxels[..., channel], block[:24, :24, :24, 0])


@pytest.mark.parametrize("kind", ["modern", "deprecated"])
def test_n5_viewers_pyramids_are_described(samples: Path, kind: str) -> None:
    """The finest level is the image; an axis in seconds has no voxel size; blocks are absent."""
    source = open_source(str(samples / "n5" / "neuroglancer" / f"n5_viewer_multiscale_{kind}"))
    assert facts(source) == ("yx", (20, 10), "uint16", {"x": 10.0}, "nanometer")
    assert source.description.notes[1].startswith("1 of 1 chunks are absent")
    assert not whole(source).any()


@pytest.mark.parametrize(("name", "channels"), [("one_channel", 1), ("two_channels", 2)])
def test_volumes_without_chunks_are_described_and_not_read(
    samples: Path, name: str, channels: int
) -> None:
    """A volume of which only ``info`` is there is described; reading it is an error."""
    path = str(samples / "precomputed" / "neuroglancer" / name)
    source = open_source(path)
    shape = (2, 30, 20, 10)[2 - channels :]
    sizes = {"z": 5.0, "y": 4.0, "x": 3.0}
    assert facts(source) == ("czyx"[2 - channels :], shape, "uint16", sizes, "nanometer")
    assert source.description.notes[0].startswith("1 of 1 chunks are missing")
    with pytest.raises(SourceError, match="3_4_5/0-10_0-20_0-30 is missing"):
        whole(source)


@pytest.mark.parametrize(
    ("name", "channels"), [("simple_ng_dataset", 3), ("simple_ng_dataset2", 1)]
)
def test_png_reads_as_another_decoder_has_it(samples: Path, name: str, channels: int) -> None:
    """A chunk of PNG is what imagecodecs makes of the file, x fastest, channels last."""
    path = samples / "precomputed" / "webknossos" / name / "color"
    decoded = imagecodecs.png_decode((path / "1" / "0-24_0-24_0-24").read_bytes())
    expected = np.moveaxis(decoded.reshape(24, 24, 24, channels), -1, 0)
    voxels = whole(open_source(str(path)))
    np.testing.assert_array_equal(voxels, expected if channels > 1 else expected[0])


def test_segments_of_compresso_read_as_compresso_has_them(samples: Path) -> None:
    """Packed chunks of another scale are what compresso makes of them; the finest is missing."""
    path = samples / SEGMENTS
    assert [(s.axes, s.shape) for s in scenes(str(path))] == [("zyx", (512, 1024, 1024))]
    source = open_source(f"{path}::32_32_40")
    assert source.description.voxel_size == {"z": 40.0, "y": 32.0, "x": 32.0}
    assert "--kind labels keeps them whole" in source.description.notes[0]
    voxels = source.read(Region("zyx", (60, 0, 0), (130, 256, 256)))
    content = gzip.decompress((path / "32_32_40" / "0-256_0-256_64-128.gz").read_bytes())
    np.testing.assert_array_equal(voxels[4:68], compresso.decompress(content).T)
    source.close()


def test_the_finest_scale_is_not_taken_for_another(samples: Path) -> None:
    """Chunks of the finest scale that are not there are an error, whatever other scales hold."""
    source = open_source(str(samples / SEGMENTS))
    assert source.description.notes[1].startswith("128 of 128 chunks are missing")
    with pytest.raises(SourceError, match="is missing"):
        source.read(Region("zyx", (0, 0, 0), (1, 1, 1)))
    source.close()
