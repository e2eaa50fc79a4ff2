"""Writing into a layer while others read and write it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import Conflict, PreconditionFailed, StorageError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.empty import read_empty
from microtome_core.store.layer import Layer, read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.shards import check_shard
from microtome_core.store.writing import Edits, uncover, write_region

SEG = LayerId("demo", "brain", "seg")
SHAPE, CHUNK, SHARD = (20, 36, 36), (4, 8, 8), (8, 16, 16)
NEW = NewLayer("zyx", SHAPE, "uint32", (1.0,) * 3, ("um",) * 3, chunk=CHUNK, shard=SHARD)


def made(store: Store) -> Layer:
    """Return a layer of 3 × 3 × 3 shards, those at the far edges clipped."""
    create_layer(store, SEG, NEW)
    return read_layer(store, SEG)


@pytest.fixture
def seg(tmp_path: Path) -> Layer:
    """An empty layer on disk."""
    return made(Store(str(tmp_path), StorageOptions(cache_bytes=1 << 24)))


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """Any region of the layer."""
    start = [draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [draw(st.integers(low + 1, n)) for low, n in zip(start, SHAPE, strict=True)]
    return Region("zyx", tuple(start), tuple(stop))


def whole(layer: Layer) -> NDArray[Any]:
    """Return all voxels of level 0."""
    return asyncio.run(layer.voxels[0].read(Region.whole("zyx", SHAPE)))


def changed(edits: Edits) -> list[tuple[int, ...]]:
    """Return the shards that were written."""
    return [index for index, edit in edits.items() if edit.changed]


def noise(region: Region, seed: int) -> NDArray[Any]:
    """Return ids of which a third are 0."""
    return np.random.default_rng(seed).integers(0, 3, region.shape).astype("uint32")


writes = st.lists(st.tuples(regions(), st.integers(0, 99), st.booleans()), max_size=6)


@settings(max_examples=30, deadline=None)
@given(writes=writes)
def test_any_writes_are_what_numpy_makes_of_them(
    writes: list[tuple[Region, int, bool]],
) -> None:
    """Replacing or merging, in any order; another reader sees the same at once."""
    store = Store("memory://writes", StorageOptions(cache_bytes=1 << 24))
    layer, model = made(store), np.zeros(SHAPE, "uint32")
    for region, seed, merge in writes:
        block = noise(region, seed)
        old = model[region.slices]
        model[region.slices] = np.where(block != 0, block, old) if merge else block
        before = asyncio.run(layer.voxels[0].state(region))
        edits = write_region(layer, region, block, merge=merge)
        after = asyncio.run(layer.voxels[0].state(region))
        assert {index: edit.before for index, edit in edits.items()} == before
        assert {index: edit.after for index, edit in edits.items()} == after
        assert np.array_equal(whole(layer), model)
    assert np.array_equal(whole(read_layer(store, SEG)), model)


def test_zarr_python_reads_what_was_written(seg: Layer, tmp_path: Path) -> None:
    """Written, overwritten and empty shards alike."""
    region = Region("zyx", (3, 5, 7), (15, 30, 20))
    write_region(seg, region, noise(region, 1))
    write_region(seg, region, noise(region, 2))
    array = zarr.open_array(tmp_path / "demo/brain/seg/0", mode="r")
    model = np.zeros(SHAPE, "uint32")
    model[region.slices] = noise(region, 2)
    assert np.array_equal(np.asarray(array[...]), model)


def test_of_a_shard_that_is_stored_every_chunk_is(seg: Layer, tmp_path: Path) -> None:
    """One voxel makes its whole shard: a chunk that is lost later can so be told from zeros."""
    write_region(seg, Region("zyx", (19, 35, 35), (20, 36, 36)), np.ones((1, 1, 1), "uint32"))
    write_region(seg, Region("zyx", (0, 0, 0), (1, 1, 1)), np.ones((1, 1, 1), "uint32"))
    files = sorted(p for p in (tmp_path / "demo/brain/seg/0/c").rglob("*") if p.is_file())
    for path, present in zip(files, (8, 1), strict=True):
        with path.open("rb") as stream:
            check_shard(stream, 8, present)


def test_zeros_leave_an_empty_shard_empty(seg: Layer, tmp_path: Path) -> None:
    """What does not change a voxel writes nothing and changes no state."""
    region = Region.whole("zyx", SHAPE)
    assert changed(write_region(seg, region, np.zeros(SHAPE, "uint32"))) == []
    assert not (tmp_path / "demo/brain/seg/0/c").exists()
    block = noise(region, 1)
    assert len(changed(write_region(seg, region, block))) == 27
    before = asyncio.run(seg.voxels[0].state(region))
    assert changed(write_region(seg, region, block)) == []
    assert changed(write_region(seg, region, np.zeros(SHAPE, "uint32"), merge=True)) == []
    assert asyncio.run(seg.voxels[0].state(region)) == before


def test_a_shard_that_was_lost_is_an_error_and_never_zeros(seg: Layer, tmp_path: Path) -> None:
    """Neither is it read, nor written over: that would make its loss look like zeros."""
    region = Region("zyx", (0, 0, 0), (4, 8, 8))
    write_region(seg, region, noise(region, 1))
    (tmp_path / "demo/brain/seg/0/c/0/0/0").unlink()
    with pytest.raises(ValueError, match="missing"):
        whole(seg)
    with pytest.raises(StorageError, match="lost"):
        write_region(seg, region, noise(region, 2))


def test_a_writer_that_died_between_its_two_steps_left_the_old_state(
    seg: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard still listed as empty reads as zeros; the next write takes up what was left."""
    first, second = Region("zyx", (0, 0, 0), (1, 1, 1)), Region("zyx", (7, 15, 15), (8, 16, 16))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("microtome_core.store.writing.uncover", die)
    with pytest.raises(KeyboardInterrupt):
        write_region(seg, first, np.full((1, 1, 1), 7, "uint32"))
    assert not whole(seg).any()
    monkeypatch.setattr("microtome_core.store.writing.uncover", uncover)
    write_region(seg, second, np.full((1, 1, 1), 9, "uint32"))
    assert sorted(np.unique(whole(seg))) == [0, 7, 9]


def test_a_layer_that_was_ingested_is_not_written(tmp_path: Path) -> None:
    """It has no mark that allows it."""
    store = Store(str(tmp_path))
    path = create_layer(store, SEG, NEW)
    document = (store.read(f"{path}/zarr.json") or b"").replace(b'"writable": true', b'"old": 1')
    store.write(f"{path}/zarr.json", document)
    with pytest.raises(Conflict, match="not writable"):
        write_region(read_layer(store, SEG), Region.whole("zyx", SHAPE), np.ones(SHAPE, "uint32"))


def test_a_write_is_of_the_layers_shape_and_type(seg: Layer) -> None:
    """Nothing is converted in silence."""
    with pytest.raises(ValueError, match="uint8"):
        write_region(seg, Region.whole("zyx", SHAPE), np.ones(SHAPE, "uint8"))
    with pytest.raises(IndexError, match="out of bounds"):
        write_region(seg, Region("zyx", (0, 0, 0), (21, 1, 1)), np.ones((21, 1, 1), "uint32"))


WRITER = """
import sys
import numpy as np
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.writing import write_region

url, endpoint, number, count, overlapping = sys.argv[1:]
options = StorageOptions(endpoint=endpoint, credentials="environment") if endpoint else None
layer = read_layer(Store(url, options), LayerId("demo", "brain", "seg"))
for step in range(int(count)):
    if overlapping == "1":
        region = Region("zyx", (0, 0, 0), (8, 16, 16))
        write_region(layer, region, np.full(region.shape, 1000 * int(number) + step, "uint32"))
        continue
    plane = step * 4 + int(number)
    region = Region("zyx", (plane % 8, plane // 8, 0), (plane % 8 + 1, plane // 8 + 1, 16))
    write_region(layer, region, np.full(region.shape, plane + 1, "uint32"))
"""


def at_work(
    url: str, endpoint: str, count: int, overlapping: bool
) -> list["subprocess.Popen[bytes]"]:
    """Start four processes that write into one shard."""
    words = [sys.executable, "-c", WRITER, url, endpoint]
    return [
        subprocess.Popen([*words, str(number), str(count), str(int(overlapping))])
        for number in range(4)
    ]


@pytest.fixture(params=["file", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    """A store that several processes share, and its endpoint."""
    if request.param == "file":
        return Store(str(tmp_path)), ""
    store: Store = request.getfixturevalue("s3_store")
    return store, store.options.endpoint or ""


def test_processes_that_write_one_shard_lose_nothing(shared: tuple[Store, str]) -> None:
    """Four of them write every other row of the same shard; all rows are there."""
    store, endpoint = shared
    layer, count = made(store), 16
    for process in at_work(store.url, endpoint, count, overlapping=False):
        assert process.wait(120) == 0
    voxels = whole(layer)[:8, :16, :16]
    for plane in range(4 * count):
        assert (voxels[plane % 8, plane // 8] == plane + 1).all(), plane


@pytest.mark.parametrize(
    "shared", ["file", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)
def test_a_shard_is_never_seen_half_written(shared: tuple[Store, str]) -> None:
    """While four processes replace the whole of one shard, each read finds it of one value."""
    store, endpoint = shared
    layer = made(store)
    region = Region("zyx", (0, 0, 0), (8, 16, 16))
    processes = at_work(store.url, endpoint, 12, overlapping=True)
    seen = set()
    while any(process.poll() is None for process in processes):
        block = asyncio.run(layer.voxels[0].read(region))
        assert (block == block.flat[0]).all()
        seen.add(int(block.flat[0]))
    assert all(process.returncode == 0 for process in processes)
    assert len(seen) > 2
    assert whole(layer)[0, 0, 0] % 1000 == 11


def test_of_many_conditional_writes_one_wins(seg: Layer, at_once: Callable[..., list[Any]]) -> None:
    """Whoever expects a state that has passed is told so, and nothing of theirs is seen."""
    region = Region("zyx", (2, 10, 10), (12, 20, 20))  # of eight shards
    for turn in range(1, 4):
        state = asyncio.run(seg.voxels[0].state(region))

        def write(number: int, state: Any = state, turn: int = turn) -> bool:  # noqa: ANN401
            block = np.full(region.shape, turn * 100 + number, "uint32")
            try:
                return bool(changed(write_region(seg, region, block, expected=state)))
            except PreconditionFailed:
                return False

        won = at_once(write, range(8))
        assert sum(won) == 1
        assert (whole(seg)[region.slices] == turn * 100 + won.index(True)).all()


def test_a_conditional_write_that_fails_late_gives_back_what_it_wrote(
    seg: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the second shard has changed, the first one holds again what it held."""
    region = Region("zyx", (0, 0, 0), (8, 16, 32))
    write_region(seg, region, noise(region, 1))
    state = asyncio.run(seg.voxels[0].state(region))
    other = Region("zyx", (0, 0, 20), (1, 1, 21))
    write_region(seg, other, np.full((1, 1, 1), 77, "uint32"))
    before = whole(seg)
    with pytest.raises(PreconditionFailed):
        write_region(seg, region, noise(region, 2), expected=state)
    assert np.array_equal(whole(seg), before)


def test_the_list_of_empty_shards_only_ever_shrinks(
    seg: Layer, at_once: Callable[..., list[Any]]
) -> None:
    """Many first writes at once, each to a shard of its own: none is forgotten."""
    store = seg.live.store if seg.live else Store("memory://none")

    def write(number: int) -> None:
        index = np.unravel_index(number, (3, 3, 3))
        start = tuple(int(i) * n for i, n in zip(index, SHARD, strict=True))
        region = Region("zyx", start, tuple(low + 1 for low in start))
        write_region(read_layer(store, SEG), region, np.full((1, 1, 1), number + 1, "uint32"))

    at_once(write, range(27))
    grids = [voxels.shards for voxels in seg.voxels]
    assert not read_empty(store, "demo/brain/seg", grids)[0].any()
    assert sorted(np.unique(whole(seg))) == list(range(28))
