"""Readers in a process of their own: what happens to it is an error here, and nothing more."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import psutil
import pytest

from microtome_cli.main import main
from microtome_core.errors import InputError, RegionError, SourceError, StorageError
from microtome_core.region import Region
from microtome_ingest import formats, isolation
from microtome_ingest.isolation import Isolated, isolated_scenes
from tests.ingest import fragile

STACK = np.arange(1, 61, dtype=">u2").reshape(3, 4, 5)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a file of which planes 1 to 6 do harm when their first voxel is read."""
    voxels = np.zeros((7, 8, 9), "uint8")
    voxels[1:, 0, 0] = range(101, 107)
    np.save(tmp_path / "a.npy", voxels)
    return str(tmp_path / "a.npy")


@pytest.fixture
def source(path: str) -> Iterator[Isolated]:
    """Open it in a process of its own."""
    with closing(Isolated(fragile.FRAGILE, path, None, None)) as opened:
        yield opened


def plane(number: int) -> Region:
    """Return the region of one plane of the file."""
    return Region("qij", (number, 0, 0), (number + 1, 8, 9))


def children() -> list[psutil.Process]:
    """Return the processes that this one has started and that live."""
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]


def test_it_reads_as_the_reader_itself_does(tmp_path: Path) -> None:
    """Description, stamps, voxels and the count of decoded bytes are those of the reader."""
    np.save(tmp_path / "b.npy", STACK)
    path = str(tmp_path / "b.npy")
    with closing(Isolated(fragile.FRAGILE, path, None, None)) as source:
        itself = fragile.open_image(path)
        assert source.description == itself.description
        assert source.stamps == itself.stamps
        for stop in ((3, 4, 5), (1, 2, 3)):
            found = source.read(Region("qij", (0, 0, 0), stop))
            assert np.array_equal(found, STACK[tuple(map(slice, stop))])
            assert found.dtype == np.dtype("uint16")
            assert found.flags.writeable
        assert source.decoded == (60 + 6) * 2
    assert isolated_scenes(fragile.FRAGILE, path, None) == fragile.scenes(path)


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (1, SourceError, r"a\.npy: fragile crashed while reading it \(SIGSEGV\)"),
        (2, SourceError, r"a\.npy: .*takes more memory than its size allows"),
        (3, SourceError, r"a\.npy: .*KeyError: 'odd'"),
        (4, SourceError, r"^a\.file: plane 3 is cut off"),
        (5, StorageError, r"^s3://bucket: 503"),
    ],
)
def test_harm_is_an_error_that_names_the_file(
    source: Isolated, path: str, number: int, error: type[Exception], words: str
) -> None:
    """A crash, too much memory and any exception are errors, at opening and at reading; what can be
    read is read all the same, before and after.
    """
    with pytest.raises(error, match=words):
        Isolated(fragile.FRAGILE, path, 100 + number, None)
    for _ in range(2):
        assert not source.read(plane(0)).any()
        with pytest.raises(error, match=words):
            source.read(plane(number))


def test_a_reader_that_hangs_is_ended(source: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the time that a region may take is an error that says how long it took."""
    monkeypatch.setattr(isolation, "_PATIENCE", 0.5)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"fragile gave no answer within 1 s|within 0 s"):
        source.read(plane(6))
    assert time.monotonic() - began < 10


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    """More threads than places for answers get their own voxels each."""
    voxels = np.random.default_rng(1).integers(0, 99, (64, 40, 50)).astype("uint8")
    np.save(tmp_path / "c.npy", voxels)
    opened = Isolated(fragile.FRAGILE, str(tmp_path / "c.npy"), None, None)
    with closing(opened) as source, ThreadPoolExecutor(24) as pool:
        regions = [Region("qij", (n, 0, 0), (n + 1, 40, 50)) for n in range(64)]
        found = list(pool.map(source.read, regions))
        assert np.array_equal(np.concatenate(found), voxels)
        assert source.decoded == voxels.nbytes


def test_threads_that_read_beside_a_crash_go_on(source: Isolated) -> None:
    """A crash is told to those whose answers it took, never answered with voxels."""
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(source.read, plane(number)) for number in (0, 1, 0, 1, 0, 1)]
        for future in futures:
            error = future.exception(60)
            assert error is None or "crashed" in str(error)
    assert not source.read(plane(0)).any()


def test_its_process_ends_with_it(path: str) -> None:
    """Closing ends the process and gives its memory back; a later read starts another."""
    before, handles = len(children()), len(os.listdir("/proc/self/fd"))
    source = Isolated(fragile.FRAGILE, path, None, None)
    assert len(children()) == before + 1
    source.close()
    source.close()
    assert len(children()) == before
    assert not source.read(plane(0)).any()
    source.close()
    assert len(children()) == before
    assert len(os.listdir("/proc/self/fd")) == handles


def test_a_file_that_changed_before_a_new_process_is_refused(source: Isolated, path: str) -> None:
    """A process that is started anew must find the very same file."""
    source.close()
    np.save(path, np.zeros((7, 8, 9), "uint8"))
    with pytest.raises(SourceError, match="changed since it was opened"):
        source.read(plane(0))


def test_regions_are_checked_before_they_are_asked_for(source: Isolated) -> None:
    """Other axes and places outside of the array are errors of the caller."""
    with pytest.raises(RegionError):
        source.read(Region("zyx", (0, 0, 0), (1, 1, 1)))
    with pytest.raises(RegionError):
        source.read(Region("qij", (0, 0, 0), (8, 1, 1)))


def test_another_package_can_add_a_format(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an entry point announces is asked before our own formats, listed, and ingested."""
    np.save(path, np.zeros((7, 8, 9), "uint8"))
    point = EntryPoint("fragile", "tests.ingest.fragile:FRAGILE", formats.GROUP)
    monkeypatch.setattr(formats, "entry_points", lambda group: EntryPoints([point]))
    assert formats.format_of(path) is fragile.FRAGILE
    assert fragile.FRAGILE in formats.all_formats()
    words = ["ingest", path, str(tmp_path / "root"), "--as", "a/b/c", "--axes", "zyx"]
    assert main([*words, "--unit", "pixel"]) == 0
    wrong = EntryPoint("wrong", "tests.ingest.fragile:CRASHES", formats.GROUP)
    monkeypatch.setattr(formats, "entry_points", lambda group: EntryPoints([wrong]))
    with pytest.raises(InputError, match=r"entry point wrong of microtome\.formats.*got 101"):
        formats.format_of(path)
