"""The demo: from a file to a block in memory, and a picture of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from microtome_cli.main import main


def test_a_file_of_ones_own_goes_through_the_whole_line(
    tmp_path: Path, unused_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's file is ingested, served, cut, compared and drawn; addresses are printed."""
    voxels = np.random.default_rng(0).integers(0, 900, (2, 12, 80, 90), "uint16")
    tifffile.imwrite(
        tmp_path / "My brain.tif",
        voxels.swapaxes(0, 1),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZCYX", "spacing": 2.0, "unit": "um"},
    )
    port = str(unused_port())
    source = str(tmp_path / "My brain.tif")
    words = ["demo", "--once", "--source", source, "--folder", str(tmp_path / "demo")]
    assert main([*words, "--port", port]) == 0
    told = capsys.readouterr().out
    assert f"all {voxels.size:,} voxels equal the source's" in told
    assert f"http://127.0.0.1:{port}/demo/own/my-brain.tif" in told
    picture = Image.open(tmp_path / "demo/brain.png")
    assert picture.size == (90, 80)
    assert np.ptp(np.asarray(picture)) > 100
