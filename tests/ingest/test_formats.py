"""Formats: told by content before name, with an error that says what would be accepted."""

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.report import report, report_text, scenes_text

PLANE = np.arange(30, dtype="uint8").reshape(5, 6)


def test_content_decides_before_the_name(tmp_path: Path) -> None:
    """A TIFF, PNG, JPEG or NPY opens under any name."""
    tifffile.imwrite(tmp_path / "a.dat", PLANE, metadata=None)
    (tmp_path / "b").write_bytes(imagecodecs.png_encode(PLANE))
    (tmp_path / "c.tif").write_bytes(imagecodecs.jpeg_encode(PLANE))
    with (tmp_path / "d.bin").open("wb") as file:
        np.save(file, PLANE)
    kinds = {"a.dat": "TIFF", "b": "PNG", "c.tif": "JPEG", "d.bin": "NPY"}
    for name, kind in kinds.items():
        found = open_source(str(tmp_path / name)).description
        assert (found.format, found.shape) == (kind, (5, 6))
        assert [scene.shape for scene in scenes(str(tmp_path / name))] == [(5, 6)]


def test_folders_patterns_members_and_addresses(tmp_path: Path) -> None:
    """A folder, a pattern, a member of an archive and a computed volume are sources as well."""
    for z in range(2):
        tifffile.imwrite(tmp_path / f"z{z}.tif", PLANE + z, metadata=None)
    np.savez(tmp_path / "a.npz", one=PLANE, two=PLANE + 1)
    for path in (str(tmp_path), str(tmp_path / "z*.tif")):
        assert open_source(path).read(Region("zyx", (1, 0, 0), (2, 1, 1))) == PLANE[0, 0] + 1
    assert open_source(f"{tmp_path / 'a.npz'}::two").description.shape == (5, 6)
    assert open_source("synthetic://neurons?shape=8,16,16").description.shape == (8, 16, 16)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "a.tif",
            b"this is text",
            r"named like TIFF, but its content is not.*supported are .*TIFF",
        ),
        ("a.txt", b"this is text", r"of no known format.*supported are .*TIFF"),
        ("a.dat", b"PK\x03\x04rest", r"of no known format"),
        ("a.zip", b"PK\x03\x04rest", r"named like trial folder"),
        ("a.xml", b"<?xml?>", r"named like BigDataViewer HDF5, but its content is not"),
        ("a.tif", b"", r"is empty \(0 bytes\)"),
    ],
)
def test_unknown_content_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    """The error says how the file starts and what is supported."""
    (tmp_path / name).write_bytes(content)
    for call in (open_source, scenes):
        with pytest.raises(SourceError, match=reason):
            call(str(tmp_path / name))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing file, an empty folder and a pattern without files are named."""
    for path in (tmp_path / "no.tif", tmp_path, tmp_path / "*.tif"):
        with pytest.raises(SourceError, match=r"not found|without pictures|holds no files"):
            open_source(str(path))


def test_the_report_says_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    """The text names format, axes, size and the options that answer; the dict is JSON."""
    path = str(tmp_path / "a.tif")
    stack = np.zeros((3, 64, 64), "uint16")
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX", "min": 1.0, "max": 9.0})
    found = report(open_source(path).description, scenes(path))
    assert json.loads(json.dumps(found)) == found
    text = report_text(found)
    for part in (
        "ImageJ TIFF",
        "zyx",
        "3 × 64 × 64",
        "uint16",
        "24.6 kB",
        "1 to 9",
        "--voxel-size",
    ):
        assert part in text
    assert scenes_text(scenes(path)) == "  0: unnamed, zyx 3 × 64 × 64 uint16"
