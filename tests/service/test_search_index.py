"""When a store is looked through for search: what is kept, by whom, and what stops no look."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.names import DatasetId
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from microtome_core.store.record_changes import change_dataset
from microtome_service.auth.database import Database
from microtome_service.search import kept

LIST = "/api/datasets"
VOXELS = np.arange(64, dtype="uint8").reshape(4, 4, 4)


def _ids(answer: Any) -> list[str]:  # noqa: ANN401 - httpx's own
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["datasets"]]


def test_a_dataset_with_nothing_in_it_is_not_listed(
    make_builder: Callable[..., Any], disk_store: Store, connect: Callable[..., Any]
) -> None:
    """As an ingest that failed leaves it; one of which something was said is listed."""
    call = connect(disk_store)
    ensure_groups(disk_store, DatasetId("demo", "failed"))
    disk_store.write("demo/failed/em/0/ledger/job.json", b"{}")
    make_builder(disk_store).layer("demo/brain/em", "zyx", VOXELS)
    answer = call.get(LIST).json()
    assert (answer["total"], [d["id"] for d in answer["datasets"]]) == (1, ["demo/brain"])
    change_dataset(disk_store, DatasetId("demo", "failed"), {"lab": "A"}, {"who": "me"})
    assert _ids(call.get(LIST)) == ["demo/brain", "demo/failed"]
    disk_store.delete("demo/brain/em")
    assert _ids(call.get(LIST)) == ["demo/failed"]
    make_builder(disk_store).layer("demo/brain/em", "zyx", VOXELS)
    assert _ids(call.get(LIST)) == ["demo/brain", "demo/failed"]


def test_several_services_share_an_index(
    make_builder: Callable[..., Any],
    disk_store: Store,
    connect: Callable[..., Any],
    database_url: str,
) -> None:
    """Each sees what is there now, and none spoils what another has kept."""
    with Database(database_url) as database:
        database.upgrade()
        callers = [connect(disk_store, database_url=database_url) for _ in range(3)]
        for number in range(4):
            make_builder(disk_store).layer(f"demo/d{number}/em", "zyx", VOXELS)
            assert [len(_ids(call.get(LIST))) for call in callers] == [number + 1] * 3
        with database.read() as connection:
            assert len(kept.read_digests(connection, kept.root_key(disk_store.url))) == 4


def test_a_large_store_is_looked_through_in_the_background(
    make_builder: Callable[..., Any], disk_store: Store, connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An answer does not wait and tells how old it is; the next look finds what is new."""
    make_builder(disk_store).layer("demo/brain/em", "zyx", VOXELS)
    call = connect(disk_store, index_seconds=1.0)
    monkeypatch.setattr("microtome_service.search.index._MOMENT", -1.0)
    monkeypatch.setattr("microtome_service.search.index._SMALL", 0)
    monkeypatch.setattr("microtome_service.search.index._REST", 0.0)
    first = call.get(LIST).json()
    assert (first["total"], first["complete"]) == (1, True)
    make_builder(disk_store).layer("demo/late/em", "zyx", VOXELS)
    again = call.get(LIST).json()
    assert (again["total"], again["indexed_at"]) == (1, first["indexed_at"])
    index = call.app.state.service.index
    index.forget()
    call.get(LIST)
    index._flight.result(30)
    assert call.get(LIST).json()["total"] == 2


def test_a_clock_that_was_set_back_stops_no_look(
    make_builder: Callable[..., Any], disk_store: Store, connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch, database_url: str,
) -> None:  # fmt: skip
    """What another process noted of a time that is still to come is not believed until then."""
    for name, value in (("_MOMENT", -1.0), ("_SMALL", 0), ("_REST", 0.0)):
        monkeypatch.setattr(f"microtome_service.search.index.{name}", value)
    with Database(database_url) as database:
        database.upgrade()
        make_builder(disk_store).layer("demo/brain/em", "zyx", VOXELS)
        call = connect(disk_store, database_url=database_url, index_seconds=3600)
        assert call.get(LIST).json()["total"] == 1
        make_builder(disk_store).layer("demo/late/em", "zyx", VOXELS)
        looked = kept.Looked(time.time() + 10**6, 0.1, 1)
        with database.write() as connection:
            kept.note_looked(connection, kept.root_key(disk_store.url), looked)
        index = call.app.state.service.index
        index._until = 0.0
        call.get(LIST)
        index._flight.result(30)
        assert call.get(LIST).json()["total"] == 2


def test_a_layer_larger_than_any_number_of_the_database_is_listed(
    make_builder: Callable[..., Any],
    disk_store: Store,
    connect: Callable[..., Any],
    database_url: str,
) -> None:
    """Metadata may claim any extents; no such layer keeps others from being found."""
    for name in ("small", "huge"):
        make_builder(disk_store).layer(f"demo/{name}/em", "zyx", VOXELS)
    path = "demo/huge/em/0/zarr.json"
    told = json.loads(disk_store.read(path) or b"")
    disk_store.write(path, json.dumps({**told, "shape": [2**40] * 3}).encode())
    with Database(database_url) as database:
        database.upgrade()
    answer = connect(disk_store, database_url=database_url).get(f"{LIST}?sort=-size")
    assert (_ids(answer), answer.json()["complete"]) == (["demo/huge", "demo/small"], True)
