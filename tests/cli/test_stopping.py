"""Ingests that are stopped, told of as JSON, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from microtome_core.store.location import Store
from tests.trees import tree

SOURCE = "synthetic://neurons?shape=64,256,512&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=32,x=32", "--memory", "1GiB")


def start(root: Path, *more: str) -> "subprocess.Popen[str]":
    """Start an ingest that takes a few seconds."""
    words = [sys.executable, "-m", "microtome_cli", "ingest", SOURCE, str(root), "--as", "a/b/c"]
    return subprocess.Popen(
        [*words, *LAYOUT, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )


def stop(process: "subprocess.Popen[str]", root: Path, number: int) -> tuple[int, float, str]:
    """Send a signal when the first shards are there; return exit code, seconds and words."""
    deadline = time.monotonic() + 60
    while len(list((root / "a/b/c/0/c").glob("*/*/*"))) < 20:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - started, errors


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_ingest_goes_on_where_it_was(tmp_path: Path, number: int, code: int) -> None:
    """It ends within ten seconds with its own exit code, leaves no half file and no claim, and the
    next run does only the rest and ends in the bytes of an undisturbed one.
    """
    root = tmp_path / "root"
    told = stop(start(root), root, number)
    assert told[0] == code
    assert told[1] < 10
    assert "Traceback" not in told[2]
    assert not list(root.rglob("*.__lock"))
    assert not (root / "a/b/c/0/ledger/claims").exists()
    assert not (root / "a/b/c/zarr.json").exists()
    written = {path: path.stat().st_mtime_ns for path in (root / "a/b/c/0/c").rglob("*")}
    again = start(root)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "goes on: " in errors
    kept = [path for path, when in written.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= 20
    calm = start(tmp_path / "calm")
    calm.communicate(timeout=120)
    assert tree(Store(str(root))) == tree(Store(str(tmp_path / "calm")))


@pytest.mark.slow
def test_a_second_ingest_of_the_same_layer_is_told(tmp_path: Path) -> None:
    """While one process writes a layer another one is refused and names the first."""
    root = tmp_path / "root"
    first = start(root)
    while not list((root / "a/b/c/0/ledger").glob("job.json")):
        assert first.poll() is None
        time.sleep(0.01)
    second = start(root)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 75
    assert f"is being written by process {first.pid}" in errors
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors


def events(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """Return what a process tells as JSON."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == ""
    return [json.loads(line) for line in out.splitlines()]


def test_progress_is_told_as_json(tmp_path: Path) -> None:
    """Every line of standard output is an object: what there is to do, how far it is with rate,
    memory and time left, and the layer in the end.
    """
    told = events(start(tmp_path / "root", "--json"))
    assert [told[0]["event"], told[-1]["event"]] == ["begin", "done"]
    last = [line for line in told if line["event"] == "progress"][-1]
    assert last["bytes"] == last["total_bytes"] == told[0]["total_bytes"]
    assert last["shards"] == last["total_shards"] == told[0]["total_shards"]
    assert last["memory"] > 2**20
    assert last["rate"] > 0
    assert last["seconds_left"] == 0
    assert 0 < last["stored_bytes"] < last["bytes"]
    assert told[-1]["info"]["id"] == "a/b/c"
    assert told[-1]["written"] is True
    again = events(start(tmp_path / "root", "--json"))
    assert [again[0]["event"], again[0]["written"]] == ["done", False]
