"""Disks that fail as real ones do: one that is soon full, and one that cannot be written."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_WRITE = 0o222


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Yield an empty folder on a disk of so many MiB, in memory; it is gone after the block.

    Only root may mount: a test of anyone else's is skipped.
    """
    _need_root("small_disk")
    words = ("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs")
    with tempfile.TemporaryDirectory() as folder, _mounted(Path(folder), *words):
        yield Path(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing below `folder` be written during the block.

    For root, whom modes do not bind, by a mount of the folder on itself; otherwise by modes.
    """
    if os.geteuid() != 0:
        with _without_write_modes(folder):
            yield
        return
    with _mounted(folder, "--bind", str(folder)):
        _run("mount", "-o", "remount,bind,ro", str(folder))
        yield


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{what}: needs root to mount")


@contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[None]:
    try:
        _run("mount", *words, str(folder))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount here: {error.stderr.strip()}")
    try:
        yield
    finally:
        # At once for those who look, even while someone holds a file open.
        _run("umount", "--lazy", str(folder))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)


@contextmanager
def _without_write_modes(folder: Path) -> Iterator[None]:
    paths = [folder, *folder.rglob("*")]
    modes = [(path, path.stat().st_mode) for path in paths if not path.is_symlink()]
    try:
        for path, mode in modes:
            path.chmod(mode & ~_WRITE)
        yield
    finally:
        for path, mode in modes:
            if path.exists():
                path.chmod(mode)
