"""``--workers`` and ``--scheduler`` on the command line: quiet, stoppable, gone on with."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from microtome_cli.main import main
from microtome_core.store.location import Store
from tests.trees import tree

SOURCE = "synthetic://neurons?shape=64,256,512&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=32,x=32", "--memory", "1GiB")


def start(root: Path, *more: str) -> "subprocess.Popen[str]":
    """Start an ingest as a job of its own, as a shell does."""
    words = [sys.executable, "-m", "microtome_cli", "ingest", SOURCE, str(root), "--as", "a/b/c"]
    return subprocess.Popen(
        [*words, *LAYOUT, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for an ingest that succeeds; return what it told on the way."""
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return told


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what threads write."""
    root = tmp_path_factory.mktemp("calm")
    finish(start(root))
    return tree(Store(str(root)))


def strange(told: str) -> list[str]:
    """Return the lines that are not microtome's own."""
    return [line for line in told.splitlines() if not line.startswith(("a/b/c: ", "microtome: "))]


def running(group: int) -> list[psutil.Process]:
    """Return the processes of a group that run."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.slow
def test_workers_tell_of_progress_and_of_nothing_else(
    tmp_path: Path, calm: dict[str, bytes]
) -> None:
    """Standard error has lines of this layer alone, first how many workers there are."""
    told = finish(start(tmp_path / "root", "--workers", "2"))
    assert "a/b/c: 2 workers, ready after" in told
    assert strange(told) == []
    assert tree(Store(str(tmp_path / "root"))) == calm


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_workers_stop_with_their_job(
    tmp_path: Path, calm: dict[str, bytes], number: int, code: int
) -> None:
    """SIGTERM to the command, or Ctrl-C to all its processes, ends them within ten seconds and
    without a traceback; the next run does only the rest.
    """
    root = tmp_path / "root"
    process = start(root, "--workers", "2")
    while len(list((root / "a/b/c/0/c").glob("*/*/*"))) < 10:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, strange(told)) == (code, [])
    assert time.monotonic() - began < 10
    while running(process.pid):
        assert time.monotonic() - began < 15
        time.sleep(0.1)
    assert "goes on: " in finish(start(root, "--workers", "2"))
    assert tree(Store(str(root))) == calm


@pytest.mark.parametrize(
    "words",
    [
        ("--workers", "2", "--scheduler", "tcp://127.0.0.1:8786"),
        ("--workers", "2", "--array-index", "0/2"),
        ("--workers", "0"),
        ("--scheduler", "127.0.0.1"),
    ],
)
def test_engines_that_cannot_be_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """The message names the option, and nothing is written."""
    root = tmp_path / "root"
    assert main(["ingest", SOURCE, str(root), "--as", "a/b/c", *words]) == 2
    assert words[-2] in capsys.readouterr().err
    assert not root.exists()


def test_memory_is_divided_among_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too little for all of them is refused, with what would do."""
    words = ["--workers", "8", "--memory", "1GiB"]
    assert main(["ingest", SOURCE, str(tmp_path / "root"), "--as", "a/b/c", *words]) == 2
    assert "8 workers with shards of" in capsys.readouterr().err
