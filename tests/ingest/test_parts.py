"""A layer made in parts by processes that share nothing but the store, and joined by commit."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_core.errors import Conflict, InputError, NotFound, StorageError
from microtome_core.names import LayerId
from microtome_core.store.jobs import failure_of
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.claim import Claim, Part
from microtome_ingest.extents import Extents
from microtome_ingest.formats import open_source
from microtome_ingest.job import Outcome, ingest
from microtome_ingest.join import commit
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions, SourceOptions
from microtome_ingest.resolve import resolve
from tests.trees import tree

BRAIN = LayerId("demo", "mouse", "brain")
ANSWERS = SourceOptions(axes="zyx", voxel_size={"z": 1.0, "y": 1.0, "x": 1.0})
OPTIONS = IngestOptions(
    chunk=Extents.parse("8,8,8"),
    shard=Extents.parse("8,16,16"),
    grace=0.0,
    started="2026-01-01T00:00:00+00:00",
)
Do = Callable[..., Outcome]


@pytest.fixture
def do(tmp_path: Path) -> Do:
    """Return a function that ingests one part of a stack, or all of it."""
    voxels = np.random.default_rng(1).integers(0, 900, (40, 70, 90)).astype("uint16")
    voxels[:20, :40] = 0
    path = tmp_path / "in.npy"
    np.save(path, voxels)

    def do(store: Store, part: Part | None = None, **changes: Any) -> Outcome:  # noqa: ANN401
        layer = changes.pop("layer", BRAIN)
        options = IngestOptions(**{**_fields(OPTIONS), **changes})
        with closing(open_source(str(path))) as source:
            resolution = resolve(source.description, ANSWERS)
            return ingest(source, resolution, store, layer, options, Observer(), part=part)

    return do


def _fields(options: IngestOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def join(store: Store, layer: LayerId = BRAIN) -> Outcome:
    """Commit with no grace."""
    return commit(store, layer, OPTIONS, Observer())


def whole(do: Do, name: str = "memory://whole") -> dict[str, bytes]:
    """Return what one process writes."""
    store = Store(name)
    do(store)
    return tree(store)


@pytest.mark.parametrize("count", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 7))])
def test_parts_and_commit_write_what_one_process_writes(store: Store, do: Do, count: int) -> None:
    """Byte for byte, in whatever order the parts come; nothing is visible before commit."""
    for index in reversed(range(count)):
        assert do(store, Part(index, count)).layer is None
    with pytest.raises(NotFound):
        read_layer(store, BRAIN)
    assert join(store).written
    assert tree(store) == whole(do)


@pytest.fixture
def wide(tmp_path: Path, do: Do) -> dict[str, Any]:
    """Lay a stack of long rows in the place of the small one; return how it is stored."""
    rows = np.arange(16384, dtype="uint16")
    np.save(tmp_path / "in.npy", np.broadcast_to(rows, (4, 512, 16384)))
    return {"chunk": Extents.parse("4,64,64"), "shard": Extents.parse("4,512,512"), "levels": 3}


def test_parts_of_other_memory_and_threads_cut_the_work_alike(do: Do, wide: dict[str, Any]) -> None:
    """The first part decides what is read at once, and those that could read more follow: no shard
    is left out.
    """
    store = Store("memory://parts")
    for index, (memory, threads) in enumerate([(_LITTLE, 1), (2**33, 7), (2**31, None)]):
        do(store, Part(index, 3), memory=memory, threads=threads, **wide)
    join(store)
    alone = Store("memory://whole")
    do(alone, **wide)
    assert tree(store) == tree(alone)


def test_a_part_that_cannot_hold_what_the_others_read_is_refused(
    do: Do, wide: dict[str, Any]
) -> None:
    """Its message says how much memory it takes."""
    store = Store("memory://parts")
    do(store, Part(0, 2), memory=2**32, **wide)
    with pytest.raises(InputError, match=r"--memory 315 MB: .* as the other parts do, takes 3"):
        do(store, Part(1, 2), memory=_LITTLE, **wide)


# Enough for the process and a few steps of one shard.
_LITTLE = 300 * 2**20


def test_commit_names_the_parts_that_are_missing(do: Do) -> None:
    """Shards of level 0 and hashes of files, by the option that makes them; nothing is visible,
    and once they are done commit goes on.
    """
    store = Store("memory://parts")
    do(store, Part(1, 4))
    do(store, Part(3, 4))
    with pytest.raises(StorageError, match=r"1 of 1 files .* --array-index 0/4, 2/4 again"):
        join(store)
    do(store, Part(2, 4))
    with pytest.raises(StorageError, match=r"--array-index 0/4 again"):
        join(store)
    with pytest.raises(NotFound):
        read_layer(store, BRAIN)
    do(store, Part(0, 4))
    join(store)
    assert tree(store) == whole(do)


def test_a_shard_that_a_part_lost_is_named_and_made_again(do: Do) -> None:
    """Commit looks at what lies in the store, not at what parts noted alone."""
    store = Store("memory://parts")
    for index in range(2):
        do(store, Part(index, 2))
    store.remove(f"{BRAIN}/0/c/4/4/5")
    with pytest.raises(StorageError, match=r"1 of 150 shards of level 0"):
        join(store)
    for index in range(2):
        do(store, Part(index, 2))
    join(store)
    assert tree(store) == whole(do)


def test_commit_again_changes_nothing(store: Store, do: Do) -> None:
    """A second commit, and a part that comes late, find the layer there."""
    for index in range(2):
        do(store, Part(index, 2))
    assert join(store).written
    before = tree(store)
    assert not join(store).written
    assert not do(store, Part(1, 2)).written
    assert tree(store) == before


def test_commit_without_parts_is_refused(store: Store, do: Do) -> None:
    """A layer that nobody has begun is not found, by name."""
    with pytest.raises(NotFound, match=r"demo/mouse/brain.*--array-index"):
        join(store)


def test_commit_waits_for_nobody(do: Do) -> None:
    """While a part is being written, commit refuses and names its process."""
    store = Store("memory://parts")
    do(store, Part(0, 2))
    with Claim(store, str(BRAIN), Part(1, 2)), pytest.raises(Conflict, match=str(os.getpid())):
        join(store)


def test_a_part_that_was_killed_leaves_no_trace(do: Do, tmp_path: Path) -> None:
    """Its claim is taken over, and gone with the rest once the layer is there."""
    store = Store(str(tmp_path / "root"))
    for index in range(2):
        do(store, Part(index, 2))
    subprocess.run([sys.executable, "-c", _DYING, store.url, str(BRAIN)], check=False)
    assert [key for key in tree(store) if "/claims/" in key]
    join(store)
    assert tree(store) == whole(do)


_DYING = """
import os, sys
from microtome_core.store.location import Store
from microtome_ingest.claim import Claim, Part
with Claim(Store(sys.argv[1]), sys.argv[2], Part(1, 2)):
    os._exit(9)
"""


def test_a_layer_is_replaced_by_parts(store: Store, do: Do) -> None:
    """The old one is visible until commit, and gone after it."""
    do(store)
    old = read_layer(store, BRAIN).info
    codec = {"levels": 2, "restart": True}
    for index in range(2):
        do(store, Part(index, 2), **codec)
    assert read_layer(store, BRAIN).info == old
    assert len(join(store).layer.levels) == 2  # type: ignore[union-attr]
    assert store.children(str(BRAIN)) == ["v2"]


def test_labels_below_an_image_are_joined_by_their_own_name(do: Do, tmp_path: Path) -> None:
    """Commit finds where they lie."""
    store = Store("memory://labels")
    do(store)
    labels = {"layer": LayerId("demo", "mouse", "nuclei"), "kind": "labels", "labels_of": "brain"}
    for index in range(2):
        do(store, Part(index, 2), **labels)
    layer = join(store, LayerId("demo", "mouse", "nuclei")).layer
    assert layer is not None
    assert layer.kind == "labels"


def test_one_process_goes_on_with_what_parts_have_done(do: Do) -> None:
    """An ingest without --array-index needs no commit, and forgets why parts had failed."""
    store = Store("memory://parts")
    do(store, Part(1, 3))
    store.write(*failure_of(StorageError("the disk is full"), str(BRAIN), str(Part(2, 3))))
    assert do(store).written
    assert tree(store) == whole(do)
