"""DANDI: a folder that ``dandi validate`` accepts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.export.made import SUBJECT, make


def command() -> str:
    """Return the command, or skip."""
    beside = Path(sys.executable).with_name("dandi")
    found = str(beside) if beside.exists() else shutil.which("dandi")
    if found is None:
        pytest.skip("dandi: not installed")
    return found


@pytest.mark.slow
def test_dandi_validates_the_folder(tmp_path: Path) -> None:
    """A dandiset with its file under the subject's name, without an error."""
    made = make(tmp_path / "root")
    made.tell(
        subject=SUBJECT, session_id="day 1", license="CC-BY-4.0", keywords=["cortex"],
        contributors=[{"name": "Golgi, Camillo", "orcid": "0000-0002-1825-0097"}],
        experiment_description="An experiment.", institution="an institute",
    )  # fmt: skip
    out = tmp_path / "dandi"
    assert made.export("dandi", out) == 0
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert files == ["dandiset.yaml", "sub-m7/sub-m7_ses-day-1_desc-mouse_image.nwb"]
    told = yaml.safe_load((out / "dandiset.yaml").read_text())
    assert told["license"] == ["spdx:CC-BY-4.0"]
    home = {**os.environ, "HOME": str(tmp_path), "DANDI_NO_ET": "1", "NO_ET": "1"}
    result = subprocess.run(
        [command(), "validate", "--min-severity", "ERROR", str(out)],
        capture_output=True, text=True, check=False, env=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No errors found" in result.stdout


def test_what_dandi_needs_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the fields; nothing is written."""
    made = make(tmp_path / "root", "yx")
    assert made.export("dandi", tmp_path / "dandi") == 2
    assert "subject.species" in capsys.readouterr().err
    assert not list(tmp_path.glob("*dandi"))
