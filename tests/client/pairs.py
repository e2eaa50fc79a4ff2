"""An image and its labels on a real service, for whatever reads both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import microtome
from microtome_core.store.location import Store
from microtome_service.metrics import Metrics
from tests.service import conftest as service


@dataclass(frozen=True, slots=True)
class Pair:
    """What is served, and what it was made of.

    Parameters
    ----------
    image, labels : Volume
        Of axes czyx and zyx.
    voxels, ids : ndarray
    metrics : Metrics
        Of the service.
    builder : StoreBuilder
        Adds layers to its store.
    """

    image: microtome.Volume
    labels: microtome.Volume
    voxels: NDArray[np.uint16]
    ids: NDArray[np.uint8]
    metrics: Metrics
    builder: service.StoreBuilder

    def asked(self, method: str = "POST") -> int:
        """Return how many requests of a method there were."""
        lines = self.metrics.text().decode().splitlines()
        found = [n for n in lines if n.startswith("microtome_requests_total") and method in n]
        return int(sum(float(line.split()[-1]) for line in found))


def make_ids(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return labels in which 0 fills nearly all, 1 a plate, 2 a few voxels."""
    ids = np.zeros(shape, np.uint8)
    ids[5:7] = 1
    ids[20, 30, 40:43] = 2
    return ids


@contextmanager
def serving(folder: Path) -> Iterator[Pair]:
    """Serve demo/brain/image and demo/brain/labels from a store in `folder`."""
    (folder / "root").mkdir()
    store = Store(str(folder / "root"))
    voxels: NDArray[Any] = service.ramp((2, 24, 40, 50), "uint16")
    ids = make_ids(voxels.shape[1:])
    builder = service.StoreBuilder(store)
    record = {"session_description": "a test", "devices": {"microscope": {"name": "m"}}}
    builder.layer("demo/brain/image", "czyx", voxels, levels=2, record=record)
    builder.layer("demo/brain/labels", "zyx", ids, levels=2, labels_of="image")
    app = service.create_app(service.settings_for(store), store)
    with service.running(app) as address:
        image, labels = (
            microtome.open(f"{address}/demo/brain/{name}") for name in ("image", "labels")
        )
        yield Pair(image, labels, voxels, ids, app.state.service.metrics, builder)
