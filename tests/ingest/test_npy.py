"""NPY and NPZ: arrays of any order of bytes and axes, and no code from files."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.sources.npy import open_image, scenes

ARRAY = np.random.default_rng(6).integers(0, 60000, (4, 5, 6), "uint16")
LAYOUTS = {
    "little-endian": ARRAY.astype("<u2"),
    "big-endian": ARRAY.astype(">u2"),
    "fortran": np.asfortranarray(ARRAY),
    "fortran big-endian": np.asfortranarray(ARRAY.astype(">u2")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_layout(
    tmp_path: Path, layout: str, kind: str, data: st.DataObject
) -> None:
    """A region is the array's, in native byte order, C-contiguous."""
    path = tmp_path / f"{layout}.{'npy' if kind == 'npy' else 'npz'}"
    save = {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[kind]
    save(path, LAYOUTS[layout])
    source = open_image(str(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("qij", (4, 5, 6), "uint16")
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in ARRAY.shape
    ]
    region = Region("qij", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, ARRAY[region.slices], strict=True)
    assert voxels.flags.c_contiguous
    assert voxels.flags.writeable


@pytest.mark.parametrize(("order", "block"), [("C", (1, 5, 6)), ("F", (4, 5, 1))])
def test_the_block_follows_the_order_on_disk(
    tmp_path: Path, order: str, block: tuple[int, ...]
) -> None:
    """A block is what lies together in the file."""
    np.save(tmp_path / "a.npy", np.asarray(ARRAY, order=order))
    assert open_image(str(tmp_path / "a.npy")).description.block == block


def test_members_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    """Of several arrays one is named; the error lists them."""
    path = str(tmp_path / "a.npz")
    np.savez(path, one=ARRAY, two=ARRAY[:2] + 1)
    assert [scene.name for scene in scenes(path)] == ["one", "two"]
    with pytest.raises(SourceError, match=r"--scene N or .*::name: 0: one, 1: two"):
        open_image(path)
    for source in (open_image(f"{path}::two"), open_image(path, 1)):
        np.testing.assert_array_equal(source.read(Region.whole("qij", (2, 5, 6))), ARRAY[:2] + 1)
    with pytest.raises(SourceError, match="three"):
        open_image(f"{path}::three")
    with pytest.raises(SourceError, match="no scene 2"):
        open_image(path, 2)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2), bool), "bool"),
        (np.zeros((2, 2), "float16"), "float16"),
        (np.zeros((2, 2), "complex64"), "complex64"),
        (np.zeros((2, 2), [("a", "u1")]), "'a'"),
        (np.array([[{}]], object), "object"),
        (np.zeros((2, 2), "U3"), "<U3|str"),
        (np.zeros(5), "y and x"),
        (np.zeros((5, 0)), "y and x"),
        (np.zeros((1,) * 7), "6 axes"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_what_is_no_image_is_refused_by_name(
    tmp_path: Path, array: np.ndarray, reason: str, kind: str
) -> None:
    """Types that are not stored, pickled objects, and shapes without y and x are named."""
    path = tmp_path / f"a.{kind}"
    (np.save if kind == "npy" else np.savez)(path, array)
    with pytest.raises(SourceError, match=reason):
        open_image(str(path))


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Path, kind: str, at: float) -> None:
    """A file that ends before its voxels do is an error."""
    path = tmp_path / f"a.{kind}"
    (np.save if kind == "npy" else np.savez)(path, ARRAY)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])
    with pytest.raises(SourceError, match=rf"a\.{kind}"):
        open_image(str(path))


def header(shape: tuple[int, ...]) -> bytes:
    """Return an NPY header that claims `shape`."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<u2", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def test_claims_beyond_the_file_are_refused(tmp_path: Path) -> None:
    """A header that claims 186 GiB is refused before memory is asked for, in a zip as outside."""
    (tmp_path / "a.npy").write_bytes(header((100000, 1000000)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header((100000, 1000000)) + b"\0" * 1000)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(SourceError, match="claims 2000000"):
            open_image(str(tmp_path / name))


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """More bytes than deflate can make of what is stored are not believed."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=ARRAY)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 1 << 31)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="claims 2147483648 bytes"):
        open_image(str(path))


def test_headers_of_python_2_are_read(tmp_path: Path) -> None:
    """Extents that were written as ``3L`` are numbers, without a word."""
    data = header((3, 4)).replace(b"(3, 4)  ", b"(3L, 4L)") + bytes(range(24))
    (tmp_path / "a.npy").write_bytes(data)
    found = open_image(str(tmp_path / "a.npy"))
    assert found.description.shape == (3, 4)
    expected = np.frombuffer(bytes(range(24)), "<u2").reshape(3, 4)
    np.testing.assert_array_equal(found.read(Region("qi", (0, 0), (3, 4))), expected)


def test_flipped_bits_in_a_zip_are_found(tmp_path: Path) -> None:
    """The zip's checksum is verified before any voxel is given."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros((64, 64, 64), "uint16"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    source = open_image(str(path))
    with pytest.raises(SourceError, match="CRC"):
        source.read(Region("qij", (0, 0, 0), (1, 1, 1)))


def test_a_closed_source_reads_again(tmp_path: Path) -> None:
    """Closing twice is safe and only releases what was held; a shorter file is refused."""
    path = tmp_path / "a.npy"
    np.save(path, ARRAY)
    source = open_image(str(path))
    source.close()
    source.close()
    assert source.read(Region("qij", (1, 1, 1), (2, 2, 2))) == ARRAY[1, 1, 1]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(SourceError, match="changed"):
        source.read(Region("qij", (1, 1, 1), (2, 2, 2)))


def test_what_lies_beside_the_images_of_an_archive_is_told(tmp_path: Path) -> None:
    """Single numbers, texts and masks of truth values are no images; a note names them."""
    path = str(tmp_path / "a.npz")
    more = {f"n{i}": np.float64(i) for i in range(5)}
    np.savez(path, rate=30.0, stack=ARRAY, names=np.array(["a", "b"]), mask=ARRAY > 9, **more)
    assert [scene.name for scene in scenes(path)] == ["stack"]
    source = open_image(path)
    np.testing.assert_array_equal(source.read(Region.whole("qij", ARRAY.shape)), ARRAY)
    notes = source.description.notes
    assert len(notes) == 6
    assert notes[0].startswith(f"no image: {path}::rate: shape ()")
    assert notes[-1] == "no image: and 3 more"
    with pytest.raises(SourceError, match=r"a\.npz::mask: dtype bool"):
        open_image(f"{path}::mask")
    assert open_image(f"{path}::stack").description.notes == ()
    np.savez(path, rate=30.0, names=np.array(["a", "b"]))
    for call in (open_image, scenes):
        with pytest.raises(SourceError, match=r"a\.npz::rate: shape \(\)"):
            call(path)
