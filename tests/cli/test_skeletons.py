"""Skeletons on the command line: told by `info`, kept by `ingest`."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from microtome_cli.main import main

TREE = b"# units: nm\n1 1 0 0 0 5 -1\n2 3 1.5 -2 0 1 1\n3 3 4 5 6 0.5 2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two skeletons."""
    path = tmp_path / "cells"
    path.mkdir()
    (path / "Cell 1.swc").write_bytes(TREE)
    (path / "Cell 2.swc").write_bytes(TREE.replace(b"nm", b"um"))
    return path


def kept(folder: Path) -> Path:
    """Return where annotations lie."""
    return folder.parent / "root/a/b/annotations"


def test_info_tells_of_a_skeleton(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes, roots, types, box and unit, as text and as JSON; of several once what is missing."""
    path = str(folder / "Cell 1.swc")
    assert main(["info", path]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert (lines["nodes"], lines["roots"]) == ("3", "1")
    assert lines["types"] == "soma 1, dendrite 2"
    assert lines["unit"] == "nanometer"
    assert "0 to 4 × -2 to 5 × 0 to 6" in lines["box"]
    assert main(["info", path, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["bounding_box"] == [[0, -2, 0], [4, 5, 6]]
    assert main(["info", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "2 skeletons" in text
    assert "missing" not in text
    for name in ("Cell 1.swc", "Cell 2.swc"):
        (folder / name).write_bytes(TREE.partition(b"\n")[2])
    assert main(["info", str(folder)]) == 0
    assert capsys.readouterr().out.count("missing") == 1


def test_a_skeleton_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lies in the dataset to the byte, with a JSON; again is nothing to do, another refused."""
    path, root = folder / "Cell 1.swc", str(folder.parent / "root")
    words = ["ingest", str(path), root, "--as", "a/b/cell"]
    assert main(words) == 0
    assert "wrote a/b/annotations/cell.swc: skeleton of 3 nodes, 1 root" in capsys.readouterr().out
    assert (kept(folder) / "cell.swc").read_bytes() == TREE
    told = json.loads((kept(folder) / "cell.swc.json").read_bytes())
    assert told["source"] == {
        "name": "Cell 1.swc", "size": len(TREE), "sha256": sha256(TREE).hexdigest()
    }  # fmt: skip
    assert (told["unit"], told["nodes"], told["roots"]) == ("nanometer", 3, 1)
    assert told["bounding_box"] == {"low": [0, -2, 0], "high": [4, 5, 6]}
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main([*words, "--unit", "um"]) == 2
    assert "--restart" in capsys.readouterr().err
    assert main([*words, "--unit", "um", "--restart", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (events[-1]["event"], events[-1]["annotation"]["unit"]) == ("done", "micrometer")


def test_a_folder_becomes_several(folder: Path) -> None:
    """Each file is kept under the name that was given and its own."""
    assert main(["ingest", str(folder), str(folder.parent / "root"), "--as", "a/b/n"]) == 0
    names = sorted(path.name for path in kept(folder).iterdir())
    assert names == ["n-cell-1.swc", "n-cell-1.swc.json", "n-cell-2.swc", "n-cell-2.swc.json"]


def test_nothing_is_kept_where_one_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files of a folder are checked before any is stored; names that fall together refused."""
    (folder / "cell-1.swc").write_bytes(TREE)
    words = ["ingest", str(folder), str(folder.parent / "root"), "--as", "a/b/n"]
    assert main(words) == 2
    assert "would both be n-cell-1" in capsys.readouterr().err
    (folder / "cell-1.swc").unlink()
    (folder / "z.swc").write_bytes(b"1 1 0 0 0 1 2\n")
    assert main(words) == 2
    assert "its parent 2 is not there" in capsys.readouterr().err
    assert not (folder.parent / "root").exists()


@pytest.mark.parametrize(
    "option", ["--axes=zyx", "--voxel-size=1,1,1", "--scene=0", "--kind=labels", "--chunk=1,1,1"]
)
def test_options_of_images_are_refused(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A skeleton has no voxels; what would be ignored is an error."""
    words = ["ingest", str(folder / "Cell 1.swc"), str(folder.parent / "root"), "--as", "a/b/n"]
    assert main([*words, option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err
