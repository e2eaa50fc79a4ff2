"""What ends an export leaves what was there, and nothing else."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from microtome_core.errors import Conflict, InputError, StorageError
from microtome_ingest.export.output import whole_file, whole_folder
from tests.disks import read_only, small_disk
from tests.export.made import Made, make

KINDS = [("nwb", "a.nwb"), ("tiff", "a.tif"), ("nrrd", "a.nrrd"), ("nifti", "a.nii.gz"),
         ("npy", "a.npy"), ("ome-zarr", "a.zarr"), ("precomputed", "a")]  # fmt: skip


def options(kind: str) -> list[str]:
    """Return what else a kind takes here."""
    return ["--allow-incomplete"] if kind == "nwb" else []


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a layer of 5 MB that hardly deflates."""
    root = tmp_path_factory.mktemp("large") / "root"
    return make(root, shape=(20, 300, 420), chunk="z=8,y=64,x=64")


def names(folder: Path) -> list[str]:
    """Return all that lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


# h5py, of what HDF5 could not write when it was closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_full_disk_is_named_and_nothing_is_left(
    large: Made, capsys: pytest.CaptureFixture[str], kind: str, name: str
) -> None:
    """Storage failed, so that the same command may succeed later."""
    with small_disk(2) as disk:
        assert large.export(kind, disk / name, *options(kind)) == 75
        assert "the disk is full" in capsys.readouterr().err
        assert names(disk) == []


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_lost_shard_is_an_error_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str
) -> None:
    """Voxels that cannot be read are never zeros in the file."""
    made = make(tmp_path / "root")
    for shard in (tmp_path / "root/lab/mouse/brain/0/c").rglob("*"):
        if shard.is_file():
            shard.unlink()
    (tmp_path / "out").mkdir()
    assert made.export(kind, tmp_path / "out" / name, *options(kind)) == 75
    assert "0/c/0" in capsys.readouterr().err
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(("kind", "name"), [KINDS[2], KINDS[5]])
def test_what_is_there_is_replaced_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str
) -> None:
    """Without --overwrite it stays as it is; with it, it is replaced as a whole."""
    made = make(tmp_path / "root")
    out = tmp_path / "out"
    out.mkdir()
    assert made.export(kind, out / name, "--region", "z=0:2") == 0
    before = [p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()]
    assert made.export(kind, out / name) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()] == before
    assert made.export(kind, out / name, "--overwrite") == 0
    assert [p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()] != before
    assert names(out) == [name]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    """--overwrite replaces only what such an export could have made."""
    made = make(tmp_path / "root", "yx")
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years")
    assert made.export("ome-zarr", home, "--overwrite") == 2
    assert (home / "thesis.txt").read_text() == "years"


def test_a_disk_that_refuses_is_told_from_one_that_failed(tmp_path: Path) -> None:
    """Rights are to be mended first: the exit code says so."""
    made = make(tmp_path / "root", "yx")
    (tmp_path / "out").mkdir()
    with read_only(tmp_path / "out"):
        assert made.export("npy", tmp_path / "out/a.npy") == 77


@pytest.mark.parametrize(("name", "said"), [
    ("a.tif", "ends in .nrrd or .nhdr"), ("no/a.nrrd", "there is no folder"),
])  # fmt: skip
def test_a_name_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """Before anything is read."""
    made = make(tmp_path / "root", "yx")
    assert made.export("nrrd", tmp_path / name) == 2
    assert said in capsys.readouterr().err


def test_options_of_other_formats_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the option and the format."""
    made = make(tmp_path / "root", "yx")
    assert made.export("npy", tmp_path / "a.npy", "--pyramid") == 2
    assert "--pyramid: npy has no such option" in capsys.readouterr().err


STALLED = """
import sys, time
from microtome_ingest.export import raw
begun = sys.argv.pop()
raw.write_voxels = lambda *_: (open(begun, "w"), time.sleep(60))
from microtome_cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_leaves_nothing(tmp_path: Path, large: Made) -> None:
    """An export that is terminated on its way removes what it wrote."""
    (tmp_path / "out").mkdir()
    begun = tmp_path / "begun"
    words = [
        "export",
        "nrrd",
        str(large.root),
        large.address,
        "--out",
        str(tmp_path / "out/a.nrrd"),
    ]
    with subprocess.Popen([sys.executable, "-c", STALLED, *words, str(begun)]) as child:
        for _ in range(600):
            if begun.exists():
                break
            time.sleep(0.1)
        assert len(names(tmp_path / "out")) == 1
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 143
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(("raised", "expected"), [
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    (RuntimeError("Unable to flush: No space left on device"), "the disk is full"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
])  # fmt: skip
def test_what_libraries_raise_of_a_disk_is_named(
    tmp_path: Path, raised: Exception, expected: str
) -> None:
    """Whatever its kind, the error names the file that was to be written."""

    def file() -> None:
        with whole_file(tmp_path / "a.x") as part:
            part.write_text("some")
            raise raised

    def folder() -> None:
        with whole_folder(tmp_path / "a.x", "mark") as part:
            (part / "some").write_text("some")
            raise raised

    for work in (file, folder):
        with pytest.raises(StorageError, match=rf"a\.x: .*{expected}"):
            work()
    assert names(tmp_path) == []


def test_who_comes_first_keeps_the_name(tmp_path: Path) -> None:
    """A file that appears meanwhile is not replaced without being asked to."""

    def late() -> None:
        with whole_file(tmp_path / "a") as part:
            part.write_text("mine")
            (tmp_path / "a").write_text("other's")

    with pytest.raises(Conflict):
        late()
    assert (tmp_path / "a").read_text() == "other's"
    assert names(tmp_path) == ["a"]


def test_a_folder_takes_no_file_s_place(tmp_path: Path) -> None:
    """A file's name must not be a folder's, whether it may be overwritten or not."""
    with pytest.raises(InputError), whole_file(tmp_path, overwrite=True):
        pass
