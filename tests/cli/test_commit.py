"""``microtome commit``: parts written by processes of their own become one layer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from microtome_cli.main import main
from microtome_core.store.location import Store
from tests.trees import tree

SOURCE = "synthetic://neurons?shape=64,256,256&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=64,x=64", "--memory", "1GiB")


def start(root: Path, *more: str) -> "subprocess.Popen[str]":
    """Start an ingest."""
    words = [sys.executable, "-m", "microtome_cli", "ingest", SOURCE, str(root), "--as", "a/b/c"]
    return subprocess.Popen(
        [*words, *LAYOUT, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )


def commit(root: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    words = [sys.executable, "-m", "microtome_cli", "commit", str(root), "a/b/c"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def finish(*processes: "subprocess.Popen[str]") -> None:
    """Wait until all have succeeded."""
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told


@pytest.mark.slow
def test_four_processes_at_once_and_commit_write_what_one_writes(tmp_path: Path) -> None:
    """Byte for byte, whole trees; commit refuses with 75 and the missing part's number while one
    is not done, and once more finds nothing to do.
    """
    root = tmp_path / "root"
    finish(*[start(root, "--array-index", f"{index}/4") for index in (0, 1, 3)])
    early = commit(root)
    assert early.returncode == 75
    assert "--array-index 2/4 again, then commit" in early.stderr
    finish(start(root, "--array-index", "2/4"))
    for text in ("wrote a/b/c: ", "nothing to do, the same is there: a/b/c: "):
        done = commit(root)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(text)
    finish(start(tmp_path / "whole"))
    assert tree(Store(str(root))) == tree(Store(str(tmp_path / "whole")))


def test_commit_of_nothing_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No layer of that name has been begun."""
    assert main(["commit", str(tmp_path), "a/b/c"]) == 2
    assert "no layer a/b/c has been begun" in capsys.readouterr().err
