"""The demo: from a file to a block in memory, a picture of it, and a service to look at."""

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from microtome_cli.main import main


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """Return an ImageJ hyperstack of two channels."""
    path = tmp_path / "My brain.tif"
    tifffile.imwrite(
        path,
        np.random.default_rng(0).integers(0, 900, (12, 2, 80, 90), "uint16"),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZCYX", "spacing": 2.0, "unit": "um"},
    )
    return path


def test_a_file_of_ones_own_goes_through_the_whole_line(
    brain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's file is ingested, served, cut, compared voxel by voxel and drawn; how
    to go on is told.
    """
    words = ["demo", "--once", "--source", str(brain), "--folder", str(brain.parent / "demo")]
    assert main([*words, "--port", "0"]) == 0
    told = capsys.readouterr().out
    assert "wrote demo/own/my-brain.tif: czyx 2×12×80×90 uint16" in told
    assert f"all {2 * 12 * 80 * 90:,} voxels equal the source's" in told
    root = brain.parent / "demo/root"
    assert f"microtome serve {root}, then http://127.0.0.1:8000/demo/own/my-brain.tif" in told
    picture = Image.open(brain.parent / "demo/My brain.png")
    assert picture.size == (90, 80)
    assert np.ptp(np.asarray(picture)) > 100


@pytest.mark.slow
def test_it_goes_on_serving_until_ctrl_c(brain: Path, unused_port: Callable[[], int]) -> None:
    """The printed addresses answer until the interrupt, which ends the service too."""
    port = unused_port()
    words = [sys.executable, "-m", "microtome_cli", "demo", "--source", str(brain)]
    words += ["--folder", str(brain.parent / "demo"), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        told = ""
        for words_told in demo.stdout:
            told += words_told
            if "until Ctrl-C" in words_told:
                break
        address = f"http://127.0.0.1:{port}/demo/own/my-brain.tif"
        assert address in told
        assert b"my-brain.tif" in urllib.request.urlopen(address).read()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 130
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def test_a_port_that_is_taken_is_told(
    brain: Path, s3_endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that was asked for is not silently changed."""
    port = s3_endpoint.rpartition(":")[2]
    words = ["demo", "--once", "--source", str(brain), "--folder", str(brain.parent / "demo")]
    assert main([*words, "--port", port]) == 2
    assert f"port {port} is in use" in capsys.readouterr().err
