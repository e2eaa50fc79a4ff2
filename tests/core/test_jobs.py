"""Ingests as their ledgers tell: running, stopped, done, damaged."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.errors import Conflict, StorageError
from microtome_core.names import DatasetId
from microtome_core.store import jobs
from microtome_core.store.jobs import find_jobs
from microtome_core.store.ledger import Entry, Journal, Ledger
from microtome_core.store.location import Store
from microtome_ingest.claim import Claim, Part
from microtome_ingest.manifest import read_manifest
from tests.sensorium_folders import Mouse, write_folder

DATASET = DatasetId("demo", "brain")
FOLDER = "demo/brain/neurons"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store into which a small volume of 4 by 4 shards was ingested."""
    np.save(tmp_path / "a.npy", np.ones((8, 64, 64), "u1"))
    words = ["ingest", str(tmp_path / "a.npy"), str(tmp_path / "root"), "--as", FOLDER]
    more = ["--axes", "zyx", "--voxel-size", "2,1,1", "--chunk", "8,16,16", "--shard", "8,16,16"]
    assert main([*words, *more]) == 0
    return Store(str(tmp_path / "root"))


def begin(store: Store, count: int) -> None:
    """Make it look like an ingest of which `count` shards are written."""
    manifest = read_manifest(store, FOLDER)
    assert manifest is not None
    store.remove(f"{FOLDER}/0/ledger/shards-00000.jsonl")
    with Journal(store, FOLDER, Ledger(manifest.plan().grids), "0-of-1-me") as journal:
        for number in range(count):
            journal.add(Entry(0, (0, number // 4, number % 4), 9, "0" * 32))


def test_one_that_is_done_says_what_it_made(store: Store) -> None:
    """Of what, when, and how much."""
    (job,) = find_jobs(store, DATASET, time.time())
    assert (job.layer, job.state, job.format, job.sources) == (FOLDER, "done", "NPY", ("a.npy",))
    assert (job.shape, job.dtype, job.nbytes) == ((8, 64, 64), "uint8", 8 * 64 * 64)
    assert (job.done, job.total, job.part, job.left) == (16, 16, 1.0, None)
    assert job.seen is not None
    assert abs(job.seen - time.time()) < 60


def test_one_that_runs_says_how_far_it_is(store: Store) -> None:
    """Its heart beats; the rate is that since it began, and gives the time that is left."""
    begin(store, 4)
    with Claim(store, FOLDER, Part()):
        (job,) = find_jobs(store, DATASET, time.time())
    assert (job.state, job.done, job.total) == ("running", 4, 16)
    assert job.seen is not None
    assert job.started is not None
    if job.seen > job.started:
        assert job.rate == pytest.approx(0.25 * job.nbytes / (job.seen - job.started))
        assert job.left == pytest.approx(3 * (job.seen - job.started))


def test_one_whose_heart_stands_still_is_stopped(store: Store) -> None:
    """Without a claim, and with one that was not renewed."""
    begin(store, 4)
    assert [job.state for job in find_jobs(store, DATASET, time.time())] == ["stopped"]
    with Claim(store, FOLDER, Part()):
        late = time.time() + jobs.DEAD + 5
        assert [job.state for job in find_jobs(store, DATASET, late)] == ["stopped"]


def test_one_that_cannot_be_read_is_damaged(store: Store) -> None:
    """It is named, and does not hide the others."""
    for data in (b"", b"{}", b'{"manifest": {"spec": 5}}', b"[1]", b"null"):
        store.write(f"{FOLDER}/0/ledger/job.json", data)
        (job,) = find_jobs(store, DATASET, time.time())
        assert (job.layer, job.state) == (FOLDER, "damaged"), data
        assert job.trouble
    shapes = b'{"manifest": {"spec": {"shape": [8]}, "shard": [%s], "source": {}}}'
    for shard in (b"0", b"1e999"):
        store.write(f"{FOLDER}/0/ledger/job.json", shapes % shard)
        assert [job.state for job in find_jobs(store, DATASET, time.time())] == ["damaged"]


def test_shards_of_long_journals_are_reckoned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more parts than are read the rest counts by its bytes."""
    begin(store, 8)
    part = f"{FOLDER}/0/ledger/journal/0-of-1-me-000000.jsonl"
    store.write(part.replace("-me-", "-you-"), store.read(part) or b"")
    monkeypatch.setattr(jobs, "_MOST_PARTS", 1)
    (job,) = find_jobs(store, DATASET, time.time())
    assert job.done == 16


def test_labels_and_new_versions_are_found(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that lie below their image, and a layer that is being replaced."""
    np.save(tmp_path / "b.npy", np.ones((8, 64, 64), "u4"))
    root, more = str(tmp_path / "root"), ["--axes", "zyx", "--voxel-size", "2,1,1"]
    labels = ["--as", "demo/brain/cells", "--kind", "labels", "--labels-of", "neurons"]
    assert main(["ingest", str(tmp_path / "b.npy"), root, *labels, *more]) == 0
    again = ["--as", FOLDER, "--restart", "--grace", "0"]
    assert main(["ingest", str(tmp_path / "b.npy"), root, *again, *more]) == 0
    found = {job.layer: job for job in find_jobs(store, DATASET, time.time())}
    assert set(found) == {FOLDER, "demo/brain/cells"}
    assert found[FOLDER].sources == ("b.npy",)


def test_one_that_failed_says_why(store: Store) -> None:
    """In the words of its error, without the places of files; what ends well clears it."""
    begin(store, 4)
    with pytest.raises(StorageError), Claim(store, FOLDER, Part()):
        raise StorageError("/secret/place/a.tif: cut short; s3://bucket/key/b.tif: gone")
    (job,) = find_jobs(store, DATASET, time.time())
    assert (job.state, job.done) == ("failed", 4)
    assert job.trouble == "a.tif: cut short; b.tif: gone"
    with pytest.raises(Conflict), Claim(store, FOLDER, Part()):
        raise Conflict("begun from another source")
    with pytest.raises(KeyboardInterrupt), Claim(store, FOLDER, Part()):
        raise KeyboardInterrupt
    assert find_jobs(store, DATASET, time.time())[0].trouble == job.trouble
    with Claim(store, FOLDER, Part()):
        assert find_jobs(store, DATASET, time.time())[0].state == "running"
    assert [job.state for job in find_jobs(store, DATASET, time.time())] == ["stopped"]


def test_what_ends_all_parts_is_told_once(store: Store) -> None:
    """And what ends one beside it."""
    begin(store, 4)
    for index, reason in enumerate(["no room", "gone", "no room"]):
        with pytest.raises(StorageError), Claim(store, FOLDER, Part(index, 3)):
            raise StorageError(reason)
    assert find_jobs(store, DATASET, time.time())[0].trouble == "no room; gone"


def test_what_ended_parts_of_another_number_is_forgotten(store: Store) -> None:
    """Once others have worked since, who were stopped or failed for another reason."""
    for index in range(2):
        with pytest.raises(StorageError), Claim(store, FOLDER, Part(index, 3)):
            raise StorageError("no room")
    note = store.local(f"{FOLDER}/0/ledger/failed-0-of-3.json")
    assert note is not None
    begin(store, 4)
    for path in (note, note.with_name("failed-1-of-3.json")):
        os.utime(path, (time.time() - 60,) * 2)
    (job,) = find_jobs(store, DATASET, time.time())
    assert (job.state, job.trouble) == ("stopped", "")
    with pytest.raises(StorageError), Claim(store, FOLDER, Part()):
        raise StorageError("gone")
    (job,) = find_jobs(store, DATASET, time.time())
    assert (job.state, job.trouble) == ("failed", "gone")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("http://minio.lab:9000/bucket/a.tif: gone", "a.tif: gone"),
        ("https://me:word@host/x/y.tif?key=1: no such file", "y.tif?…: no such file"),
        ("file:///srv/data/a.tif is cut short", "a.tif is cut short"),
        ("lab/mouse7/a.tif: cut short", "a.tif: cut short"),
        ("demo/brain/cells do not lie as demo/brain/neurons", ""),
        ("24 bytes/s, [z/y/x], 1/2", ""),
    ],
)
def test_pages_tell_no_hosts_and_folders_but_names_of_layers(
    store: Store, said: str, told: str
) -> None:
    """What is not told does not run together; nor do secrets of addresses come into the store."""
    begin(store, 4)
    with pytest.raises(StorageError), Claim(store, FOLDER, Part()):
        raise StorageError(said)
    assert find_jobs(store, DATASET, time.time())[0].trouble == (told or said)
    kept = store.read(f"{FOLDER}/0/ledger/failed-0-of-1.json") or b""
    assert b"word" not in kept
    assert b"key=1" not in kept


def test_a_note_of_failure_that_cannot_be_read_damages_no_other(store: Store) -> None:
    """The ingest is told as damaged."""
    begin(store, 4)
    store.write(f"{FOLDER}/0/ledger/failed-0-of-1.json", b"[]")
    assert [job.state for job in find_jobs(store, DATASET, time.time())] == ["damaged"]


def test_a_recording_says_how_many_units_are_done(tmp_path: Path) -> None:
    """Of all that are planned; once whole all are, and its size is that of its files."""
    write_folder(tmp_path / "mouse", Mouse(neurons=10, trials=6, height=9, width=16))
    root = str(tmp_path / "root")
    assert main(["ingest", str(tmp_path / "mouse"), root, "--as", "demo/brain/trials"]) == 0
    store = Store(root)
    (job,) = find_jobs(store, DATASET, time.time())
    assert (job.layer, job.state, job.recording) == ("demo/brain/trials", "done", True)
    assert job.sources == ("mouse",)
    files = [each for each in (tmp_path / "mouse").rglob("*") if each.is_file()]
    assert job.nbytes == sum(each.stat().st_size for each in files)
    assert job.done == job.total > 2
    ledger = "demo/brain/trials/0/ledger"
    store.remove(f"{ledger}/objects.json")
    store.write(f"{ledger}/done/a.json", b"{}")
    with Claim(store, "demo/brain/trials", Part()):
        (running,) = find_jobs(store, DATASET, time.time())
    assert (running.state, running.done, running.total) == ("running", 1, job.total)
    assert running.left is None or running.left > 0
    store.remove(f"{ledger}/units.json")
    assert find_jobs(store, DATASET, time.time())[0].state == "stopped"
