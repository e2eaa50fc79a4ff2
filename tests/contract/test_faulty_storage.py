"""Storage that fails now and then: the right bytes in the end, or a clear error."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from microtome_core.store.location import Store
from tests.disks import read_only, small_disk
from tests.faults import FAULTS, FaultProxy
from tests.trees import tree

SOURCE = "synthetic://neurons?shape=32,128,128&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=32,x=32", "--memory", "1GiB")
TRY_AGAIN = 75
NO_PERMISSION = 77


def run(*words: str, endpoint: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command of microtome to its end."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    return subprocess.run(
        [sys.executable, "-m", "microtome_cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def ingest(root: str, endpoint: str = "") -> "subprocess.CompletedProcess[str]":
    """Ingest the source."""
    return run("ingest", SOURCE, root, "--as", "a/b/c", *LAYOUT, endpoint=endpoint)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what an undisturbed ingest stores."""
    root = tmp_path_factory.mktemp("calm")
    assert ingest(str(root)).returncode == 0
    return tree(Store(str(root)))


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.slow) for fault in (*FAULTS, "all")]
)
def test_ingest_and_verify_survive_a_tenth_of_faulty_requests(
    s3_endpoint: str, s3_store: Store, expected: dict[str, bytes], fault: str
) -> None:
    """Through faults of each kind the same bytes come out, if need be after trying again as the
    exit code says; verify through the same faults finds nothing wrong.
    """
    share = 0.1 / len(FAULTS)
    rates = dict.fromkeys(FAULTS, share) if fault == "all" else {fault: 0.1}
    with FaultProxy(s3_endpoint, rates=rates, seed=4, delay=0.2) as proxy:
        codes = until_done(lambda: ingest(s3_store.url, proxy.url))
        assert tree(s3_store) == expected
        codes += until_done(lambda: run("verify", s3_store.url, "a/b/c", endpoint=proxy.url))
        assert sum(proxy.faults.values()) > 10
    print(fault, codes)


def until_done(work: "Callable[[], subprocess.CompletedProcess[str]]") -> list[int]:
    """Call until it succeeds, as long as it says that trying again may help; return the codes."""
    codes = []
    while len(codes) < 5:
        done = work()
        codes.append(done.returncode)
        if done.returncode == 0:
            return codes
        assert done.returncode == TRY_AGAIN, done.stderr
        assert "microtome: " in done.stderr
        assert "Traceback" not in done.stderr
    raise AssertionError(done.stderr)


def test_a_full_disk_is_told_and_the_ingest_goes_on(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    """Nothing half written is visible or counted when the disk is full; with room it goes on."""
    with small_disk(2) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_300_000))
        root = disk / "root"
        failed = ingest(str(root))
        assert failed.returncode == TRY_AGAIN, failed.stderr
        assert "No space left" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert not (root / "a/b/c/zarr.json").exists()
        assert any((root / "a/b/c/0/c").rglob("*")), "it filled up before the first shard"
        ballast.unlink()
        again = ingest(str(root))
        assert again.returncode == 0, again.stderr
        assert "goes on: " in again.stderr
        assert tree(Store(str(root))) == expected


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    """The message names the folder; a layer that is there already stays and is accepted."""
    root = tmp_path / "root"
    root.mkdir()
    with read_only(root):
        failed = ingest(str(root))
        assert failed.returncode == NO_PERMISSION
        assert str(root) in failed.stderr
        assert "Traceback" not in failed.stderr
    assert list(root.iterdir()) == []
    assert ingest(str(root)).returncode == 0
    with read_only(root):
        again = ingest(str(root))
        assert again.returncode == 0, again.stderr
        assert "nothing to do" in again.stdout
