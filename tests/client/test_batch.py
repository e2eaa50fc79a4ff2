"""A batch of cutouts is what indexing would give one by one, in few requests."""

from typing import Any

import numpy as np
import pytest

import microtome
from microtome import batch
from microtome.errors import RegionError, UnsupportedIndex
from microtome_core.store.location import Store
from tests.service import conftest as service

KEYS = [
    np.s_[0:4, 2:9, 3:30],
    np.s_[3],
    np.s_[-1, ..., 5],
    np.s_[1, 2, 3],
    np.s_[::-2, 4:19:3, 7],
    np.s_[4:4],
    np.s_[...],
]


@pytest.fixture
def neurons(tmp_path: Any) -> Any:  # noqa: ANN401 - an address and an array
    """The address of a served layer, and its voxels."""
    (tmp_path / "root").mkdir()
    store = Store(str(tmp_path / "root"))
    voxels = service.ramp((10, 20, 30), "uint16")
    service.StoreBuilder(store).layer("demo/brain/neurons", "zyx", voxels)
    app = service.create_app(service.settings_for(store), store)
    with service.running(app) as address:
        yield f"{address}/demo/brain/neurons", voxels, app.state.service.metrics


def posted(metrics: Any) -> float:  # noqa: ANN401 - the service's own
    """Return how many batches were asked for."""
    lines = metrics.text().decode().splitlines()
    return sum(
        float(x.split()[-1])
        for x in lines
        if x.startswith("microtome_requests_total") and "POST" in x
    )


def test_a_batch_is_what_indexing_gives(neurons: Any) -> None:  # noqa: ANN401
    """Steps, dropped axes, scalars and empty cuts are as in NumPy; all came by one request."""
    url, voxels, metrics = neurons
    found = microtome.open(url).batch(KEYS)
    assert len(found) == len(KEYS)
    for key, block in zip(KEYS, found, strict=True):
        np.testing.assert_array_equal(block, voxels[key])
        assert np.shape(block) == np.shape(voxels[key])
        assert block.dtype == voxels.dtype
    assert posted(metrics) == 1


def test_large_batches_are_several_requests(
    neurons: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither more boxes nor more bytes go into one request than services take."""
    url, voxels, metrics = neurons
    monkeypatch.setattr(batch, "_BOXES", 3)
    found = microtome.open(url).batch((z, slice(0, 5)) for z in range(10))
    np.testing.assert_array_equal(np.stack(found), voxels[:, :5])
    assert posted(metrics) == 4
    assert microtome.open(url).batch([]) == []


def test_wrong_keys_are_told_before_anything_is_asked(neurons: Any) -> None:  # noqa: ANN401
    """The errors are those of indexing."""
    url, _, metrics = neurons
    volume = microtome.open(url)
    with pytest.raises(RegionError):
        volume.batch([0, 10])
    with pytest.raises(UnsupportedIndex):
        volume.batch([[1, 2]])
    assert posted(metrics) == 0
