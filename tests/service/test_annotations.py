"""Annotations lie beside layers; the service serves the layers as if they were not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from microtome_cli.main import main
from microtome_core.store.location import Store


def test_annotations_hide_no_layer(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """A dataset with annotations lists its layers, one with nothing else is empty, and the folder
    is no layer.
    """
    made = make_builder(disk_store)
    made.layer("demo/brain/neurons", "zyx", np.ones((8, 9, 10), "uint16"))
    (tmp_path / "a.swc").write_bytes(b"1 1 0 0 0 1 -1\n")
    for dataset in ("demo/brain", "demo/traced"):
        words = ["--as", f"{dataset}/cell", "--unit", "um"]
        assert main(["ingest", str(tmp_path / "a.swc"), disk_store.url, *words]) == 0
    app = connect(disk_store)
    listed = app.get("/api/datasets").json()["datasets"]
    layers = {one["id"]: [layer["id"] for layer in one["layers"]] for one in listed}
    assert layers == {"demo/brain": ["demo/brain/neurons"], "demo/traced": []}
    assert app.get("/api/datasets/demo/traced").status_code == 200
    assert app.get("/").status_code == 200
    for name in ("annotations", "cell"):
        assert app.get(f"/api/datasets/demo/brain/{name}").status_code == 404
