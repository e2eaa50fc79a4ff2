"""Volumes larger than the memory allowed for them; minutes long."""

import json
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

BOUND_GIB = 1.5

_MEASURED = """
import json, resource, sys
from microtome_cli.main import main
assert main(sys.argv[1:]) == 0
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
"""


def ingest(source: str, root: Path, *options: str) -> float:
    """Run ``microtome ingest`` in a process of its own and return its peak memory in GiB."""
    words = ["ingest", source, str(root), "--as", "large/volume/noise", *options]
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return float(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_volume(tmp_path: Path) -> None:
    """Half a GiB and three take the same memory, within a quarter, and less than the bound."""
    small = ingest("synthetic://neurons?shape=256,1024,1024&seed=1", tmp_path / "small")
    large = ingest("synthetic://neurons?shape=384,2048,2048&seed=1", tmp_path / "large")
    assert large < BOUND_GIB
    assert large < 1.25 * max(small, 0.8)


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
