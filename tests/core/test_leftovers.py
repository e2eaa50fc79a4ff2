"""What dead writers leave is removed; what living ones write is not touched."""

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getsource
from pathlib import Path

import pytest

from microtome_core.store.leftovers import sweep_folder, sweep_object
from microtome_core.store.location import Store


def take(path: str) -> int:
    """Take the lock that TensorStore takes of a file; return the descriptor that holds it."""
    descriptor = os.open(path, os.O_RDWR)
    if hasattr(fcntl, "F_OFD_SETLK"):
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


# Says that it has the lock, and waits to be told to end.
HOLD = f"""
import fcntl, os, struct, sys
{getsource(take)}
take(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Let another process hold the lock of a file."""
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.stdin.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layer's folder with objects, a leftover deep in it, and names that look alike."""
    for name in ("0/c/1/2", "0/c/1/2.__lock", "0/zarr.json", "0/__lock", "0/c/x.__lock.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    return tmp_path


def files(folder: Path) -> set[str]:
    """Return what lies below a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def test_leftovers_of_dead_writers_are_removed(folder: Path) -> None:
    """All of them, and nothing else; what was removed is told."""
    before = files(folder)
    assert sweep_folder(folder) == [folder / "0/c/1/2.__lock"]
    assert files(folder) == before - {"0/c/1/2.__lock"}
    assert sweep_folder(folder) == []


def test_the_file_of_a_living_writer_is_left_alone(folder: Path) -> None:
    """As long as another process holds it; when that has ended it goes."""
    path = folder / "0/c/1/2.__lock"
    with held(path):
        assert sweep_folder(folder) == []
        sweep_object(folder / "0/c/1/2")
        assert path.read_bytes() == b"half"
    assert sweep_folder(folder) == [path]


def test_the_file_of_a_writer_in_this_process_is_left_alone(folder: Path) -> None:
    """Locks of one process exclude each other, too: other threads may be writing."""
    path = folder / "0/c/1/2.__lock"
    descriptor = take(str(path))
    try:
        assert sweep_folder(folder) == []
    finally:
        os.close(descriptor)
    assert path.exists()
    assert sweep_folder(folder) == [path]


def test_the_leftover_of_one_object_is_removed(folder: Path) -> None:
    """That of its name only; one that is not there is no error."""
    (folder / "0/c/1/3.__lock").write_bytes(b"half")
    sweep_object(folder / "0/c/1/2")
    assert not (folder / "0/c/1/2.__lock").exists()
    assert (folder / "0/c/1/3.__lock").exists()
    sweep_object(folder / "0/c/1/2")
    sweep_object(folder / "nowhere/at/all")


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    """Nothing to do is no error."""
    assert sweep_folder(tmp_path / "nowhere") == []


def test_a_long_leftover_does_not_end_up_in_the_next_object(tmp_path: Path) -> None:
    """What is written over the leftover of a larger object is what is read, without its tail."""
    store = Store(str(tmp_path))
    (tmp_path / "a.__lock").write_bytes(b"x" * 1000)
    store.write("a", b"short")
    assert (tmp_path / "a").read_bytes() == b"short"
    assert files(tmp_path) == {"a"}
