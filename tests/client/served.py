"""Layers of a real service on a real socket, for tests of the client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.location import Store
from tests.service import conftest as service

SHAPE = (2, 20, 48, 40)


@dataclass(frozen=True, slots=True)
class Served:
    """A service with an image, labels, and labels that may be written.

    Parameters
    ----------
    url : str
        Of the service.
    brain, cells : ndarray
        Voxels of ``demo/brain/em`` (czyx) and ``demo/brain/cells`` (zyx).
    store : Store
    metrics : Metrics
        The service's own.
    """

    url: str
    brain: NDArray[np.uint16]
    cells: NDArray[np.uint64]
    store: Store
    metrics: Any

    @property
    def em(self) -> str:
        """The address of the image."""
        return f"{self.url}/demo/brain/em"

    def create(self, name: str, dtype: str = "uint32") -> str:
        """Create labels of zeros that may be written, and return their address."""
        new = NewLayer(
            "zyx",
            SHAPE[1:],
            dtype,
            (1.0,) * 3,
            ("micrometer",) * 3,
            chunk=(8,) * 3,
            shard=(16,) * 3,
        )
        create_layer(self.store, LayerId("demo", "brain", name), new)
        return f"{self.url}/demo/brain/{name}"

    def count(self, method: str) -> int:
        """Return how many requests of a method were answered."""
        lines = self.metrics.text().decode().splitlines()
        wanted = [x for x in lines if x.startswith("microtome_requests_total") and method in x]
        return int(sum(float(x.split()[-1]) for x in wanted))


@contextmanager
def serving(name: str) -> Iterator[Served]:
    """Serve two layers from memory."""
    rng = np.random.default_rng(1)
    brain = rng.integers(0, 60000, SHAPE).astype("uint16")
    cells = np.where(rng.random(SHAPE[1:]) < 0.01, rng.integers(1, 6, SHAPE[1:]), 0)
    cells = cells.astype("uint64")
    cells[3:9, 10:14, 6] = 2**64 - 1
    store = Store(f"memory://{name}")
    builder = service.StoreBuilder(store)
    builder.layer("demo/brain/em", "czyx", brain, levels=3)
    builder.layer("demo/brain/cells", "zyx", cells, levels=2, labels_of="em")
    app = service.create_app(service.settings_for(store, anonymous_writes=True), store)
    with service.running(app) as url:
        yield Served(url, brain, cells, store, app.state.service.metrics)
