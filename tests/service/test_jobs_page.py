"""The page of ingests: what it tells, and whom."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from microtome_core.errors import StorageError
from microtome_core.names import DatasetId
from microtome_core.store.jobs import Job, find_jobs
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from microtome_service import seen_jobs

MANIFEST = {
    "started": "2026-01-01T00:00:00+00:00",
    "shard": [8, 16, 16],
    "spec": {"shape": [8, 64, 64], "dtype": "uint8"},
    "source": {"format": "NPY", "files": [{"name": "/secret/place/<b>a.npy"}]},
}


def test_what_stands_still_is_told_to_those_who_may_see_the_dataset(
    disk_store: Store, connect: Callable[..., Any]
) -> None:
    """How far it came, of which file, and what to do; of a private dataset nobody else is told."""
    ensure_groups(disk_store, DatasetId("demo", "brain"))
    folder = "demo/brain/neurons/0/ledger"
    disk_store.write(f"{folder}/job.json", json.dumps({"manifest": MANIFEST}).encode())
    lines = b"".join(b'{"shard": "0/c/0/0/%d", "empty": true}\n' % i for i in range(3))
    disk_store.write(f"{folder}/journal/0-of-1-a-000000.jsonl", lines)
    page = connect(disk_store).get("/jobs").text
    assert "3 of 16 shards" in page
    assert "stopped" in page
    assert "The same command goes on where it was" in page
    assert "&lt;b&gt;a.npy" in page
    assert "/secret/place" not in page
    assert "a.npy" not in connect(disk_store).get("/jobs?collection=other").text
    hidden = connect(disk_store, default_visibility="private")
    assert "a.npy" not in hidden.get("/jobs").text


def test_one_ingest_that_cannot_be_read_hides_no_other(
    disk_store: Store, connect: Callable[..., Any]
) -> None:
    """It is called damaged, beside those that are told in full."""
    ensure_groups(disk_store, DatasetId("demo", "brain"))
    for layer, data in (("a", b"nonsense"), ("b", json.dumps({"manifest": MANIFEST}).encode())):
        disk_store.write(f"demo/brain/{layer}/0/ledger/job.json", data)
    page = connect(disk_store).get("/jobs").text
    assert "damaged" in page
    assert "0 of 16 shards" in page


def test_a_dataset_that_cannot_be_read_has_a_line_of_its_own(
    disk_store: Store, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told in full."""
    for name in ("brain", "ill"):
        ensure_groups(disk_store, DatasetId("demo", name))
        data = json.dumps({"manifest": MANIFEST}).encode()
        disk_store.write(f"demo/{name}/a/0/ledger/job.json", data)

    def find(store: Store, dataset: DatasetId, now: float) -> list[Job]:
        if dataset.dataset == "ill":
            raise StorageError("/secret/place: cable out")
        return find_jobs(store, dataset, now)

    call = connect(disk_store)
    monkeypatch.setattr(seen_jobs, "find_jobs", find)
    answer = call.get("/jobs")
    assert answer.status_code == 200
    assert "1 dataset could not be looked at, as storage failed: demo/ill" in answer.text
    assert "0 of 16 shards" in answer.text
    assert "/secret" not in answer.text


def test_what_was_seen_is_not_looked_at_again_at_once(
    disk_store: Store, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many who look on make no more looks at storage than one; nothing is believed for ever."""
    looks: list[DatasetId] = []

    def find(store: Store, dataset: DatasetId, now: float) -> list[Job]:
        looks.append(dataset)
        return find_jobs(store, dataset, now)

    monkeypatch.setattr(seen_jobs, "find_jobs", find)
    ensure_groups(disk_store, DatasetId("demo", "brain"))
    call = connect(disk_store, recheck_seconds=600.0)
    assert {call.get("/jobs").status_code for _ in range(3)} == {200}
    assert looks == [DatasetId("demo", "brain")]
    call = connect(disk_store)
    assert {call.get("/jobs").status_code for _ in range(3)} == {200}
    assert len(looks) == 4


def test_why_an_ingest_failed_is_told_as_words(
    disk_store: Store, connect: Callable[..., Any]
) -> None:
    """Never as markup."""
    ensure_groups(disk_store, DatasetId("demo", "brain"))
    folder = "demo/brain/a/0/ledger"
    disk_store.write(f"{folder}/job.json", json.dumps({"manifest": MANIFEST}).encode())
    told = {"error": "SourceError", "reason": "/secret/a.tif: <script>no</script>"}
    disk_store.write(f"{folder}/failed-0-of-1.json", json.dumps(told).encode())
    page = connect(disk_store).get("/jobs").text
    assert "It failed: a.tif: &lt;script&gt;no&lt;" in page
    assert "/secret/" not in page
