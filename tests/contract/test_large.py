"""Volumes larger than the memory allowed for them; minutes long."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import microtome
from microtome_core.region import Region
from microtome_ingest.formats import open_source
from tests.contract.conftest import running

BOUND_GIB = 1.0
# By how much two runs of the same volume differ.
CHANCE_GIB = 0.015
# Labels compress to nearly nothing, so that large volumes need no disk.
LABELS = ("synthetic://neurons?seed=1&kind=labels&dtype=uint16&shape=", "--kind", "labels")

# Not getrusage: it starts from what the parent held when it forked.
_MEASURED = """
import re, sys
from microtome_cli.main import main
assert main(sys.argv[1:]) == 0
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**20)
"""


def ingest(source: str, root: Path, *options: str) -> float:
    """Run ``microtome ingest`` in a process of its own and return its peak memory in GiB."""
    words = ["ingest", source, str(root), "--as", "large/volume/noise", *options]
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return float(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def peak_of_2_gib(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Return the most that three ingests of 2 GiB take."""
    return max(peak(tmp_path_factory.mktemp("small"), "256,2048,2048") for _ in range(3))


def peak(root: Path, shape: str, *options: str) -> float:
    """Return the most memory in GiB that an ingest takes, being allowed `BOUND_GIB`.

    One step at a time unless `options` say otherwise: which steps of several overlap is chance, and
    a long job has more chances.
    """
    more = options or ("--threads", "1")
    return ingest(LABELS[0] + shape, root, *LABELS[1:], "--memory", f"{BOUND_GIB}GiB", *more)


@pytest.mark.slow
def test_two_gibibytes_take_no_more_than_they_may(tmp_path: Path) -> None:
    """An ingest of 2 GiB that is allowed one takes less than one."""
    assert peak(tmp_path, "256,2048,2048") < BOUND_GIB


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["512,2048,2048", "8192,2048,2048"], ids=["4 GiB", "64 GiB"])
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_volume(
    tmp_path: Path, peak_of_2_gib: float, shape: str
) -> None:
    """Twice and thirty-two times as many voxels take the same memory as 2 GiB, within a tenth and
    what is chance between runs, and less than the bound.
    """
    large = peak(tmp_path, shape)
    assert large < BOUND_GIB
    assert large < 1.1 * peak_of_2_gib + CHANCE_GIB


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_as_many_steps_as_memory_holds_stay_within_it(tmp_path: Path) -> None:
    """With steps in flight as by default, 16 GiB stay under the bound."""
    assert peak(tmp_path, "2048,2048,2048", "--levels", "6") < BOUND_GIB


@pytest.mark.slow
def test_a_large_volume_comes_back_voxel_by_voxel(
    tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    """All of a 400 MB volume through the service equals the source, in parallel parts."""
    url = "synthetic://neurons?shape=3,64,1024,1024&seed=5&axes=czyx"
    ingest(url, tmp_path)
    with closing(open_source(url)) as source, running(str(tmp_path), unused_port()) as address:
        volume = microtome.open(f"{address}/large/volume/noise")
        expected = source.read(Region.whole(volume.axes, volume.shape))
        assert np.array_equal(volume[...], expected)
        assert np.array_equal(volume[1, ::7, -300:, 5::3], expected[1, ::7, -300:, 5::3])
