"""An ingest that is killed at any moment goes on, and ends in the very same bytes."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from tests.crash import Launcher, launcher
from tests.trees import tree

SOURCE = "synthetic://neurons?shape=40,128,128&seed=3"
LAYOUT = ("--chunk", "z=8,y=16,x=16", "--shard", "z=8,y=32,x=32", "--memory", "1GiB")
BRAIN = LayerId("a", "b", "c")
KILLS = int(os.environ.get("MICROTOME_KILLS", "100"))
REPRODUCIBLE = {"SOURCE_DATE_EPOCH": "1700000000"}


def words(root: str, *more: str) -> list[str]:
    """Return the command that ingests the source."""
    return ["ingest", SOURCE, root, "--as", str(BRAIN), *LAYOUT, "--grace", "0", *more]


class Place:
    """Roots of one kind of store, and a launcher that reaches them."""

    def __init__(self, base: str, options: StorageOptions, run: Launcher) -> None:
        self.base, self.options, self.run = base, options, run

    def store(self, name: str) -> Store:
        """Open a root of its own."""
        return Store(f"{self.base}/{name}", self.options)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Place]:
    """Folders."""
    with launcher(tmp_path, REPRODUCIBLE) as run:
        yield Place(str(tmp_path), StorageOptions(), run)


@pytest.fixture
def buckets(tmp_path: Path, s3_store: Store) -> Iterator[Place]:
    """A bucket."""
    with launcher(tmp_path, REPRODUCIBLE) as run:
        yield Place(s3_store.url, s3_store.options, run)


def check_crashes(place: Place, count: int) -> None:
    """Kill `count` ingests at random moments of their life, some of them more than once.

    After each death nothing is visible, or all of it; after the last run the store is the same as
    that of an ingest which was left in peace, object by object.
    """
    calm = place.store("calm")
    assert place.run.run(words(calm.url)) == 0, place.run.errors
    started = time.monotonic()
    assert place.run.run(words(place.store("timed").url)) == 0
    lasts = time.monotonic() - started
    expected, rng = tree(calm), random.Random(5)
    seen = set()
    for turn in range(count):
        store = place.store(f"turn-{turn}")
        while True:
            code = place.run.run(words(store.url), rng.uniform(0, 1.05 * lasts))
            assert code in (0, -9), place.run.errors
            found = tree(store)
            visible = f"{BRAIN}/zarr.json" in found
            seen.add((code, visible))
            if visible:
                assert not {key for key in expected if found.get(key) != expected[key]}
            if code == 0 or rng.random() < 0.5:
                break
        assert place.run.run(words(store.url)) == 0, place.run.errors
        final = tree(store)
        wrong = {k for k in expected.keys() | final.keys() if final.get(k) != expected.get(k)}
        assert not wrong, f"turn {turn}: {wrong}"
    assert (-9, False) in seen


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folders", "buckets"])
def test_a_killed_ingest_goes_on(place: str, request: pytest.FixtureRequest) -> None:
    """Kill -9 at random moments, then resume: byte-identical, and nothing was half visible."""
    check_crashes(request.getfixturevalue(place), 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", ["folders", "buckets"])
def test_many_killed_ingests_go_on(place: str, request: pytest.FixtureRequest) -> None:
    """The same a hundred times unless told otherwise, over the whole life of a job."""
    check_crashes(request.getfixturevalue(place), KILLS)


def test_a_replacement_that_is_killed_leaves_the_old_layer(folders: Place) -> None:
    """While a layer is replaced the old one is whole at each death; in the end only the new is."""
    store = folders.store("replaced")
    old = ["ingest", SOURCE.replace("seed=3", "seed=4"), store.url, "--as", str(BRAIN), *LAYOUT]
    assert folders.run.run(old) == 0, folders.run.errors
    layer = read_layer(store, BRAIN)
    whole = Region.whole(layer.info.axes, layer.info.shape)
    before = layer.voxels[0].load(whole)
    rng = random.Random(6)
    for _ in range(6):
        code = folders.run.run(words(store.url, "--restart"), rng.uniform(0, 0.6))
        now = read_layer(store, BRAIN)
        if now.info.version == layer.info.version:
            assert code == -9
            assert (now.voxels[0].load(whole) == before).all()
    assert folders.run.run(words(store.url, "--restart")) == 0, folders.run.errors
    assert store.children(str(BRAIN)) == ["v2"]
    assert store.children(f"{BRAIN}/v2/0/ledger") == []
