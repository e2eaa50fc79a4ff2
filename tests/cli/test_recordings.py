"""Recordings from the command line: made, looked at, verified, exported."""

import json
import shutil
from pathlib import Path

import pytest

from microtome_cli.main import BAD_INPUT, DAMAGED, main
from tests.sensorium_folders import Mouse, write_folder, write_zip

MOUSE = Mouse(trials=8)


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one folder that no test changes."""
    return write_folder(tmp_path_factory.mktemp("mouse") / "mouse", MOUSE)


@pytest.fixture(scope="module")
def root(mouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest it once."""
    found = tmp_path_factory.mktemp("root")
    assert main(["ingest", str(mouse), str(found), "--as", "sensorium/mouse-a"]) == 0
    return found


def test_a_folder_becomes_a_recording_and_comes_back(
    mouse: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--as c/d`` makes c/d/recording; verify agrees with the source; export returns it."""
    assert main(["ingest", str(mouse), str(root), "--as", "sensorium/mouse-a"]) == 0
    assert (
        "nothing to do, the same is there: sensorium/mouse-a/recording" in capsys.readouterr().out
    )
    words = [str(root), "sensorium/mouse-a"]
    assert main(["verify", *words, "--source", str(mouse)]) == 0
    assert "all right" in capsys.readouterr().out
    assert main(["export", "sensorium", *words, "--out", str(tmp_path / "out")]) == 0
    assert "each as it was" in capsys.readouterr().out
    for path in (path for path in mouse.rglob("*") if path.is_file()):
        other = tmp_path / "out" / path.relative_to(mouse)
        assert other.read_bytes() == path.read_bytes()
    assert main(["export", "sensorium", *words, "--out", str(tmp_path / "out")]) == BAD_INPUT
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", "sensorium", *words, "--out", str(tmp_path / "out"), "--overwrite"]) == 0


def test_info_tells_of_a_folder_a_zip_and_a_recording(
    mouse: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after: trials by tier, variables with axes, rate and padding, what is withheld."""
    zipped = write_zip(tmp_path / "mouse.zip", MOUSE)
    for path in (mouse, zipped):
        assert main(["info", str(path), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["trials"] == sum(told["tiers"].values()) == 8
        assert told["variables"]["responses"]["shapes"] == [[12]]
        assert told["variables"]["videos"]["trials"] == {"stored": 8, "missing": 0}
    assert main(["info", str(root / "sensorium/mouse-a/recording")]) == 0
    text = capsys.readouterr().out
    withheld = sum("test" in tier for tier in MOUSE.tiers())
    assert f"{withheld} withheld" in text
    assert "y, x, time: 6 × 8 × time float32 in grey level, 30 Hz" in text
    assert "responses all median: agrees with that of the training tier" in text


def test_one_video_is_still_an_image(
    mouse: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``--scene`` or ``::`` a video becomes an image layer, as before."""
    words = ["--as", "sensorium/mouse-a/video", "--unit", "pixel", "--voxel-size", "y=1,x=1"]
    words += ["--time-step", "0.0333"]
    assert main(["ingest", f"{mouse}::videos/3", str(root), *words]) == 0
    assert "wrote sensorium/mouse-a/video: tyx" in capsys.readouterr().out
    assert main(["ingest", str(mouse), str(root), "--as", "sensorium/mouse-a/video"]) == BAD_INPUT
    assert "is a layer of voxels, not a recording" in capsys.readouterr().err
    words[1] = "sensorium/mouse-a/recording"
    assert main(["ingest", f"{mouse}::videos/3", str(root), *words]) == BAD_INPUT
    assert "is a recording: choose another name" in capsys.readouterr().err


def test_what_a_recording_has_not_is_refused(
    mouse: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options of volumes are named, and nothing is written."""
    words = ["ingest", str(mouse), str(tmp_path / "new"), "--as", "a/b"]
    assert main([*words, "--chunk", "8,8,8"]) == BAD_INPUT
    assert "--chunk: a recording of trials has no such thing" in capsys.readouterr().err
    assert main([*words, "--time-step", "-1"]) == BAD_INPUT
    assert not (tmp_path / "new").exists()
    export = ["export", "sensorium", str(root), "sensorium/mouse-a", "--out", str(tmp_path / "o")]
    assert main([*export, "--level", "1"]) == BAD_INPUT
    assert "--level: sensorium has no such option" in capsys.readouterr().err


def test_verify_tells_of_damage_by_its_exit_code(
    mouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard that was changed is named, and the exit code says so."""
    assert main(["ingest", str(mouse), str(tmp_path), "--as", "sensorium/mouse-a"]) == 0
    shard = tmp_path / "sensorium/mouse-a/recording/data/videos/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", str(tmp_path), "sensorium/mouse-a"]) == DAMAGED
    out = capsys.readouterr().out
    assert "changed     data/videos/c/0/0/0" in out
    assert "1 finding" in out


def test_a_damaged_document_is_a_finding(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a recording says of itself may be what is damaged."""
    shutil.copytree(root, tmp_path / "root")
    (tmp_path / "root/sensorium/mouse-a/recording/zarr.json").write_text("{")
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "root"), "sensorium/mouse-a"]) == DAMAGED
    assert "unreadable  zarr.json" in capsys.readouterr().out
