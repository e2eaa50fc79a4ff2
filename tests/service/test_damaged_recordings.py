"""Recordings over HTTP whose document is damaged: told as such, and in nobody's way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_ingest.files import Files
from microtome_ingest.observer import Observer
from microtome_ingest.recordings.job import RecordingOptions, ingest_recording
from microtome_ingest.recordings.survey import survey
from tests.recording_made import Made, make_recording
from tests.sensorium_folders import Mouse, arrays_of, write_folder

LIST = "/api/datasets"


@pytest.fixture
def made(disk_store: Store) -> Made:
    """A recording, and another in a dataset of its own."""
    make_recording(disk_store, "lab/whole/one")
    return make_recording(disk_store, "lab/mice/one")


def _no_record(attributes: dict[str, Any]) -> None:
    attributes["nwb"] = ["no object"]


def _no_array(attributes: dict[str, Any]) -> None:
    attributes["recording"]["variables"]["videos"]["pieces"]["array"][0] = 7


def _other_dtype(attributes: dict[str, Any]) -> None:
    attributes["recording"]["variables"]["responses"]["arrays"][0]["dtype"] = "int16"


def _other_shape(attributes: dict[str, Any]) -> None:
    attributes["recording"]["variables"]["responses"]["arrays"][0]["shape"] = [3]


def _no_dtype(attributes: dict[str, Any]) -> None:
    attributes["recording"]["variables"]["responses"]["arrays"][0]["dtype"] = "words"


@pytest.mark.parametrize("damage", [_no_record, _no_array, _other_dtype, _other_shape, _no_dtype])
def test_a_damaged_document_hides_no_other(
    damage: Callable[[dict[str, Any]], None],
    disk_store: Store,
    made: Made,
    connect: Callable[..., Any],
) -> None:
    """It is 503 by itself and named in lists; every other dataset is found as ever."""
    path = f"{made.id}/zarr.json"
    document = json.loads(disk_store.read(path) or b"")
    damage(document["attributes"])
    disk_store.write(path, json.dumps(document).encode())
    call = connect(disk_store)
    assert call.get(f"{LIST}/{made.id}").status_code == 503
    assert call.get(f"{LIST}/{made.id}/trials/0/responses").status_code == 503
    listed = call.get(f"{LIST}?q=lab&sort=size")
    assert listed.status_code == 200, listed.text
    found = {each["id"]: each["recordings"] for each in listed.json()["datasets"]}
    assert sorted(found) == ["lab/mice", "lab/whole"]
    assert ["error" in each for each in (*found["lab/mice"], *found["lab/whole"])] == [True, False]


def test_a_damaged_file_of_trials_is_never_values(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    """A trial whose shard has another byte is 503, alone and in a list; the others are read."""
    store, mouse = Store(str(tmp_path / "root")), Mouse()
    folder, layer = write_folder(tmp_path / "mouse", mouse), LayerId.parse("lab/mice/one")
    found, options = survey(str(folder), Files()), RecordingOptions(grace=0)
    recording = ingest_recording(found, store, layer, options, Observer()).recording
    assert set(recording.files) >= {"data/videos", "data/responses"}
    call, address = connect(store), f"/api/datasets/{layer}/trials"
    chosen = {"trials": [2, 3], "variables": ["behavior", "responses"]}
    picked = call.get(f"{address}/2/responses?neurons=5,1&t=3:9&format=raw")
    expected = arrays_of(mouse, 2)["responses"][[5, 1], 3:9]
    assert picked.content == expected.tobytes()
    assert call("POST", f"{address}/batch", json=chosen).status_code == 200
    (shard,) = (tmp_path / f"root/{layer}/data/responses/c").glob("0/0")
    damaged = bytearray(shard.read_bytes())
    damaged[7] ^= 1
    shard.write_bytes(damaged)
    assert call.get(f"{address}/2/responses").status_code == 503
    assert call("POST", f"{address}/batch", json=chosen).status_code == 503
    assert call.get(f"{address}/2/behavior").status_code == 200
