"""Verify names all damage, and nothing else."""

import json
from pathlib import Path

import pytest

from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_ingest.observer import Observer
from microtome_ingest.plan import total_shards
from microtome_ingest.target import Unverifiable, open_target
from microtome_ingest.verify import check_metadata, check_shards
from tests.ingest.made import (
    BRAIN,
    PLACES,
    Counter,
    Made,
    damage,
    in_place,
    in_store,
    noise,
    on_disk,
    write,
)


@pytest.fixture
def brain(store: Store, tmp_path: Path) -> Made:
    """An image in each kind of store."""
    return in_store(store, tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Made:
    """An image on disk."""
    return on_disk(tmp_path)


@pytest.fixture(params=PLACES)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A first version, a second one, and labels below their image."""
    return in_place(request.param, tmp_path)


def test_a_layer_that_is_whole_has_no_findings(anywhere: Made) -> None:
    """Every shard is read, in whichever version or folder it lies, and none is named."""
    target, counter = anywhere.target, Counter()
    assert list(check_metadata(target)) == []
    assert list(check_shards(target, 3, counter)) == []
    assert len(set(counter.seen)) == len(counter.seen) == total_shards(target.plan)


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "changed", "longer"])
def test_each_kind_of_damage_is_named(brain: Made, kind: str) -> None:
    """The shard that was damaged is named with what is wrong with it, and no other."""
    damage(brain, kind, "0/c/1/2/1")
    damage(brain, kind, "1/c/0/1/0")
    fault = "changed" if kind == "longer" else kind
    assert brain.faults() == {"0/c/1/2/1": fault, "1/c/0/1/0": fault}


def test_metadata_that_is_only_written_otherwise_is_right(disk: Made) -> None:
    """Spaces and the order of members are no damage."""
    document = json.loads(disk.store.read(disk.path("1/zarr.json")) or b"")
    turned = dict(reversed(list(document.items())))
    disk.store.write(disk.path("1/zarr.json"), json.dumps(turned, indent=3).encode())
    assert disk.faults() == {}


def test_how_a_layer_is_shown_may_be_changed(disk: Made) -> None:
    """Contrast and colours are the user's."""
    path = f"{BRAIN}/zarr.json"
    document = json.loads(disk.store.read(path) or b"")
    document["attributes"]["ome"]["omero"]["channels"][0]["window"]["end"] = 77
    disk.store.write(path, json.dumps(document).encode())
    assert disk.faults() == {}


@pytest.mark.parametrize("kind", ["missing", "truncated", "empty"])
def test_without_a_manifest_nothing_can_be_compared(disk: Made, kind: str) -> None:
    """It is damage, and named as such."""
    damage(disk, kind, "0/ledger/job.json")
    with pytest.raises(Unverifiable) as caught:
        disk.target  # noqa: B018
    assert caught.value.finding.key == "0/ledger/job.json"
    assert caught.value.finding.fault == ("missing" if kind == "missing" else "unreadable")


def test_a_layer_without_a_ledger_is_bad_input(disk: Made) -> None:
    """One that another program made cannot be verified; the message says what to do."""
    disk.store.delete(f"{BRAIN}/0/ledger")
    with pytest.raises(InputError, match="--restart"):
        disk.target  # noqa: B018


def test_no_such_layer_is_not_found(disk: Made) -> None:
    """A layer that is hidden because its metadata is lost is told from one that never was."""
    with pytest.raises(NotFound, match=r"no layer demo/mouse/other$"):
        open_target(disk.store, LayerId("demo", "mouse", "other"))
    disk.store.remove(f"{BRAIN}/zarr.json")
    with pytest.raises(NotFound, match="run the same ingest again"):
        disk.target  # noqa: B018


def test_a_layer_that_lost_its_metadata_comes_back_by_its_ingest(disk: Made) -> None:
    """The advice holds: the same ingest again shows the layer, and writes no shard anew."""
    disk.store.remove(f"{BRAIN}/zarr.json")
    shards = {
        path: path.stat().st_mtime_ns
        for path in Path(disk.store.url.removeprefix("file://")).rglob("c/*/*/*")
    }
    write(disk.store, disk.file, BRAIN, noise())
    assert len(shards) == 23
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert disk.faults() == {}


def test_a_layer_that_is_replaced_meanwhile_is_not_judged(disk: Made, tmp_path: Path) -> None:
    """What was found of the old version says nothing; the error asks to try again."""
    target = disk.target
    target.check_current()
    write(disk.store, tmp_path / "new.npy", BRAIN, noise(5), restart=True)
    with pytest.raises(StorageError, match="replaced"):
        target.check_current()


def test_storage_that_is_gone_is_no_damage(disk: Made) -> None:
    """Where nothing can be read any more, no shard is called missing."""
    target = disk.target
    disk.store.delete(str(BRAIN))
    with pytest.raises(StorageError, match="removed"):
        list(check_shards(target, 3, Observer()))
