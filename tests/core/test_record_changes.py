"""Changing the record of a layer: nothing is lost, and every change is noted."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from microtome_core.errors import (
    Conflict,
    InputError,
    NotFound,
    PreconditionFailed,
    StorageError,
)
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.layer import publish_layer, read_layer
from microtome_core.store.location import Store
from microtome_core.store.record import SCHEMA, read_record
from microtome_core.store.record_changes import (
    change_dataset,
    change_record,
    dataset_given,
    history,
    replayed,
)
from microtome_core.store.record_given import RecordRefused, merge, with_given
from microtome_core.store.record_text import parse_json

BRAIN, CELLS = LayerId("demo", "mouse", "brain"), LayerId("demo", "mouse", "cells")
ME = {"who": "me"}
NEW = NewLayer(
    "czyx",
    (2, 3, 4, 5),
    "uint16",
    (1.0, 2.0, 0.5, 0.25),
    (None, "micrometer", "micrometer", "micrometer"),
    kind="image",
    channels=("EGFP", "DAPI"),
    created="2024-05-01T00:00:00+00:00",
)


@pytest.fixture
def made(store: Store) -> Store:
    """A store with an image of two channels, 5 × 4 × 3 voxels in x, y, z."""
    return _made(store)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """The record of such an image."""
    return _record(_made(Store("memory://record")))


def _made(store: Store) -> Store:
    create_layer(store, BRAIN, NEW)
    return store


def _record(store: Store, layer: LayerId = BRAIN) -> dict[str, Any]:
    return read_layer(store, layer).info.attrs


def _objects(store: Store) -> dict[str, bytes | None]:
    return {key: store.read(key) for key, _ in store.sizes("demo")}


def _faults(given: dict[str, Any], record: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(RecordRefused) as caught:
        with_given(record, given)
    return caught.value.faults


def test_a_change_makes_a_new_version_and_touches_no_voxel(made: Store) -> None:
    """The version of the layer is another one, its arrays are the same."""
    before, objects = read_layer(made, BRAIN), _objects(made)
    change = change_record(made, BRAIN, {"subject": {"age": "P90D", "sex": "F"}}, ME)
    after = read_layer(made, BRAIN)
    assert after.info.record_version == change.version != before.info.record_version
    assert after.info.version == before.info.version
    assert after.info.attrs["subject"] == {"neurodata_type": "Subject", "age": "P90D", "sex": "F"}
    assert after.info.levels == before.info.levels
    assert after.live is not None
    assert {key for key in _objects(made) if "/ledger/record/" not in key} == set(objects)
    assert [key for key, data in objects.items() if made.read(key) != data] == [
        f"{BRAIN}/zarr.json"
    ]


def test_every_change_is_noted_with_who_when_old_and_new(made: Store) -> None:
    """The notes are a chain: each begins with the version that the one before made."""
    first = change_record(made, BRAIN, {"subject": {"age": "P90D"}}, ME)
    change_record(made, BRAIN, {"subject": {"age": "P91D"}, "lab": "A"}, {"who": "you"})
    notes = history(made, BRAIN)
    assert [note["who"] for note in notes] == ["me", "you"]
    assert notes[1]["changes"] == {"subject.age": ["P90D", "P91D"], "lab": [None, "A"]}
    assert notes[1]["before"] == notes[0]["after"] == first.version
    assert all(note["at"].endswith("+00:00") for note in notes)


def test_what_changes_nothing_is_no_change(made: Store) -> None:
    """Said again it makes neither a version nor a note."""
    given = {"license": "cc0-1.0", "subject": {"sex": "M"}}
    first = change_record(made, BRAIN, given, ME)
    again = change_record(made, BRAIN, given, ME)
    assert (again.version, again.changes) == (first.version, {})
    assert len(history(made, BRAIN)) == 1


def test_null_removes_and_what_is_not_given_stays(made: Store) -> None:
    """As RFC 7396 says."""
    change_record(made, BRAIN, {"lab": "A", "subject": {"sex": "F", "age": "P1D"}}, ME)
    change_record(made, BRAIN, {"subject": {"age": None}}, ME)
    assert _record(made)["subject"] == {"neurodata_type": "Subject", "sex": "F"}
    change_record(made, BRAIN, {"subject": None}, ME)
    assert "subject" not in _record(made)
    assert _record(made)["lab"] == "A"


def test_channels_are_found_by_name(made: Store) -> None:
    """The others stay as they are, and a dye becomes one of the indicators."""
    given = {"channels": [{"name": "DAPI", "indicator": "DAPI", "emission_wavelength_in_nm": 461}]}
    change_record(made, BRAIN, given, ME)
    record = _record(made)
    assert [channel["name"] for channel in record["channels"]] == ["EGFP", "DAPI"]
    assert record["channels"][1]["emission_wavelength_in_nm"] == 461
    assert [one["name"] for one in record["indicators"]] == ["DAPI"]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"speces": "x"}, "speces: is unknown; write subject.species"),
        ({"subjct": {}}, "subjct: is unknown; write subject"),
        ({"subject": {"specie": "x"}}, "subject.specie: is unknown; write species"),
        ({"channels": [{"name": "EGFP", "colour": "red"}]}, "channels.0.colour: is unknown"),
        ({"channels": [{"name": "GFP"}]}, "channels.2.name: 'GFP': the layer has 'EGFP', 'DAPI'"),
        ({"channels": None}, "channels: those of the layer stay"),
        ({"source_files": []}, ""),
        ({"source_files": [{"name": "a", "size": 1}]}, "source_files: is known from the ingest"),
        ({"schema_id": "mine"}, "schema_id: is known from the ingest alone"),
        ({"imaging_space": {"voxel_size_in_um": [0.25, 0.5, 2]}}, ""),
        (
            {"imaging_space": {"voxel_size_in_um": [2, 0.5, 0.25]}},
            "is not that of the arrays, [0.25, 0.5, 2.0] in x, y, z",
        ),
        ({"imaging_space": {"dimensions_in_voxels": [3, 4, 5]}}, "[5, 4, 3] in x, y, z"),
        ({"imaging_space": None}, "imaging_space: is missing"),
        ({"indicators": [{"name": "A"}, {"name": "A"}]}, "'A' is there twice"),
        ({"subject": "mouse"}, "subject: 'mouse': input should be"),
        ({"keywords": {"a": "b"}}, "keywords: "),
    ],
)
def test_what_cannot_be_said_of_a_layer_is_refused(
    record: dict[str, Any], given: dict[str, Any], fault: str
) -> None:
    """Names that are unknown get the nearest that is known; the arrays are what they are."""
    if not fault:
        assert with_given(record, given).to_json() == record
        return
    faults = _faults(given, record)
    assert len(faults) == 1
    assert fault in faults[0]


def test_what_is_refused_changes_nothing(made: Store) -> None:
    """No version, and no note."""
    before = _objects(made)
    with pytest.raises(RecordRefused, match=r"subject\.age"):
        change_record(made, BRAIN, {"subject": {"age": "old"}}, ME)
    assert _objects(made) == before


def test_all_faults_are_told_at_once(record: dict[str, Any]) -> None:
    """Unknown names beside values that cannot be."""
    faults = _faults({"subjcet": {}, "subject": {"age": "90 days"}, "doi": 1}, record)
    assert [fault.partition(":")[0] for fault in faults] == ["subjcet", "subject.age", "doi"]
    assert "subject.age: '90 days' is no ISO 8601 duration; write P90D" in faults


@pytest.mark.parametrize(
    "store", ["file", "memory", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)
def test_who_says_at_once_does_not_lose_what_others_say(made: Store) -> None:
    """Eight writers of eight fields, and the notes are one chain."""
    fields = ("lab", "notes", "protocol", "surgery", "virus", "slices", "institution", "session_id")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: change_record(made, BRAIN, {name: f"of {name}"}, ME), fields))
    assert {name: _record(made).get(name) for name in fields} == {n: f"of {n}" for n in fields}
    notes = history(made, BRAIN)
    assert len(notes) == len(fields)
    by_version = {note["before"]: note for note in notes}
    assert len(by_version) == len(fields)
    assert {note["after"] for note in notes} - set(by_version) == {
        read_layer(made, BRAIN).info.record_version
    }


def test_a_version_may_be_asked_for(made: Store) -> None:
    """Where the layer has another one nothing is done."""
    version = read_layer(made, BRAIN).info.record_version
    change_record(made, BRAIN, {"lab": "A"}, ME, [version, "other"])
    with pytest.raises(PreconditionFailed, match="has version"):
        change_record(made, BRAIN, {"lab": "B"}, ME, [version])
    assert _record(made)["lab"] == "A"
    assert len(history(made, BRAIN)) == 1


def test_layers_without_a_record_are_left_alone(store: Store, made: Store) -> None:
    """What other software wrote may leave out chunks, which a record would say it does not."""
    attributes = {"ome": json.loads(read_layer(made, BRAIN).document)["attributes"]["ome"]}
    publish_layer(store, str(CELLS), attributes)
    with pytest.raises(Conflict, match="other software"):
        change_record(store, CELLS, {"lab": "A"}, ME)
    with pytest.raises(NotFound):
        change_record(store, LayerId("demo", "mouse", "none"), {"lab": "A"}, ME)


def test_what_is_said_of_a_dataset_is_said_of_its_layers(made: Store) -> None:
    """Of those that are there, labels included; it is kept for those to come."""
    create_layer(made, CELLS, NewLayer("zyx", (3, 4, 5), "uint64", NEW.scale[1:], NEW.units[1:]))
    change_record(made, BRAIN, {"lab": "A"}, ME)
    told = {"subject": {"species": "Mus musculus"}, "license": "cc-by-4.0"}
    changes = change_dataset(made, DatasetId("demo", "mouse"), told, ME)
    assert sorted(map(str, changes)) == [str(BRAIN), str(CELLS)]
    for layer in (BRAIN, CELLS):
        assert _record(made, layer)["subject"]["species"] == "Mus musculus"
        assert _record(made, layer)["license"] == "CC-BY-4.0"
    assert _record(made)["lab"] == "A"
    kept = dataset_given(made, DatasetId("demo", "mouse"))
    assert kept["license"] == "CC-BY-4.0"
    assert merge({}, kept)["subject"]["species"] == "Mus musculus"
    with pytest.raises(RecordRefused, match="channels: is of one layer"):
        change_dataset(made, DatasetId("demo", "mouse"), {"channels": []}, ME)
    with pytest.raises(NotFound):
        change_dataset(made, DatasetId("demo", "none"), told, ME)


def test_a_record_can_be_made_anew_from_its_notes(made: Store) -> None:
    """As where the metadata of a layer were lost and are written as an ingest would."""
    before = _record(made)
    change_record(made, BRAIN, {"lab": "A", "subject": {"sex": "F", "age": "P1D"}}, ME)
    change_record(made, BRAIN, {"subject": {"age": None}}, ME)
    assert replayed(made, str(BRAIN), before) == _record(made)


def test_a_record_of_the_first_schema_becomes_one_of_the_second(record: dict[str, Any]) -> None:
    """Where its size is known along some axes only, it is not known."""
    old = {**record, "schema_id": "microtome-record/1"}
    old["imaging_space"] = {**record["imaging_space"], "voxel_size_in_um": [0.25, 0.5]}
    new = with_given(old, {"lab": "A"})
    assert new.schema_id == SCHEMA
    assert new.imaging_space.size_in_um is None
    assert read_record(new.to_json()) == new


def test_a_record_nested_without_end_is_refused(record: dict[str, Any]) -> None:
    """Before anything recurses into it."""
    given: dict[str, Any] = {}
    for _ in range(5000):
        given = {"subject": given}
    with pytest.raises(RecordRefused, match="nested"):
        with_given(record, given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"notes": "\\ud800"}', "half a character"),
        (b'{"subject": {"\\udc00": 1}}', "half a character"),
        (b'{"imaging_space": {"origin": [1e999, 0, 0]}}', "no number of JSON"),
        (b'{"keywords": ' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"doi": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_no_reader_could_take_is_refused(
    record: dict[str, Any], text: bytes, words: str
) -> None:
    """It is the words that are at fault, not the storage, and the layer stays readable."""
    with pytest.raises(InputError, match=words):
        with_given(record, parse_json(text))


class _Failing(Store):
    """Storage that fails as the metadata of a layer are replaced, before it happened or after."""

    arrives = False

    def update(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small object, or seem to."""
        if self.arrives:
            super().update(path, change)
        else:
            change(self.read(path))
        raise StorageError("no answer came")


@pytest.mark.parametrize("arrives", [False, True], ids=["never made", "made unseen"])
def test_a_change_that_failed_is_told_as_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, arrives: bool
) -> None:
    """No note is left of one that was not made, so that nothing applies it later."""
    made = _made(Store(f"file://{tmp_path}"))
    before = _record(made)
    change_record(made, BRAIN, {"lab": "A"}, ME)
    monkeypatch.setattr(_Failing, "arrives", arrives)
    with pytest.raises(StorageError, match="no answer"):
        change_record(_Failing(f"file://{tmp_path}"), BRAIN, {"lab": "B"}, ME)
    told = ["A", "B"] if arrives else ["A"]
    assert _record(made)["lab"] == told[-1]
    assert [note["changes"]["lab"][1] for note in history(made, BRAIN)] == told
    assert replayed(made, str(BRAIN), before)["lab"] == told[-1]
    notes = [key for key, _ in made.sizes(f"{BRAIN}/0/ledger/record")]
    assert len(notes) == len(told)


def test_the_note_of_a_process_that_died_before_its_change_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies there still; neither the history nor a record made anew takes it for a change."""
    made = _made(Store(f"file://{tmp_path}"))
    before = _record(made)
    change_record(made, BRAIN, {"lab": "A"}, ME)
    monkeypatch.setattr("microtome_core.store.record_changes._settle", lambda *_: None)
    with pytest.raises(StorageError):
        change_record(_Failing(f"file://{tmp_path}"), BRAIN, {"lab": "B"}, ME)
    change_record(made, BRAIN, {"notes": "after"}, ME)
    assert len(list(made.sizes(f"{BRAIN}/0/ledger/record"))) == 3
    assert [sorted(note["changes"]) for note in history(made, BRAIN)] == [["lab"], ["notes"]]
    monkeypatch.undo()
    change_record(made, BRAIN, {"slices": "thick"}, ME)
    anew = replayed(made, str(BRAIN), before)
    assert [anew.get(name) for name in ("lab", "notes", "slices")] == ["A", "after", "thick"]


def test_what_one_layer_of_a_dataset_cannot_bear_is_said_of_none(made: Store) -> None:
    """It is refused by the name of that layer, before anything is written."""
    create_layer(made, CELLS, NewLayer("zyx", (3, 4, 5), "uint64", NEW.scale[1:], NEW.units[1:]))
    change_record(made, CELLS, {"subject": {"sex": "F"}}, ME)
    before = _objects(made)
    with pytest.raises(RecordRefused, match=f"{CELLS}: subject.sex"):
        change_dataset(
            made, DatasetId("demo", "mouse"), {"subject": {"species": "Caenorhabditis elegans"}}, ME
        )
    assert _objects(made) == before
