"""A batch of cutouts is what indexing would give one by one, in few requests."""

from typing import Any

import numpy as np
import pytest

import microtome
from microtome import batch
from microtome.errors import InputError, RegionError, UnsupportedIndex
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


@pytest.mark.parametrize("transfer", ["raw", "zstd", "chunks"])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "float64"])
@pytest.mark.parametrize(
    "keys",
    [
        [np.s_[z : z + 4, 2:9, 3:30] for z in range(6)],
        [np.s_[z, ..., 5] for z in range(6)],
        [np.s_[::-2, z, 4:19:3] for z in range(6)],
        [np.s_[z, 2, 3] for z in range(6)],
        [np.s_[4:4]],
    ],
)
def test_a_batch_is_received_in_an_array_of_the_callers(
    neurons: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    keys: list[Any],
    dtype: str,
    transfer: str,
) -> None:
    """Of the volume's type or a wider one, whatever the form in which voxels come."""
    monkeypatch.setattr("microtome.fetch.LEAST", 0)
    url, voxels, _ = neurons
    expected = np.stack([voxels[key] for key in keys])
    out = np.full(expected.shape, 7, dtype)
    assert microtome.open(url, transfer=transfer).batch(keys, out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((2, 20, 31), "uint16"), r"expected an array of \(2, 20, 30\)"),
        (np.empty((2, 20, 30), "uint8"), "uint8 that cannot be filled with uint16"),
        (np.empty((2, 20, 60), "uint16")[..., ::2], "contiguous"),
        (np.broadcast_to(np.uint16(0), (2, 20, 30)), "cannot be filled"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(
    neurons: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
    words: str,
) -> None:
    """Before anything is asked for; also keys of several shapes."""
    url, _, metrics = neurons
    volume = microtome.open(url)
    with pytest.raises(InputError, match=words):
        volume.batch([0, 1], out)
    with pytest.raises(InputError, match="keys of one shape"):
        volume.batch([0, np.s_[:2]], np.empty((2, 20, 30), "uint16"))
    assert posted(metrics) == 0


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
