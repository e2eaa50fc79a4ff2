"""The JavaScript client, by its own tests on Node, against a live service."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from microtome_core.store.location import Store
from tests.service import conftest as service

FOLDER = Path(__file__).parents[2] / "clients/js"
LINES = 250


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_client_reads_a_live_service(tmp_path: Path) -> None:
    """Typed arrays, levels, ids of 64 bits, tiles, errors, retries."""
    (tmp_path / "root").mkdir()
    store = Store(str(tmp_path / "root"))
    c, z, y, x = np.indices((2, 5, 20, 24))
    voxels = (c * 10000 + z * 1000 + y * 30 + x).astype("uint16")
    ids = np.zeros((5, 20, 24), "uint64")
    ids[0, 0, :2] = 2**64 - 1, 2**53 + 1
    builder = service.StoreBuilder(store)
    builder.layer("demo/brain/em", "czyx", voxels, levels=2)
    builder.layer("demo/brain/cells", "zyx", ids, labels_of="em")
    with service.running(service.create_app(service.settings_for(store), store)) as url:
        addresses = {
            "MICROTOME_URL": f"{url}/demo/brain/em",
            "MICROTOME_LABELS": f"{url}/demo/brain/cells",
        }
        done = subprocess.run(
            ["node", "--test", str(FOLDER / "microtome.test.js")],
            env={**os.environ, **addresses}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_javascript_client_is_read_in_one_sitting() -> None:
    """One file, nothing to install."""
    text = (FOLDER / "microtome.js").read_text()
    assert len(text.splitlines()) <= LINES
    assert "import " not in text.replace("//   import", "")
