"""A volume is a Dask array whose tasks are shards."""

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from microtome.errors import MissingLibrary
from microtome.volume import Volume
from tests.client.pairs import Pair, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An image and its labels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


def changed(volume: Volume, **words: object) -> Volume:
    """Return a volume of which the service says something else."""
    return replace(volume, info=replace(volume.info, **words))  # type: ignore[arg-type]


def test_chunks_are_shards(pair: Pair) -> None:
    """One task reads one shard, and only those that an answer needs are done."""
    lazy = pair.image.to_dask()
    assert lazy.chunksize == (1, 16, 16, 16)
    assert (lazy.shape, lazy.dtype) == (pair.voxels.shape, pair.voxels.dtype)
    before = pair.asked("GET")
    np.testing.assert_array_equal(lazy[1, 3:9, 5, ::7].compute(), pair.voxels[1, 3:9, 5, ::7])
    assert pair.asked("GET") - before == 4
    np.testing.assert_array_equal(lazy.compute(), pair.voxels)


def test_other_chunks_are_what_dask_makes_of_them(pair: Pair) -> None:
    """Numbers, -1, a mapping or "auto"."""
    assert pair.labels.to_dask((24, -1, 10)).chunksize == (24, 40, 10)
    assert pair.labels.to_dask("auto").numblocks == (1, 1, 1)
    assert pair.labels.level(1).to_dask({0: 6, 1: 20, 2: 25}).chunksize == (6, 20, 25)


def test_names_tell_what_is_read(pair: Pair) -> None:
    """Equal volumes have equal tasks; another level, version or cut, and a layer that is still
    being written, has others.
    """
    volume, name = pair.labels, pair.labels.to_dask().name
    assert pickle.loads(pickle.dumps(volume)).to_dask().name == name
    others = [
        volume.level(1).to_dask(),
        volume.to_dask(8),
        changed(volume, version="another").to_dask(),
        changed(volume, writable=True).to_dask(),
        changed(volume, writable=True).to_dask(),
    ]
    assert len({name, *(other.name for other in others)}) == 6


def test_graphs_are_pickled(pair: Pair) -> None:
    """As they must be to be sent to other processes."""
    copied = pickle.loads(pickle.dumps(pair.labels.to_dask()))
    np.testing.assert_array_equal(copied.compute(), pair.ids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_of_a_cluster_read_for_themselves(pair: Pair) -> None:
    """dask.distributed computes on a volume in processes of its own."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        lazy = pair.image.to_dask()
        assert int(lazy.sum().compute()) == int(pair.voxels.sum())


def test_the_extra_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask the error says what to install."""
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(MissingLibrary, match=r"a Dask array needs dask: install the extra 'x"):
        pair.image.to_dask()
