"""Repair mends damage to the last byte, or leaves it and says why."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import sleep

import numpy as np
import pytest

from microtome_core.errors import Conflict, StorageError
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.store.record import SCHEMA
from microtome_ingest.claim import Claim, Part
from microtome_ingest.target import Unverifiable
from tests.ingest.made import BRAIN, PLACES, SHAPE, Made, damage, in_place, in_store, noise, on_disk


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


@pytest.mark.parametrize("key", ["0/c/0/0/0", "0/c/7/0/0", "0/c/00/1/1", "1/c/0/0/0.__lock"])
def test_what_should_not_be_there_is_named(disk: Made, key: str) -> None:
    """An object where a shard is empty on purpose, outside of the grid, or of a dead writer."""
    Path(disk.store.url.removeprefix("file://"), str(BRAIN), key).parent.mkdir(
        parents=True, exist_ok=True
    )
    Path(disk.store.url.removeprefix("file://"), str(BRAIN), key).write_bytes(b"?")
    assert disk.faults() == {key: "extra"}
    assert disk.mend(None) == {key: ""}
    assert disk.faults() == {}


def test_damage_is_mended_to_the_last_byte(anywhere: Made) -> None:
    """Shards of all levels are made anew of the source and of each other, extra objects go, and
    then the store is what it was.
    """
    before = anywhere.objects()
    damages = {
        "0/c/1/2/1": "missing",
        "0/c/0/1/2": "empty",
        "0/c/1/0/0": "changed",
        "0/c/0/0/0": "extra",
        "1/c/0/1/0": "truncated",
        "2/c/0/0/0": "changed",
    }
    for key, kind in damages.items():
        damage(anywhere, kind, key)
    assert anywhere.faults() == damages
    assert anywhere.mend(anywhere.file) == dict.fromkeys(damages, "")
    assert anywhere.objects() == before
    assert anywhere.faults() == {}


def test_damage_is_mended_in_every_kind_of_store(brain: Made) -> None:
    """In a folder, in memory and on S3."""
    before = brain.objects()
    damage(brain, "missing", "0/c/1/2/1")
    damage(brain, "changed", "1/c/0/1/0")
    assert brain.mend(brain.file) == {"0/c/1/2/1": "", "1/c/0/1/0": ""}
    assert brain.objects() == before


def test_coarser_levels_need_no_source(disk: Made) -> None:
    """They are made of the level below, one after the other."""
    before = disk.objects()
    for key in ("1/c/0/0/0", "1/c/0/1/1", "2/c/0/0/0"):
        damage(disk, "changed", key)
    assert disk.mend(None) == {"1/c/0/0/0": "", "1/c/0/1/1": "", "2/c/0/0/0": ""}
    assert disk.objects() == before


def test_without_a_source_level_0_stays_and_what_is_made_of_it(disk: Made) -> None:
    """Each says why; shards that do not depend on it are mended."""
    for key in ("0/c/0/0/1", "1/c/0/0/0", "1/c/0/1/1", "2/c/0/0/0"):
        damage(disk, "missing", key)
    left = disk.mend(None)
    assert "--source" in left["0/c/0/0/1"]
    assert "0/c/0/0/1" in left["1/c/0/0/0"]
    assert "1/c/0/0/0" in left["2/c/0/0/0"]
    assert left["1/c/0/1/1"] == ""
    assert set(disk.faults()) == {"0/c/0/0/1", "1/c/0/0/0", "2/c/0/0/0"}


@pytest.mark.parametrize("kind", ["missing", "changed"])
def test_another_source_does_not_get_in(disk: Made, tmp_path: Path, kind: str) -> None:
    """What it would make is not what the ledger names, so nothing of the store changes and verify
    goes on finding it.
    """
    for key in ("0/c/1/2/1", "0/c/0/1/0"):
        damage(disk, kind, key)
    before, voxels = disk.objects(), noise()
    voxels[16:, 32:, 16:32] += 1
    voxels[:16, 16:32, :16] = 0
    np.save(tmp_path / "other.npy", voxels)
    left = disk.mend(tmp_path / "other.npy")
    assert all("other bytes" in reason for reason in left.values())
    assert disk.objects() == before
    assert disk.faults() == {"0/c/1/2/1": kind, "0/c/0/1/0": kind}
    for level in read_layer(disk.store, BRAIN).voxels[:1]:
        with pytest.raises(StorageError):
            level.load(Region("zyx", (16, 32, 16), (21, 40, 32)))


def test_who_reads_meanwhile_is_given_an_error_or_the_right_voxels(disk: Made) -> None:
    """From the first byte of a repair to the last one."""
    keys = [f"0/c/{z}/{y}/{x}" for z in range(2) for y in range(3) for x in (1, 2)]
    for key in keys:
        damage(disk, "changed", key)
    level, region = read_layer(disk.store, BRAIN).voxels[0], Region("zyx", (0, 0, 16), SHAPE)
    outcomes, stop = set(), Event()

    def look() -> None:
        while not stop.is_set():
            for part in region.split((16, 16, 16)):
                try:
                    right = np.array_equal(level.load(part), noise()[part.slices])
                    outcomes.add("right" if right else "wrong")
                except StorageError:
                    outcomes.add("error")

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        while "error" not in outcomes:
            sleep(0.001)
        assert set(disk.mend(disk.file).values()) == {""}
        while "right" not in outcomes:
            sleep(0.001)
        stop.set()
        looking.result()
    assert outcomes == {"error", "right"}


def test_a_repair_waits_for_no_other_writer(disk: Made) -> None:
    """While another process holds the claim on the version, nothing is done."""
    damage(disk, "missing", "1/c/0/0/0")
    with (
        Claim(disk.store, disk.target.folder, Part()),
        pytest.raises(Conflict, match="is being written"),
    ):
        disk.mend(None)
    assert disk.mend(None) == {"1/c/0/0/0": ""}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (None, None, "missing"),
        (b"{", b"[", "unreadable"),
        (b'"uint16"', b'"int16"', "changed"),
        (b'"fill_value":0', b'"fill_value":9', "changed"),
    ],
)
def test_the_metadata_of_arrays_is_held_against_the_plan(
    disk: Made, level: int, old: bytes | None, new: bytes | None, fault: str
) -> None:
    """Lost, broken or plausible but other: it is named, and written as it was."""
    before, key = disk.objects(), f"{level}/zarr.json"
    if old is None or new is None:
        disk.store.remove(disk.path(key))
    else:
        document = disk.store.read(disk.path(key)) or b""
        assert old in document
        disk.store.write(disk.path(key), document.replace(old, new, 1))
    assert disk.faults() == {key: fault}
    assert disk.mend(None) == {key: ""}
    assert disk.objects() == before


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"{", b"[", "unreadable"),
        (b"1.5", b"1.6", "changed"),
        (b'"micrometer"', b'"nanometer"', "changed"),
        (b'"empty_shards": 1', b'"empty_shards": 0', "changed"),
        (SCHEMA.encode(), b"microtome-record/0", "changed"),
        (b'"path": "1"', b'"path": "0"', "changed"),
    ],
)
def test_the_metadata_of_the_layer_is_held_against_the_manifest(
    disk: Made, old: bytes, new: bytes, fault: str
) -> None:
    """What decides which voxels are shown, where and how lost ones are told, is named and written
    as it was; broken JSON, too.
    """
    before, path = disk.objects(), f"{BRAIN}/zarr.json"
    document = disk.store.read(path) or b""
    assert old in document
    disk.store.write(path, document.replace(old, new, 1))
    assert disk.faults() == {"zarr.json": fault}
    assert disk.mend(None) == {"zarr.json": ""}
    assert disk.objects() == before


def test_broken_metadata_of_any_layer_is_named_and_mended(anywhere: Made) -> None:
    """Of a later version and of labels, too, whose folder it no longer tells."""
    before = anywhere.objects()
    path = f"{anywhere.target.place.layer}/zarr.json"
    anywhere.store.write(path, b'{"attributes": ')
    assert anywhere.faults() == {"zarr.json": "unreadable"}
    assert anywhere.mend(None) == {"zarr.json": ""}
    assert anywhere.objects() == before


@pytest.mark.parametrize("kind", ["missing", "empty", "changed"])
def test_the_list_of_empty_shards_is_held_against_the_ledger(disk: Made, kind: str) -> None:
    """Without it a reader could not tell what is empty from what is lost."""
    before, key = disk.objects(), "0/ledger/empty.json"
    damage(disk, kind, key)
    assert disk.faults() == {key: "missing" if kind == "missing" else "unreadable"}
    assert disk.mend(None) == {key: ""}
    assert disk.objects() == before


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "changed"])
def test_a_lost_ledger_is_made_of_shards_that_are_whole(disk: Made, kind: str) -> None:
    """By their own checksums and the list of empty ones; the hashes of the source come back."""
    before = disk.objects()
    damage(disk, kind, "0/ledger/shards-00000.jsonl")
    faults = disk.faults()
    assert list(faults.values()) == ["missing" if kind == "missing" else "unreadable"]
    assert set(disk.mend(None).values()) == {""}
    assert disk.objects() == before


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "changed", "extra"])
def test_without_a_ledger_damaged_shards_are_still_named(disk: Made, kind: str) -> None:
    """Their checksums tell; nothing could prove a shard made anew, so that nothing is sealed."""
    key = "0/c/0/0/0" if kind == "extra" else "0/c/1/2/1"
    disk.store.remove(disk.path("0/ledger/shards-00000.jsonl"))
    damage(disk, kind, key)
    fault = kind if kind in {"missing", "extra"} else "changed"
    assert disk.faults() == {"0/ledger": "missing", key: fault}
    left = disk.mend(disk.file)
    if kind == "extra":
        assert set(left.values()) == {""}
        assert disk.faults() == {}
    else:
        assert all(left.values())
        assert disk.faults() == {"0/ledger": "missing", key: fault}


@pytest.mark.parametrize(
    ("after", "old", "new"),
    [(b'"chunk"', b" 8,", b" 4,"), (b'"spec"', b" 21,", b" 20,"), (b'"spec"', b"uint16", b"uint8")],
)
def test_a_manifest_that_was_changed_is_not_believed(
    disk: Made, after: bytes, old: bytes, new: bytes
) -> None:
    """Its digest tells, and nothing is compared or mended by its word."""
    path = disk.path("0/ledger/job.json")
    document = disk.store.read(path) or b""
    head, mark, tail = document.partition(after)
    assert old in tail
    disk.store.write(path, head + mark + tail.replace(old, new, 1))
    before = disk.objects()
    for attempt in (disk.faults, lambda: disk.mend(disk.file)):
        with pytest.raises(Unverifiable, match="digest does not match"):
            attempt()
    assert disk.objects() == before
