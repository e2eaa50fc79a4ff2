"""Exports of volumes larger than the memory that they may take; minutes long."""

import subprocess
import sys
from pathlib import Path

import pytest

from microtome_cli.main import main

BOUND_MIB = 600
# Labels compress to nearly nothing, so that a large volume needs little disk.
SOURCE = "synthetic://neurons?seed=1&kind=labels&dtype=uint16&shape=128,2048,2048"

# Not getrusage: it starts from what the parent held when it forked.
_MEASURED = """
import re, sys
from microtome_cli.main import main
assert main(sys.argv[1:]) == 0
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**10)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with labels of 1 GiB."""
    root = tmp_path_factory.mktemp("large")
    assert main(["ingest", SOURCE, str(root), "--as", "large/volume/noise"]) == 0
    return root


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "name"), [
    ("npy", "a.npy"), ("nrrd", "a.nrrd"), ("nifti", "a.nii.gz"), ("tiff", "a.tif"),
    ("nwb", "a.nwb"), ("ome-zarr", "a.zarr"), ("precomputed", "a"),
])  # fmt: skip
def test_memory_stays_bounded(large: Path, tmp_path: Path, kind: str, name: str) -> None:
    """1 GiB leaves through little more than half of it, imports included, whatever the format."""
    words = ["export", kind, str(large), "large/volume/noise", "--out", str(tmp_path / name)]
    more = ["--allow-incomplete"] if kind == "nwb" else []
    result = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words, *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.splitlines()[-1]) < BOUND_MIB
