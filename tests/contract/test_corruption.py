"""A thousand seeded faults: each is found and named by verify, and none is served as voxels."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import Layer, read_layer
from microtome_core.store.ledger import parse_key
from microtome_core.store.location import Store
from microtome_ingest.observer import Observer
from microtome_ingest.target import open_target
from microtome_ingest.verify import check_metadata, check_shards
from microtome_service.app import create_app
from microtome_service.reader import read
from microtome_service.settings import Settings
from tests.asgi import ask

BRAIN = LayerId("demo", "mouse", "brain")
FAULTS = {"flip": "changed", "cut": "truncated", "delete": "missing", "blank": "empty"}
# So many faults at a time, each in a shard of its own.
AT_ONCE = 10


@dataclass(frozen=True)
class Served:
    """A layer of small shards, its voxels, and the service over it, which caches nothing."""

    store: Store
    folder: Path
    app: FastAPI
    layer: Layer
    voxels: tuple[NDArray[Any], ...]

    @property
    def shards(self) -> list[str]:
        """The key of every stored shard."""
        files = (path for path in self.folder.rglob("c/*/*/*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in files)

    def verify(self) -> dict[str, str]:
        """Return what a verification finds, by key."""
        target = open_target(self.store, BRAIN)
        found = [*check_metadata(target), *check_shards(target, 2, Observer())]
        return {finding.key: finding.fault for finding in found}

    async def cutout(self, level: int, region: Region) -> httpx.Response:
        """Ask the service for a region."""
        ranges = zip(region.axes, region.start, region.stop, strict=True)
        words = {"level": level, "format": "raw"} | {a: f"{i}:{j}" for a, i, j in ranges}
        return await ask(self.app, "GET", f"/api/datasets/{BRAIN}/cutout?{urlencode(words)}")

    def grid(self, level: int, *, chunks: bool = False) -> Grid:
        """Return the shards or the chunks of a level."""
        described = self.layer.info.levels[level]
        return Grid("zyx", described.shape, described.chunk if chunks else described.shard)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Ingest noise of several levels, with many shards a level and one that is empty."""
    folder = tmp_path_factory.mktemp("served")
    voxels = np.random.default_rng(1).integers(1, 60000, (48, 96, 96)).astype("uint16")
    voxels[:16, :16, :16] = 0
    np.save(folder / "in.npy", voxels)
    words = ["ingest", str(folder / "in.npy"), str(folder / "root"), "--as", str(BRAIN)]
    sizes = ["--axes", "zyx", "--voxel-size", "1,1,1", "--chunk", "8,8,8", "--shard", "16,16,16"]
    assert main([*words, *sizes]) == 0
    store = Store(str(folder / "root"))
    layer = read_layer(store, BRAIN)
    levels = tuple(v.load(Region.whole("zyx", v.array.shape)) for v in layer.voxels)
    assert np.array_equal(levels[0], voxels)
    app = create_app(Settings(root=store.url), store)
    try:
        yield Served(store, folder / "root" / str(BRAIN), app, layer, levels)
    finally:
        app.state.service.close()


@contextmanager
def broken(served: Served, chosen: dict[str, str], dice: random.Random) -> Iterator[None]:
    """Break each shard in its way, and mend it again."""
    good = {key: (served.folder / key).read_bytes() for key in chosen}
    try:
        for key, fault in chosen.items():
            _break(served.folder / key, fault, dice)
        yield
    finally:
        for key, data in good.items():
            (served.folder / key).write_bytes(data)


def _break(path: Path, fault: str, dice: random.Random) -> None:
    if fault == "delete":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if fault == "flip":
        place = dice.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
    kept = {"flip": len(data), "cut": dice.randrange(1, len(data)), "blank": 0}[fault]
    path.write_bytes(data[:kept])


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 10))]
)
def test_each_of_a_thousand_faults_is_named_and_none_is_served(served: Served, seed: int) -> None:
    """Flipped bits, lost tails, lost and blank shards, a hundred a seed: verify names exactly those
    shards; the service answers 503 for their regions and names the shard, never its place on disk.
    """
    dice, keys = random.Random(seed), served.shards
    for _ in range(100 // AT_ONCE):
        chosen = {key: dice.choice(sorted(FAULTS)) for key in dice.sample(keys, AT_ONCE)}
        with broken(served, chosen, dice):
            assert served.verify() == {key: FAULTS[fault] for key, fault in chosen.items()}
            asyncio.run(_check_refused(served, chosen))
    assert served.verify() == {}


async def _check_refused(served: Served, chosen: dict[str, str]) -> None:
    for key, fault in chosen.items():
        level, index = parse_key(key) or (0, ())
        answer = await served.cutout(level, served.grid(level).region(index))
        assert answer.status_code == 503, (key, fault)
        assert answer.headers["content-type"] == "application/problem+json"
        assert f"shard {key}:" in answer.json()["detail"]
        assert served.store.url.removeprefix("file://") not in answer.text
        if fault == "flip":
            await _check_covered(served, level, served.grid(level).region(index))


async def _check_covered(served: Served, level: int, shard: Region) -> None:
    """Read a shard chunk by chunk: one is refused, or all of them; the others are right."""
    chunks = list(served.grid(level, chunks=True).touched(shard))
    refused = 0
    for index in chunks:
        region = served.grid(level, chunks=True).region(index)
        try:
            block = await read(served.layer, level, region, 60)
        except StorageError:
            refused += 1
        else:
            assert np.array_equal(block, served.voxels[level][region.slices])
    assert refused in {1, len(chunks)}


def test_a_region_over_many_shards_names_one_that_is_damaged(served: Served) -> None:
    """A cutout of the whole level fails by the one shard in it that is lost."""
    with broken(served, {"1/c/0/1/2": "delete"}, random.Random(0)):
        region = Region.whole("zyx", served.voxels[1].shape)
        answer = asyncio.run(served.cutout(1, region))
        assert answer.status_code == 503
        assert "shard 1/c/0/1/2:" in answer.json()["detail"]
    answer = asyncio.run(served.cutout(1, region))
    assert answer.content == served.voxels[1].tobytes()


def test_every_bit_of_a_shard_counts(served: Served) -> None:
    """No byte of a shard may change unseen by the service, one after the other."""
    key = "3/c/0/0/0"
    path, region = served.folder / key, served.grid(3).region((0, 0, 0))
    good = path.read_bytes()

    async def refused() -> bool:
        try:
            await read(served.layer, 3, region, 60)
        except StorageError as error:
            return f"shard {key}:" in str(error)
        return False

    async def check() -> list[int]:
        found = []
        for place in range(len(good)):
            path.write_bytes(
                good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :]
            )
            if not await refused():
                found.append(place)
        return found

    try:
        assert asyncio.run(check()) == []
    finally:
        path.write_bytes(good)
