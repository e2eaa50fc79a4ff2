"""The table of formats: which row claims what, told by content first."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from microtome_core.errors import SourceError
from microtome_ingest.formats import all_formats, format_of
from microtome_ingest.table import FORMATS

NIFTI_1 = bytes.fromhex("5c010000") + bytes(340) + b"n+1\0"
NIFTI_2 = bytes.fromhex("1c020000") + b"n+2\0\r\n\x1a\n" + bytes(500)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a", b"II*\0rest", "TIFF"),
        ("a.zip", b"MM\0+rest", "TIFF"),
        ("a.companion.ome", b"<?xml?>", "OME companion"),
        ("a.ome", b"\x93NUMPY", "NPY"),
        ("a.npz", b"PK\x03\x04", "NPZ"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "PNG"),
        ("a", b"\xff\xd8\xff\xe0", "JPEG"),
        ("a", b"\xda\xce\xbe\x0a", "ND2"),
        ("a.nd2", b"\0\0\0\x0cjP  \r\n\x87\n", "ND2"),
        ("a", b"ZISRAWFILE", "CZI"),
        ("a.oib", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Olympus OIB"),
        ("a.oif", b"\xff\xfe[\0F\0i\0", "Olympus OIF"),
        ("a", b"\x70\0\0\0\x10\0\0\0\x2a", "Leica LIF"),
        ("a", b"<?xml?><SpimData version='0.2'>", "BigDataViewer HDF5"),
        ("a", NIFTI_1, "NIfTI"),
        ("a", NIFTI_2, "NIfTI"),
        ("a.nii.gz", b"\x1f\x8b\x08", "NIfTI"),
        ("a.hdr", bytes.fromhex("0000015c") + bytes(344), "NIfTI"),
        ("a", b"NRRD0004\n", "NRRD"),
        ("a", b"RIFF\0\0\0\0AVI LIST", "video"),
        ("a", b"\0\0\0\x20ftypisom", "video"),
        ("a.avi", b"\x1aE\xdf\xa3", "video"),
    ],
)
def test_a_file_is_told_by_how_it_begins(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    """Content decides; the name only where content is shared with other kinds of files."""
    (tmp_path / name).write_bytes(content)
    assert format_of(str(tmp_path / name)).name == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (["zarr.json", "0.tif"], "Zarr"),
        ([".zattrs", "0/.zarray"], "Zarr"),
        (["attributes.json"], "N5"),
        (["info"], "Neuroglancer precomputed"),
        (["data/videos/0.npy", "meta/trials/tiers.npy"], "trial folder (Sensorium)"),
        (["z0.tif", "z1.tif"], "folder or pattern of TIFF, PNG, JPEG or NPY files"),
        (["info/z0.tif", "z0.tif"], "folder or pattern of TIFF, PNG, JPEG or NPY files"),
    ],
)
def test_a_folder_is_told_by_what_it_holds(
    tmp_path: Path, inside: Sequence[str], expected: str
) -> None:
    """Stores and trial folders come before folders of pictures."""
    for name in inside:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b'{"scales": []}')
    assert format_of(str(tmp_path / "folder")).name == expected
    assert format_of(f"{tmp_path / 'folder'}/").name == expected


def test_a_file_of_notes_named_info_does_not_make_a_volume(tmp_path: Path) -> None:
    """A folder of pictures may hold a file of any name."""
    for name in ("z0.tif", "z1.tif"):
        (tmp_path / name).write_bytes(b"II*\0")
    (tmp_path / "info").write_text("left hemisphere, 10x")
    assert format_of(str(tmp_path)).name == "folder or pattern of TIFF, PNG, JPEG or NPY files"


def test_a_zip_of_trials_is_told_by_its_members(tmp_path: Path) -> None:
    """Other zips, and those whose list of members is damaged, are of no known format."""
    for name, member in (("mouse.zip", "mouse/data/videos/0.npy"), ("other.zip", "a.txt")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, b"voxels")
    assert format_of(str(tmp_path / "mouse.zip")).name == "trial folder (Sensorium)"
    damaged = tmp_path / "mouse.zip.part"
    damaged.write_bytes((tmp_path / "mouse.zip").read_bytes()[:-30])
    for path in (tmp_path / "other.zip", damaged):
        with pytest.raises(SourceError, match=r"of no known format|its content is not"):
            format_of(str(path))


def test_addresses_reach_no_storage() -> None:
    """Computed volumes and BossDB are told by their address alone."""
    assert format_of("synthetic://neurons?shape=8,16,16").name == "synthetic://"
    for start in ("bossdb://", "bossdb+http://127.0.0.1:9/", "bossdb+https://localhost/"):
        assert format_of(f"{start}a/b/c").name == "BossDB"


def test_every_format_has_a_reader() -> None:
    """Each row names a module that is there, and the libraries that it imports."""
    for row in FORMATS:
        module = __import__(row.module, fromlist=["open_image"])
        assert callable(module.open_image), row.name
        assert callable(module.scenes), row.name
    names = [row.name for row in all_formats()]
    assert len(set(names)) == len(names)
