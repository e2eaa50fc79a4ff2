"""The page on formats: its example is a package that adds a format, installed as one would be."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the page's package is installed."""
    site = tmp_path / "site"
    facts = site / "dump_format-1.0.dist-info"
    facts.mkdir(parents=True)
    (example,) = re.findall(r"^```py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (site / "dump_format.py").write_text(example)
    (declared,) = re.findall(r"^```toml\n.*?\n(dump = .*?)\n```", PAGE, re.DOTALL | re.MULTILINE)
    (facts / "entry_points.txt").write_text("[microtome.formats]\n" + declared.replace('"', ""))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: dump-format\nVersion: 1.0\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def run(words: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a command of microtome."""
    command = [sys.executable, "-m", "microtome_cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_example_of_the_page_adds_a_format(tmp_path: Path, environment: dict[str, str]) -> None:
    """The format is listed; its files are told by content, ingested as they are, and refused where
    they are cut off.
    """
    voxels = np.random.default_rng(1).integers(0, 9999, (5, 40, 30)).astype("<u2")
    path = tmp_path / "scan"
    path.write_bytes(b"DUMP" + np.array(voxels.shape, "<u4").tobytes() + voxels.tobytes())
    assert re.search(r"^dump +\.dump +dump_format", run(["formats"], environment).stdout, re.M)
    words = ["ingest", str(path), str(tmp_path / "root"), "--as", "a/b/c"]
    asked = run(words, environment)
    assert asked.returncode == 2
    assert "does not say how large a voxel is" in asked.stderr
    assert run([*words, "--voxel-size", "1,1,1"], environment).returncode == 0
    stored = zarr.open_array(str(tmp_path / "root/a/b/c/0"), mode="r")[...]
    assert np.array_equal(np.asarray(stored), voxels)
    path.write_bytes(path.read_bytes()[:-1])
    damaged = run(["info", str(path)], environment)
    assert damaged.returncode == 2
    assert "too few or many for (5, 40, 30)" in damaged.stderr
