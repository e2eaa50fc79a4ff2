"""The page of ingests: what it tells, and whom."""

import json
from collections.abc import Callable
from typing import Any

from microtome_core.names import DatasetId
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store

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
