"""NIfTI and Analyze: voxels as nibabel scales them, sizes and affine as the header has them."""

import bz2
import gzip
import os
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Description, Source
from tests.counted import Counted

ARRAY = np.random.default_rng(3).integers(-900, 900, (9, 7, 5, 3), "int16")
DIAGONAL = np.diag([0.5, 0.5, 2.0, 1.0])
Change = Callable[[Any], None]


def saved(
    folder: Path,
    name: str,
    array: NDArray[Any] = ARRAY,
    kind: Any = nibabel.Nifti1Image,  # noqa: ANN401
    change: Change = lambda header: None,
    affine: NDArray[Any] | None = DIAGONAL,
    **options: Any,  # noqa: ANN401
) -> str:
    """Write an image with nibabel and return the path."""
    image = kind(array, affine, **options)
    change(image.header)
    image.to_filename(folder / name)
    return str(folder / name)


def scaled(header: Any) -> None:  # noqa: ANN401
    """Ask for a slope and an intercept."""
    header.set_slope_inter(0.37, None if isinstance(header, nibabel.Spm2AnalyzeHeader) else -11.5)


def timed(header: Any) -> None:  # noqa: ANN401
    """Say millimeters and milliseconds."""
    header.set_xyzt_units("mm", "msec")
    header.set_zooms((0.5, 0.5, 2.2, 1500))


def big(kind: Any) -> Any:  # noqa: ANN401
    """Return a header of the other order of bytes."""
    return kind(endianness=">")


LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nifti-1": ("a.nii", {}),
    "float32": ("a.nii", {"array": ARRAY.astype("float32")}),
    "big-endian": ("a.nii", {"header": big(nibabel.Nifti1Header)}),
    "scaled": ("a.nii", {"change": scaled}),
    "scaled float32": ("a.nii", {"array": ARRAY.astype("float32"), "change": scaled}),
    "gzipped": ("a.nii.gz", {}),
    "gzipped scaled": ("a.nii.gz", {"change": scaled, "header": big(nibabel.Nifti1Header)}),
    "nifti-2": ("a.nii", {"kind": nibabel.Nifti2Image, "header": big(nibabel.Nifti2Header)}),
    "pair": ("a.hdr", {"kind": nibabel.Nifti1Pair, "change": scaled}),
    "nifti-2 pair": ("a.img", {"kind": nibabel.Nifti2Pair}),
    "gzipped pair": ("a.img.gz", {"kind": nibabel.Nifti1Pair}),
    "analyze": ("a.img", {"kind": nibabel.AnalyzeImage, "header": big(nibabel.AnalyzeHeader)}),
    "spm": ("a.hdr", {"kind": nibabel.Spm2AnalyzeImage, "affine": None, "change": scaled}),
}


def judged(path: str) -> NDArray[Any]:
    """Return the voxels that nibabel reads, the slowest axis first."""
    return np.asarray(nibabel.load(path).dataobj).T


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def described(path: str) -> Description:
    """Return what a source says."""
    return open_source(path).description


def moved(path: str) -> str:
    """Put a file, with what lies beside it, behind ``counted://``."""
    Counted.reset()
    for one in Path(path).parent.iterdir():
        Counted.put(f"folder/{one.name}", one.read_bytes())
    return f"counted://folder/{Path(path).name}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["local", "remote"])
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_is_nibabels(
    tmp_path: Path, layout: str, place: str, data: st.DataObject
) -> None:
    """A region equals what nibabel makes of it, type and last bit included, wherever it lies."""
    name, options = LAYOUTS[layout]
    path = saved(tmp_path, name, **options)
    expected = judged(path)
    source = open_source(path if place == "local" else moved(path))
    found = source.description
    assert (found.axes, found.shape) == ("tzyx", ARRAY.shape[::-1])
    assert found.block == (1, 1, 7, 9)
    assert np.dtype(found.dtype) == expected.dtype.newbyteorder("=")
    edges = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
             for n in found.shape]  # fmt: skip
    region = Region("tzyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, expected[region.slices])
    assert voxels.dtype == np.dtype(found.dtype)
    assert voxels.flags.writeable
    assert source.decoded == (expected.nbytes if name.endswith("gz") else voxels.nbytes)
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), expected)


def test_either_file_of_a_pair_opens_it(tmp_path: Path) -> None:
    """Both files belong to the image, whichever is named; half a pair is refused."""
    path = saved(tmp_path, "a.hdr", kind=nibabel.Nifti1Pair)
    both = (str(tmp_path / "a.hdr"), str(tmp_path / "a.img"))
    for one in both:
        assert described(one).files == both
        np.testing.assert_array_equal(whole(open_source(one)), ARRAY.T)
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    for one, missing_one in ((path, r"a\.img"), (str(tmp_path / "b.img"), r"b\.hdr")):
        with pytest.raises(SourceError, match=f"half of a pair: .*{missing_one} is missing"):
            open_source(one)


@pytest.mark.parametrize("samples", [3, 4])
def test_colours_are_samples(tmp_path: Path, samples: int) -> None:
    """RGB24 and RGBA32 are read with an axis s, and are not scaled."""
    kind = np.dtype([(name, "u1") for name in "RGBA"[:samples]])
    pixels = np.random.default_rng(1).integers(0, 255, (5, 7, 9, samples), "uint8")
    array = pixels.view(kind)[..., 0].T
    path = saved(tmp_path, "a.nii", np.asfortranarray(array))
    source = open_source(path)
    assert source.description.axes == "zyxs"
    assert source.description.dtype == "uint8"
    np.testing.assert_array_equal(whole(source), pixels)
    box = Region("zyxs", (1, 2, 3, 1), (4, 6, 8, 3))
    np.testing.assert_array_equal(source.read(box), pixels[box.slices])
    patched(path, 112, struct.pack("<ff", 2.0, 1.0))
    source = open_source(path)
    np.testing.assert_array_equal(whole(source), pixels)
    assert any("do not apply to colours" in note for note in source.description.notes)


def patched(path: str, at: int, value: bytes) -> str:
    """Overwrite bytes of a file."""
    data = bytearray(Path(path).read_bytes())
    data[at : at + len(value)] = value
    Path(path).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("code", "bits", "name"),
    [(1, 1, "binary"), (32, 64, "complex64"), (1792, 128, "complex128"), (1536, 128, "float128"),
     (2048, 256, "complex256"), (130, 8, "datatype 130"), (0, 0, "none")],
)  # fmt: skip
def test_types_that_are_not_stored_are_named(
    tmp_path: Path, code: int, bits: int, name: str
) -> None:
    """Single bits, complex and quadruple numbers are refused by name."""
    path = saved(tmp_path, "a.nii", np.zeros((4, 4, 4), "int16"))
    patched(path, 70, struct.pack("<hh", code, bits))
    with pytest.raises(SourceError, match=name):
        open_source(path)


def test_scaling_is_told(tmp_path: Path) -> None:
    """A note names slope, intercept and the types; a slope of 0 or nan is none."""
    path = saved(tmp_path, "a.nii", change=scaled)
    found = described(path)
    assert found.dtype == "float64"
    assert found.notes[0].startswith("voxels are stored as int16 and scaled as the header says")
    for slope in (0.0, float("nan")):
        patched(path, 112, struct.pack("<f", slope))
        assert described(path).dtype == "int16"
    patched(path, 112, struct.pack("<ff", 2.0, float("inf")))
    with pytest.raises(SourceError, match="invalid intercept"):
        open_source(path)


def test_scaling_beyond_a_type_is_infinite_as_in_nibabel(tmp_path: Path) -> None:
    """What does not fit becomes infinite without a warning."""
    path = saved(tmp_path, "a.nii", np.full((2, 2, 2), 1e300))
    patched(path, 112, struct.pack("<ff", 1e20, 0.0))
    assert np.isinf(whole(open_source(path))).all()


def test_there_is_one_image(tmp_path: Path) -> None:
    """A file holds one image, number 0."""
    path = saved(tmp_path, "a.nii")
    assert [str(scene) for scene in scenes(path)] == ["0: unnamed, tzyx 3 × 5 × 7 × 9 int16"]
    np.testing.assert_array_equal(whole(open_source(path, 0)), ARRAY.T)
    with pytest.raises(SourceError, match="no scene 1"):
        open_source(path, 1)


@pytest.mark.parametrize("at", [0.02, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_a_file_cut_off_is_refused(tmp_path: Path, name: str, at: float) -> None:
    """A file that ends early is an error, wherever it lies."""
    kind = nibabel.Nifti1Pair if name == "a.img" else nibabel.Nifti1Image
    path = Path(saved(tmp_path, name, kind=kind))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])
    for place in (str(path), moved(str(path))):
        with pytest.raises(SourceError, match=name):
            whole(open_source(place))


def test_flipped_bits_in_gzip_are_found(tmp_path: Path) -> None:
    """The checksum at the end is verified before any voxel is given."""
    content = gzip.compress(Path(saved(tmp_path, "a.nii")).read_bytes(), 0)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    source = open_source(str(path))
    with pytest.raises(SourceError, match="CRC"):
        source.read(Region("tzyx", (0, 0, 0, 0), (1, 1, 1, 1)))


def header_of(shape: tuple[int, ...]) -> bytes:
    """Return a header that claims `shape`, and nothing else."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype("int16")
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock + bytes(4))


def test_claims_beyond_the_file_are_refused(tmp_path: Path) -> None:
    """A header that claims terabytes is refused before anything is decoded or allocated."""
    content = header_of((30000, 30000, 30000)) + bytes(1000)
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match="claims 540000000"):
            open_source(str(tmp_path / name))


def test_a_stream_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gzip that goes on far beyond the voxels is not decoded to its end."""
    monkeypatch.setattr("microtome_ingest.sources.inflated._SLACK", 1000)
    content = header_of((4, 4, 4)) + bytes(128)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content + bytes(900)))
    assert not whole(open_source(str(tmp_path / "a.nii.gz"))).any()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content + bytes(5000)))
    with pytest.raises(SourceError, match="more than the 480 bytes"):
        whole(open_source(str(tmp_path / "b.nii.gz")))


def test_bytes_behind_the_voxels_are_told(tmp_path: Path) -> None:
    """A file longer than its header says is read, with a note."""
    path = tmp_path / "a.nii"
    path.write_bytes(header_of((4, 4, 4)) + bytes(128 + 50))
    assert any("50 bytes behind" in note for note in described(str(path)).notes)


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (40, struct.pack("<h", 0), "claims 0 axes"),
        (40, struct.pack("<h", 9), "axes: expected 1 to 7"),
        (40, struct.pack("<h", 1), "needs x and y"),
        (42, struct.pack("<h", -5), "needs x and y"),
        (108, struct.pack("<f", 12.0), "vox offset"),
        (108, struct.pack("<f", float("nan")), "NaN"),
        (344, b"ni1\0", "header of a pair"),
        (68, struct.pack("<h", 3006), "CIFTI"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(
    tmp_path: Path, at: int, value: bytes, reason: str
) -> None:
    """Axes, extents and offsets that cannot be are named."""
    with pytest.raises(SourceError, match=reason):
        open_source(patched(saved(tmp_path, "a.nii"), at, value))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    for name in ("a.nii", "b.nii.gz"):
        path = saved(tmp_path, name)
        source = open_source(path)
        whole(source)
        os.utime(path, ns=(1, 1))
        with pytest.raises(SourceError, match="changed"):
            whole(source)


def test_a_small_region_takes_a_small_part_of_the_bytes(tmp_path: Path) -> None:
    """Of 4 MB, a region of a few kilobytes fetches less than a tenth, opening included."""
    large = np.random.default_rng(9).integers(0, 60000, (128, 128, 128), "uint16")
    path = moved(saved(tmp_path, "a.nii", large))
    region = Region("zyx", (7, 10, 20), (9, 40, 90))
    np.testing.assert_array_equal(open_source(path).read(region), large.T[region.slices])
    assert 0 < Counted.fetched() < large.nbytes / 10


def test_threads_inflate_once(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets, decoded once."""
    source = open_source(saved(tmp_path, "a.nii.gz", change=scaled))
    expected = judged(str(tmp_path / "a.nii.gz"))
    start = threading.Barrier(8)

    def read(_: int) -> NDArray[Any]:
        start.wait()
        return whole(source)

    with ThreadPoolExecutor(8) as pool:
        for voxels in pool.map(read, range(8)):
            np.testing.assert_array_equal(voxels, expected)
    assert source.decoded == expected.nbytes


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
def test_what_nibabel_writes_arrives_in_the_store(tmp_path: Path, name: str) -> None:
    """Through the whole ingest, voxels, scale and units are the file's."""
    kind = nibabel.Nifti1Pair if name == "a.hdr" else nibabel.Nifti1Image
    path = saved(tmp_path, name, kind=kind, change=timed)
    assert main(["ingest", path, str(tmp_path / "root"), "--as", "lab/rat/scan"]) == 0
    group = zarr.open_group(tmp_path / "root/lab/rat/scan", mode="r")
    np.testing.assert_array_equal(group["0"][...], ARRAY.T)
    scales = group.attrs["ome"]["multiscales"][0]
    found = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert found == [1.5, 2.2, 0.5, 0.5]
    assert [axis["unit"] for axis in scales["axes"]] == ["second"] + ["millimeter"] * 3


def test_other_compressions_are_refused_by_what_they_start_with(tmp_path: Path) -> None:
    """A name alone makes no NIfTI."""
    path = tmp_path / "a.nii"
    path.write_bytes(bz2.compress(header_of((4, 4, 4))))
    with pytest.raises(SourceError, match="named like NIfTI, but its content is not"):
        open_source(str(path))


SAMPLES = {
    # As nibabel's own tests and `nib-ls` give them: axes, shape, type, sizes, unit, time step.
    "anatomical.nii": ("zyx", (25, 41, 33), "int16", (2.0, 2.0, 2.0), "millimeter", None),
    "example4d.nii.gz": (
        "tzyx", (2, 24, 96, 128), "int16", (2.199999, 2.0, 2.0), "millimeter", 2000.0),
    "example_nifti2.nii.gz": (
        "tzyx", (2, 12, 20, 32), "int16", (2.1999990940093994, 2.0, 2.0), "millimeter", 2000.0),
    "functional.nii": ("tzyx", (20, 3, 21, 17), "float64", (8.0, 4.0, 4.0), "millimeter", 2.0),
    "reoriented_anat_moved.nii": (
        "zyx", (22, 26, 21), "float32", (4.0, 4.0, 4.0), "millimeter", None),
    "someones_anatomy.nii.gz": (
        "zyx", (56, 67, 57), "float64", (2.75, 2.75, 2.75), "millimeter", None),
    "someones_epi.nii.gz": (
        "zyx", (33, 61, 53), "float64", (3.0, 3.0, 3.0), "millimeter", None),
    "standard.nii.gz": ("zyx", (7, 5, 4), "uint8", (2.0, 3.0, 1.0), None, None),
}  # fmt: skip


@pytest.mark.samples
@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_reads_as_nibabel_does(samples: Path, name: str) -> None:
    """Real files of several programs: axes, sizes and voxels, here and from afar."""
    path = str(samples / "nifti/nibabel" / name)
    axes, shape, dtype, sizes, unit, step = SAMPLES[name]
    expected = judged(path)
    Counted.reset()
    for place in (path, Counted.put(name, Path(path).read_bytes())):
        source = open_source(place)
        found = source.description
        assert (found.axes, found.shape, found.dtype) == (axes, shape, dtype)
        assert tuple(found.voxel_size[axis] for axis in "zyx") == sizes
        assert (found.unit, found.time_step) == (unit, step)
        np.testing.assert_array_equal(whole(source), expected)
        source.close()


@pytest.mark.samples
def test_cifti_is_refused_by_name(samples: Path) -> None:
    """Values of surface vertices are no image."""
    with pytest.raises(SourceError, match=r"row_major\.dconn\.nii: is CIFTI"):
        open_source(str(samples / "nifti/nibabel/row_major.dconn.nii"))
