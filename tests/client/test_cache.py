"""Voxels kept on disk: the same, by version, bounded, and mended where they are damaged."""

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import basic_indices
from numpy.typing import NDArray

import microtome
from microtome.cache import Cache
from microtome.errors import InputError
from tests.client.served import SHAPE, Served


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=basic_indices(SHAPE))
def test_what_is_kept_is_what_was_asked_for(served: Served, tmp_path: Path, key: Any) -> None:  # noqa: ANN401
    """Any index, whether some, all or none of it is kept already."""
    got = microtome.open(served.em, cache=tmp_path)[key]
    assert np.array_equal(got, served.brain[key])
    assert got.shape == served.brain[key].shape


def test_nothing_is_asked_for_twice(served: Served, tmp_path: Path) -> None:
    """Not by the same volume, nor by another process; what was damaged is."""
    volume = microtome.open(served.em, cache=tmp_path)
    assert np.array_equal(volume[0], served.brain[0])
    before = served.count("GET")
    assert np.array_equal(volume[0, 3:9, ::-2], served.brain[0, 3:9, ::-2])
    other = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(other[0], served.brain[0])
    assert served.count("GET") == before
    for path in tmp_path.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data) if len(data) % 2 else bytes(data)[:-5])
    assert np.array_equal(volume[0], served.brain[0])
    assert served.count("GET") > before


def test_another_version_is_another_layer(
    server: Any,  # noqa: ANN401 - conftest's server
    url: str,
    brain: NDArray[np.uint16],
    tmp_path: Path,
) -> None:
    """What was kept of a layer that was replaced is not taken for the new one."""
    from dataclasses import replace

    assert np.array_equal(microtome.open(url, cache=tmp_path)[...], brain)
    layer = server.layers["demo/brain/neurons"]
    layer.info = replace(layer.info, version="2")
    layer.arrays[0] = brain + 1
    assert np.array_equal(microtome.open(url, cache=tmp_path)[...], brain + 1)


def test_what_may_be_written_is_not_kept(served: Served, tmp_path: Path) -> None:
    """Its voxels change while its version stays."""
    volume = microtome.open(served.create("changing"), cache=tmp_path)
    assert not volume[...].any()
    microtome.open(volume.url)[0] = 5
    assert (volume[0] == 5).all()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_stays_within_its_bytes(tmp_path: Path) -> None:
    """The oldest go first; what was read lately stays."""
    cache = Cache(tmp_path, 10_000)
    for n in range(40):
        cache.put(str(n), bytes([n]) * 996)
        assert cache.get("0", 996) == bytes(996)
        # Clocks of file systems are coarse.
        for path in tmp_path.iterdir():
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    assert cache.get("39", 996) == bytes([39]) * 996
    assert cache.get("1", 996) is None
    assert cache.get("39", 995) is None


def test_many_may_write_and_remove_at_once(tmp_path: Path) -> None:
    """Each finds what was put, or nothing; never another's or half of it."""
    caches = [Cache(tmp_path, 5_000) for _ in range(4)]
    wrong: list[Any] = []

    def work(cache: Cache, seed: int) -> None:
        for n in range(60):
            key = str((n * 7 + seed) % 12)
            body = key.encode() * 300
            cache.put(key, body)
            if cache.get(key, len(body)) not in (body, None):
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(c, i)) for i, c in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, served: Served) -> None:
    """The error names it; a folder that vanishes later keeps nothing, and harms nothing."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        Cache(tmp_path / "file" / "below", 100)
    with pytest.raises(InputError, match="cache_bytes=0"):
        Cache(tmp_path, 0)
    volume = microtome.open(served.em, cache=tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert np.array_equal(volume[1], served.brain[1])
