"""Sequences: numbers in file names become axes; nothing is left out without a word."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.sources.names import arrange
from microtome_ingest.sources.sequence import open_image

PLANES = np.random.default_rng(5).integers(0, 255, (12, 8, 9), "uint8")


def folder(path: Path, names: list[str]) -> str:
    """Write one plane under each name, in order."""
    for name, plane in zip(names, PLANES, strict=False):
        tifffile.imwrite(path / name, plane, metadata=None)
    return str(path)


@given(order=st.permutations(range(12)), width=st.integers(1, 4))
def test_files_come_in_numeric_order(order: list[int], width: int) -> None:
    """10 follows 9 and not 1, with leading zeros or without."""
    grid = arrange([f"s_z{i:0{width}}_c0.tif" for i in order], "s")
    assert (grid.axes, grid.shape) == ("z", (12,))
    assert grid.files == tuple(f"s_z{i:0{width}}_c0.tif" for i in range(12))


@pytest.mark.parametrize(
    ("pattern", "axes"),
    [
        ("a_t{0:02}_c{1}_z{2:03}.tif", "tcz"),
        ("a_Z{2:03}_ch{1:02}_T{0}.tif", "tcz"),
        ("x.z{2}.C{1}.{0}.tif", "czq"),
        ("2024-{0}-{1}-{2}.tif", "qij"),
    ],
)
def test_letters_before_numbers_name_the_axis(pattern: str, axes: str) -> None:
    """t, c, ch and z in either case name an axis; bare numbers leave it open."""
    sizes = {"t": 2, "c": 3, "z": 4, "q": 2, "i": 3, "j": 4}
    names = [pattern.format(t, c, z) for t in range(2) for c in range(3) for z in range(4)]
    grid = arrange(names[::-1], "s")
    assert (grid.axes, grid.shape) == (axes, tuple(sizes[axis] for axis in axes))


def test_planes_are_where_the_names_say(tmp_path: Path) -> None:
    """A region of a folder equals the same region of the planes put together."""
    names = [f"t{t}_z{z}.tif" for t in range(3) for z in range(4)]
    source = open_image(folder(tmp_path, names))
    assert (source.description.axes, source.description.shape) == ("tzyx", (3, 4, 8, 9))
    region = Region("tzyx", (1, 1, 2, 0), (3, 4, 7, 5))
    expected = PLANES.reshape(3, 4, 8, 9)[region.slices]
    np.testing.assert_array_equal(source.read(region), expected)


def test_a_pattern_chooses_files(tmp_path: Path) -> None:
    """Of several stacks in a folder, a pattern opens one."""
    folder(tmp_path, ["a_0.tif", "a_1.tif", "b_0.tif", "b_1.tif"])
    source = open_image(str(tmp_path / "b_*.tif"))
    np.testing.assert_array_equal(source.read(Region.whole("qyx", (2, 8, 9))), PLANES[2:4])
    with pytest.raises(SourceError, match="differ in more than numbers"):
        open_image(str(tmp_path))


def test_stacks_of_open_axes_under_plain_numbers_get_letters_of_their_own(tmp_path: Path) -> None:
    """What the names count and what the files count are asked for apart."""
    for n in range(2):
        tifffile.imwrite(tmp_path / f"{n}.tif", PLANES[n * 6 : n * 6 + 6])
    source = open_image(str(tmp_path))
    assert source.description.axes == "iqyx"
    whole = source.read(Region.whole("iqyx", (2, 6, 8, 9)))
    np.testing.assert_array_equal(whole, PLANES.reshape(2, 6, 8, 9))


def test_stacks_in_files_gain_an_axis(tmp_path: Path) -> None:
    """A file for each time point with slices inside becomes tzyx."""
    for t in range(2):
        data = PLANES[t * 6 : t * 6 + 6]
        tifffile.imwrite(tmp_path / f"t{t}.tif", data, imagej=True, metadata={"axes": "ZYX"})
    source = open_image(str(tmp_path))
    assert source.description.axes == "tzyx"
    whole = source.read(Region.whole("tzyx", source.description.shape))
    np.testing.assert_array_equal(whole, PLANES.reshape(2, 6, 8, 9))


@pytest.mark.parametrize("names", [["z0.tif", "z2.tif"], ["t0_z0.tif", "t0_z1.tif", "t1_z0.tif"]])
def test_a_gap_in_the_numbers_is_refused(tmp_path: Path, names: list[str]) -> None:
    """A missing file is never closed over."""
    with pytest.raises(SourceError, match="gap"):
        open_image(folder(tmp_path, names))


def test_the_same_number_twice_is_refused(tmp_path: Path) -> None:
    """z1 and z01 cannot both be plane 1."""
    with pytest.raises(SourceError, match="same numbers"):
        open_image(folder(tmp_path, ["z1.tif", "z01.tif", "z2.tif"]))


def test_an_axis_inside_and_outside_is_refused(tmp_path: Path) -> None:
    """Names that count z over files that hold z are a question, not an answer."""
    for z in range(2):
        tifffile.imwrite(tmp_path / f"z{z}.tif", PLANES[:3], imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(SourceError, match="also inside"):
        open_image(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a picture at all, but text"])
def test_empty_and_text_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """A file named .tif that is none is named in the error."""
    folder(tmp_path, ["z0.tif", "z1.tif", "z2.tif"])
    (tmp_path / "z1.tif").write_bytes(content)
    with pytest.raises(SourceError, match=r"z1\.tif"):
        open_image(str(tmp_path))


@pytest.mark.parametrize("odd", [PLANES[0, :5], PLANES[0].astype("uint16")])
def test_another_shape_or_type_is_refused_by_name(tmp_path: Path, odd: np.ndarray) -> None:
    """All files are of one shape and one type."""
    folder(tmp_path, ["z0.tif", "z1.tif", "z2.tif"])
    tifffile.imwrite(tmp_path / "z2.tif", odd, metadata=None)
    with pytest.raises(SourceError, match=r"z2\.tif: is yx"):
        open_image(str(tmp_path))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """A file replaced by another shape after opening is an error."""
    source = open_image(folder(tmp_path, ["z0.tif", "z1.tif"]))
    tifffile.imwrite(tmp_path / "z1.tif", PLANES[0, :5], metadata=None)
    with pytest.raises(SourceError, match=r"z1\.tif: changed"):
        source.read(Region.whole("zyx", (2, 8, 9)))


def test_png_and_jpeg_sequences(tmp_path: Path) -> None:
    """PNG keeps its grey values; several kinds are refused, hidden files are not seen."""
    for i in range(3):
        (tmp_path / f"{i:03}.png").write_bytes(imagecodecs.png_encode(PLANES[i]))
    (tmp_path / "._000.png").write_bytes(b"left behind by macOS")
    source = open_image(str(tmp_path))
    assert source.description.format == "PNG sequence"
    np.testing.assert_array_equal(source.read(Region.whole("qyx", (3, 8, 9))), PLANES[:3])
    (tmp_path / "000.jpg").write_bytes(imagecodecs.jpeg_encode(PLANES[0]))
    with pytest.raises(SourceError, match=r"\.jpg and \.png"):
        open_image(str(tmp_path))


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_picture_cut_off_or_damaged_is_refused(tmp_path: Path, kind: str, at: float) -> None:
    """A picture that ends early, or whose PNG checksum is wrong, is an error and never grey."""
    smooth = np.tile(np.arange(64, dtype="uint8"), (64, 1))
    encode = imagecodecs.png_encode if kind == "png" else imagecodecs.jpeg_encode
    data = encode(smooth)
    for i in range(2):
        (tmp_path / f"{i}.{kind}").write_bytes(data)
    (tmp_path / f"1.{kind}").write_bytes(data[: int(len(data) * at)])
    with pytest.raises(SourceError, match=rf"1\.{kind}"):
        open_image(str(tmp_path))
    if kind == "png":
        flipped = bytearray(data)
        flipped[int(len(data) * at)] ^= 1
        (tmp_path / "1.png").write_bytes(flipped)
        with pytest.raises(SourceError, match=r"1\.png"):
            open_image(str(tmp_path))


def test_a_folder_without_pictures_names_its_folders(tmp_path: Path) -> None:
    """Stores often lie a folder deeper than they were looked for."""
    with pytest.raises(SourceError, match=r"without pictures: holds no files of [^;]*$"):
        open_image(str(tmp_path))
    for name in ("mag1", "color", "a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        SourceError, match=r"\.npy; is it in one of its folders: a, b, c, color, d …\?"
    ):
        open_image(str(tmp_path))


def arrays(path: Path, planes: np.ndarray) -> str:
    """Write each plane as an NPY file, some of them in Fortran order."""
    for number, plane in enumerate(planes):
        np.save(path / f"plane_{number}.npy", np.asfortranarray(plane) if number % 2 else plane)
    return str(path)


def test_arrays_in_files_are_planes(tmp_path: Path) -> None:
    """In numeric order, in either order of bytes; what the axes are stays open."""
    source = open_image(arrays(tmp_path, PLANES))
    axes = source.description.axes
    assert (source.description.format, source.description.shape) == ("NPY sequence", (12, 8, 9))
    assert not set(axes) & set("tczyx")
    region = Region(axes, (1, 2, 0), (11, 7, 5))
    np.testing.assert_array_equal(source.read(region), PLANES[region.slices])
    assert source.decoded == 10 * 5 * 5
    assert len(source.stamps) == 12


def test_arrays_beside_pictures_are_none_of_them(tmp_path: Path) -> None:
    """Tables and masks lie there, too."""
    np.save(tmp_path / "offsets.npy", np.zeros(3))
    source = open_image(folder(tmp_path, ["z0.tif", "z1.tif"]))
    assert source.description.files == tuple(str(tmp_path / f"z{n}.tif") for n in range(2))


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (PLANES[0, :7], r"plane_3.npy: is .*\(7, 9\) uint8, but plane_0.npy is .*\(8, 9\) uint8"),
        (PLANES[0].astype("uint16"), "plane_3.npy: is .*uint16, but plane_0.npy is .*uint8"),
        (PLANES[0, 0], r"plane_3.npy: shape \(9,\): an image needs y and x"),
        (np.array([["a"]]), "plane_3.npy"),
    ],
)
def test_an_odd_array_is_refused_by_name(tmp_path: Path, odd: np.ndarray, words: str) -> None:
    """With what it is and what the first is."""
    path = arrays(tmp_path, PLANES[:5])
    np.save(tmp_path / "plane_3.npy", odd)
    with pytest.raises(SourceError, match=words):
        open_image(path)


def test_an_array_that_changes_is_refused(tmp_path: Path) -> None:
    """One that is cut off, too, after the sequence was opened."""
    source = open_image(arrays(tmp_path, PLANES[:3]))
    file = tmp_path / "plane_1.npy"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SourceError, match=r"plane_1\.npy"):
        source.read(Region.whole(source.description.axes, source.description.shape))
