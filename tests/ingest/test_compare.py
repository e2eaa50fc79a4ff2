"""Voxels against their source, and levels against the ones below."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microtome_core.errors import InputError
from microtome_core.store.array import create_array
from microtome_core.store.ledger import Entry, seal
from microtome_core.store.shards import digest
from microtome_ingest.compare import check_source, compare_voxels, reader
from microtome_ingest.plan import total_shards
from tests.ingest.made import (
    BUDGET,
    PLACES,
    Counter,
    Made,
    damage,
    in_place,
    noise,
    on_disk,
    opened,
)


@pytest.fixture
def disk(tmp_path: Path) -> Made:
    """An image on disk."""
    return on_disk(tmp_path)


@pytest.fixture(params=PLACES)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A first version, a second one, and labels below their image."""
    return in_place(request.param, tmp_path)


def test_what_is_whole_is_what_its_source_holds(anywhere: Made) -> None:
    """Level 0 equals the source, every other level the one below it; all shards are compared."""
    target, counter = anywhere.target, Counter()
    with opened(anywhere.file) as source:
        assert check_source(target, source) == ()
        voxels = reader(target, source)
        assert list(compare_voxels(target, voxels, frozenset(), BUDGET, counter)) == []
    assert len(set(counter.seen)) == len(counter.seen) == total_shards(target.plan)


def test_a_voxel_that_differs_from_the_source_is_counted(disk: Made, tmp_path: Path) -> None:
    """The shard, how many voxels, and where the first one is."""
    voxels = noise()
    voxels[17, 33, 20] += 1
    voxels[20, 39, 31] += 1
    voxels[0, 20, 0] += 1
    np.save(tmp_path / "other.npy", voxels)
    found = {f.key: f for f in disk.compare(tmp_path / "other.npy")}
    assert {f.fault for f in found.values()} == {"differs"}
    assert set(found) == {"0/c/1/2/1", "0/c/0/1/0"}
    assert found["0/c/1/2/1"].detail.startswith("2 of 640 voxels differ from the source")
    assert "z=17,y=33,x=20" in found["0/c/1/2/1"].detail
    assert f"{voxels[17, 33, 20] - 1}, expected {voxels[17, 33, 20]}" in found["0/c/1/2/1"].detail


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_that_differs_from_the_one_below_is_named(disk: Made, level: int) -> None:
    """Even where its checksums and the ledger say that all is right."""
    target = disk.target
    array = create_array(disk.store, target.place.array(level), target.plan.arrays[level])
    array[0, 1, 2] = int(array[0, 1, 2].read().result()) ^ 3
    entry = Entry(level, (0, 0, 0), 0, "")
    with disk.store.open(target.path(entry.key)) as stream:
        found = digest(stream)
    target.ledger.add(replace(entry, length=found.length, digest=found.xxh3))
    seal(disk.store, target.folder, target.ledger)
    assert disk.faults() == {}
    differing = {f.key: f.detail for f in disk.compare()}
    assert "z=0,y=1,x=2" in differing[entry.key]
    assert f"level {level - 1}" in differing[entry.key]
    # What was made of it before may differ, too, and nothing else does.
    assert {key for key in differing if not key.startswith(f"{level + 1}/")} == {entry.key}


def test_shards_that_are_damaged_are_left_out_with_those_made_of_them(disk: Made) -> None:
    """A comparison goes on around damage that was found before."""
    damage(disk, "missing", "0/c/1/2/1")
    target, counter = disk.target, Counter()
    with opened(disk.file) as source:
        voxels = reader(target, source)
        wrong = frozenset({"0/c/1/2/1"})
        assert list(compare_voxels(target, voxels, wrong, BUDGET, counter)) == []
    assert "0/c/1/2/1" not in counter.seen
    assert "1/c/0/1/0" not in counter.seen
    assert {"0/c/1/2/0", "1/c/0/0/0", "2/c/0/0/0"} <= set(counter.seen)


def test_a_copy_of_the_source_is_the_source(disk: Made, tmp_path: Path) -> None:
    """Another name and another time; the hash decides."""
    (tmp_path / "copy.npy").write_bytes(disk.file.read_bytes())
    os.utime(tmp_path / "copy.npy", ns=(1, 1))
    with opened(tmp_path / "copy.npy") as source:
        assert check_source(disk.target, source) == ()


def test_another_file_is_refused(disk: Made, tmp_path: Path) -> None:
    """One bit decides where the hash is known; where it is not, the voxels do, and a note says
    so.
    """
    voxels = noise()
    voxels[5, 20, 20] ^= 1
    np.save(tmp_path / "other.npy", voxels)
    target = disk.target
    with opened(tmp_path / "other.npy") as source:
        with pytest.raises(InputError, match=r"other\.npy has changed"):
            check_source(target, source)
        target.ledger.files.clear()
        (note,) = check_source(target, source)
    assert "the voxels decide" in note
    assert [f.key for f in disk.compare(tmp_path / "other.npy")] == ["0/c/0/1/1"]


@pytest.mark.parametrize("change", ["shape", "dtype", "axes"])
def test_another_image_is_refused_by_its_description(
    disk: Made, tmp_path: Path, change: str
) -> None:
    """Whatever is known of its files; the message says what is other."""
    voxels = {"shape": noise()[1:], "dtype": noise().astype("int32"), "axes": noise()[None]}[change]
    np.save(tmp_path / "other.npy", voxels)
    target = disk.target
    target.ledger.files.clear()
    with opened(tmp_path / "other.npy") as source, pytest.raises(InputError, match=change):
        check_source(target, source)
