"""NWB files, read back by pynwb in processes of its own: libhdf5 keeps state that others' damaged
files may have left behind, and has crashed on closing a sound one.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# All of them together take two minutes.
CASES = (
    "nwb_cases.py",
    pytest.param("nwb_trials_cases.py", marks=pytest.mark.slow),
    pytest.param("nwb_samples_cases.py", marks=pytest.mark.slow),
)


def run(cases: str, marked: str) -> None:
    """Run the tests of a module in a process of their own."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "python_files=*_cases.py"]
    result = subprocess.run(
        [sys.executable, *words, "-m", marked, str(HERE / cases)],
        capture_output=True, text=True, check=False, cwd=HERE.parents[1],
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]


@pytest.mark.long
@pytest.mark.samples
@pytest.mark.parametrize("cases", CASES)
def test_layers_and_recordings_come_back(cases: str) -> None:
    """Each module says what comes back, and what DANDI's inspector thinks of it."""
    run(cases, "not slow")


@pytest.mark.slow
@pytest.mark.samples
def test_large_samples_come_back() -> None:
    """Those that take long."""
    run("nwb_samples_cases.py", "slow")


@pytest.mark.slow
@pytest.mark.samples
def test_what_every_sample_says_comes_back() -> None:
    """All that stands in its record beside its voxels, value by value."""
    run("nwb_every_sample_cases.py", "slow")
