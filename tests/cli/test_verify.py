"""``microtome verify``: its lines, its JSON and its exit codes."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_cli.verify_all import verify_all
from microtome_core.errors import StorageError
from microtome_core.store.location import Store

SIZES = ("--axes", "zyx", "--voxel-size", "2,0.5,0.5", "--chunk", "8,8,8", "--shard", "16,16,16")
LAYER = "a/b/c"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with one layer of noise, made of ``in.npy`` beside it."""
    voxels = np.random.default_rng(0).integers(1, 60000, (20, 40, 30)).astype("uint16")
    np.save(tmp_path / "in.npy", voxels)
    words = ["ingest", str(tmp_path / "in.npy"), str(tmp_path / "root"), "--as", LAYER]
    assert main([*words, *SIZES]) == 0
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """Forget what the ingest printed."""
    capsys.readouterr()


def flip(root: Path, key: str) -> None:
    """Flip one bit of a shard."""
    path = root / LAYER / key
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


def verify(root: Path, *options: str) -> int:
    """Run the command."""
    return main(["verify", str(root), LAYER, *options])


def events(text: str) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_all_right_is_one_line_and_exit_code_0(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output holds the summary alone; progress goes elsewhere."""
    assert verify(root) == 0
    out = capsys.readouterr()
    (line,) = out.out.splitlines()
    assert line.startswith("a/b/c: 20 shards, ")
    assert line.endswith("/s): all right")
    assert "100 %" in out.err


def test_damage_is_a_line_each_and_exit_code_3(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong, the shard, and the details; then the summary."""
    flip(root, "0/c/1/2/1")
    (root / LAYER / "1/c/0/0/0").unlink()
    (root / LAYER / "0/c/0/0/1").write_bytes(b"")
    assert verify(root) == 3
    *lines, summary = capsys.readouterr().out.splitlines()
    assert {tuple(line.split()[:2]) for line in lines} == {
        ("changed", "0/c/1/2/1"),
        ("missing", "1/c/0/0/0"),
        ("empty", "0/c/0/0/1"),
    }
    assert summary.endswith(": 3 findings")


def test_voxels_are_compared_with_the_source(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary says of how many shards; the answers of the ingest need not be repeated."""
    assert verify(root, "--source", str(root.parent / "in.npy")) == 0
    assert "voxels of 20 compared: all right" in capsys.readouterr().out


def test_what_could_not_be_compared_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged shard and those that are made of it."""
    flip(root, "0/c/0/0/0")
    assert verify(root, "--source", str(root.parent / "in.npy")) == 3
    assert "note: 2 of 20 shards were not compared" in capsys.readouterr().out


def test_repair_mends_and_is_exit_code_0(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each damage is told, then that it was mended; the next run finds nothing."""
    flip(root, "0/c/1/2/1")
    flip(root, "1/c/0/0/0")
    source = ("--source", str(root.parent / "in.npy"))
    assert verify(root, "--repair", *source) == 0
    out = capsys.readouterr().out
    assert "repaired    0/c/1/2/1\nrepaired    1/c/0/0/0\n" in out
    assert out.splitlines()[-1].endswith("voxels of 20 compared: 2 findings, 2 repaired")
    assert verify(root, *source) == 0


def test_what_cannot_be_mended_is_exit_code_3(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Level 0 without a source; the line says what is needed."""
    flip(root, "0/c/1/2/1")
    flip(root, "1/c/0/0/0")
    assert verify(root, "--repair") == 3
    out = capsys.readouterr().out
    assert "left        0/c/1/2/1  level 0 is made anew from the source only" in out
    assert "repaired    1/c/0/0/0" in out
    assert verify(root, "--repair", "--source", str(root.parent / "in.npy")) == 0


def test_json_is_one_object_a_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Findings, what became of them, and the summary, each with its event."""
    flip(root, "0/c/1/2/1")
    flip(root, "1/c/0/0/0")
    assert verify(root, "--repair", "--json") == 3
    told = events(capsys.readouterr().out)
    by_event = {event["event"]: event for event in told}
    found = [event for event in told if event["event"] == "finding"]
    assert [(e["fault"], e["key"], e["layer"]) for e in found] == [
        ("changed", "0/c/1/2/1", LAYER),
        ("changed", "1/c/0/0/0", LAYER),
    ]
    assert by_event["repaired"]["key"] == "1/c/0/0/0"
    assert by_event["left"]["key"] == "0/c/1/2/1"
    assert "--source" in by_event["left"]["detail"]
    assert by_event["progress"]["shards"] == 20
    done = told[-1]
    assert (done["event"], done["findings"], done["repaired"], done["left"]) == ("done", 2, 1, 1)
    assert done["shards"] == 20
    assert done["bytes"] > 10_000
    assert done["seconds"] > 0


def test_a_lost_manifest_is_exit_code_3(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, though nothing more can be told."""
    (root / LAYER / "0/ledger/job.json").unlink()
    assert verify(root) == 3
    assert capsys.readouterr().out.startswith("missing     0/ledger/job.json")


def test_another_source_is_exit_code_2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is compared with it."""
    np.save(root.parent / "other.npy", np.ones((20, 40, 30), "uint16"))
    assert verify(root, "--source", str(root.parent / "other.npy")) == 2
    assert "was made of another source: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a/b/none"], "no layer a/b/none"),
        (["a/b"], "collection/dataset/layer"),
        ([LAYER, "--memory", "1MiB"], "give more"),
        ([LAYER, "--source", "nowhere.npy"], "not found"),
    ],
)
def test_words_that_cannot_be_are_exit_code_2(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """The message says what was expected."""
    assert main(["verify", str(root), *words]) == 2
    assert expected in capsys.readouterr().err


def test_storage_that_fails_is_exit_code_75(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root that cannot be read is worth another try, and is no damage."""
    blocked = root.parent / "file"
    blocked.write_text("no folder")
    assert main(["verify", str(blocked / "root"), LAYER]) == 75
    assert "file" in capsys.readouterr().err


def test_findings_go_to_a_pipe(root: Path) -> None:
    """A process of its own: standard output is for programs, standard error for people."""
    flip(root, "0/c/1/2/1")
    words = [sys.executable, "-m", "microtome_cli", "verify", str(root), LAYER]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["changed", "a/b/c:"]
    assert "changed" not in done.stderr


def test_without_a_layer_all_are_verified(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every layer has its line, labels of an image too; damage makes it exit code 3."""
    labels = ["--as", "a/b/parts", "--kind", "labels", "--labels-of", "c"]
    source = str(root.parent / "in.npy")
    assert main(["ingest", source, str(root), *labels, *SIZES]) == 0
    assert main(["ingest", source, str(root), "--as", "z/other/c", *SIZES]) == 0
    (root / "a/b/notes").mkdir()
    capsys.readouterr()
    assert main(["verify", str(root)]) == 0
    out = capsys.readouterr()
    lines = out.out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [LAYER, "a/b/parts", "z/other/c"]
    assert lines[-1].endswith("root: 3 layers: all right")
    assert "a/b/notes is not verified: no layer a/b/notes" in out.err
    flip(root, "0/c/0/0/0")
    assert main(["verify", str(root), "--json"]) == 3
    told = events(capsys.readouterr().out)
    assert [(e["layers"], e["damaged"]) for e in told if e["event"] == "all"] == [(3, 1)]


def test_a_layer_that_cannot_be_read_hides_no_damage(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted, and the others are verified; without damage its failure is the command's."""
    assert main(["ingest", str(root.parent / "in.npy"), str(root), "--as", "z/y/x", *SIZES]) == 0
    damaged = {LAYER: False}

    def verify(_: Store, name: str, __: argparse.Namespace) -> bool:
        if name == "z/y/x":
            raise StorageError("gone")
        return damaged[name]

    said = argparse.Namespace(source=None, json=False)
    capsys.readouterr()
    with pytest.raises(StorageError, match="gone"):
        verify_all(Store(str(root)), said, verify)
    assert capsys.readouterr().out.endswith("root: 1 layer: 1 unread\n")
    damaged[LAYER] = True
    assert verify_all(Store(str(root)), said, verify) == 3
    assert capsys.readouterr().out.endswith("root: 1 layer: 1 damaged, 1 unread\n")


def test_all_layers_have_no_source(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source is that of one layer, and a root without datasets is most often misspelt."""
    assert main(["verify", str(root), "--source", "in.npy"]) == 2
    assert "say which layer" in capsys.readouterr().err
    assert main(["verify", str(root / "nowhere")]) == 2
    assert "no dataset in" in capsys.readouterr().err
