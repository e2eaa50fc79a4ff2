"""The failing disks: they fail by the system's own errors, and leave nothing behind."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import read_only, small_disk

MIB = 1 << 20
NOBODY = 65534


@pytest.fixture(params=["as it is", "as a plain user"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a folder with a file in a folder; the test runs as who runs the tests, then without
    root's rights.
    """
    path = Path(tempfile.mkdtemp())
    lowered = request.param == "as a plain user" and os.geteuid() == 0
    if lowered:
        os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        (path / "in").mkdir()
        (path / "in" / "old").write_bytes(b"old")
        yield path
    finally:
        if lowered:
            os.seteuid(0)
        shutil.rmtree(path)


def test_a_small_disk_is_full_soon() -> None:
    """What is smaller fits, what is larger fails as a full disk does, and what is freed fits."""
    with small_disk(2) as disk:
        assert os.path.ismount(disk)
        (disk / "first").write_bytes(b"x" * MIB)
        with pytest.raises(OSError, match="No space left") as caught:
            (disk / "second").write_bytes(b"x" * 2 * MIB)
        assert caught.value.errno == errno.ENOSPC
        (disk / "second").unlink()
        (disk / "third").write_bytes(b"x" * MIB)
        assert (disk / "first").read_bytes() == b"x" * MIB
    assert not disk.exists()


def test_a_small_disk_goes_whatever_happens() -> None:
    """It is unmounted after an error, even while a file on it is open."""

    def fail(disk: Path) -> None:
        raise KeyError(disk)

    with pytest.raises(KeyError) as caught, small_disk(1) as disk, (disk / "f").open("wb"):
        fail(disk)
    disk = caught.value.args[0]
    assert str(disk) not in Path("/proc/mounts").read_text()
    assert not disk.exists()


def test_nothing_is_written_where_nothing_may_be(folder: Path) -> None:
    """Files are read; none is made, changed, renamed or deleted, nor folders made, at any depth."""
    old = folder / "in" / "old"
    refused = (errno.EROFS, errno.EACCES)
    with read_only(folder):
        assert old.read_bytes() == b"old"
        for write in (
            lambda: (folder / "new").write_bytes(b""),
            lambda: (folder / "in" / "new").write_bytes(b""),
            lambda: old.write_bytes(b"new"),
            lambda: old.rename(folder / "in" / "new"),
            old.unlink,
            (folder / "in" / "sub").mkdir,
        ):
            with pytest.raises(OSError, match=r"Read-only|denied") as caught:
                write()
            assert caught.value.errno in refused
    assert old.read_bytes() == b"old"


def test_writing_goes_on_afterwards(folder: Path) -> None:
    """The folder is as before, after an error too."""
    modes = [path.stat().st_mode for path in folder.rglob("*")]
    with pytest.raises(KeyError), read_only(folder):
        raise KeyError
    assert [path.stat().st_mode for path in folder.rglob("*")] == modes
    assert not os.path.ismount(folder)
    (folder / "in" / "old").write_bytes(b"new")
    (folder / "new").mkdir()


def test_who_may_not_mount_is_told(folder: Path) -> None:
    """Without root's rights a test that needs a small disk is skipped by name."""
    if os.geteuid() == 0:
        with small_disk(1) as disk:
            assert os.path.ismount(disk)
        return
    with pytest.raises(pytest.skip.Exception, match="small_disk: needs root"), small_disk(1):
        pass
