"""Versions: the values' own stays while records are changed, and no other does."""

import json
from typing import Any

import pytest

from microtome_core.store.versions import record_version, value_version

RECORD: dict[str, Any] = {
    "schema_id": "microtome-record/2",
    "data": "0",
    "source_files": [{"name": "a.tif", "size": 5, "sha256": "0" * 64}],
    "conversion_history": [{"tool": "microtome", "timestamp": "2024-05-01T00:00:00+00:00"}],
    "lab": "A",
}
ATTRIBUTES: dict[str, Any] = {
    "ome": {"version": "0.5"},
    "nwb": RECORD,
    "microtome": {"version": "", "empty_shards": 0},
}


def _version(attributes: dict[str, Any]) -> str:
    return value_version(json.dumps({"attributes": attributes}).encode(), attributes)


@pytest.mark.parametrize(
    "changed",
    [
        {"lab": "B"},
        {"lab": None, "subject": {"sex": "F"}},
        {"schema_id": "microtome-record/1"},
        {"source_files": [{**RECORD["source_files"][0], "etag": None}]},
    ],
)
def test_what_is_said_of_values_does_not_change_them(changed: dict[str, Any]) -> None:
    """Nor does a record that is written in the form of today."""
    assert _version({**ATTRIBUTES, "nwb": {**RECORD, **changed}}) == _version(ATTRIBUTES)


@pytest.mark.parametrize(
    "changed",
    [
        {"microtome": {"version": "v2", "empty_shards": 0}},
        {"microtome": {"version": "", "empty_shards": 1}},
        {"ome": {"version": "0.5", "omero": {"channels": []}}},
        {"nwb": {**RECORD, "data": "v2/0"}},
        {"nwb": {**RECORD, "source_files": [{"name": "b.tif", "size": 5}]}},
        {"nwb": {**RECORD, "conversion_history": [{"timestamp": "2024-05-02T00:00:00+00:00"}]}},
        {"recording": {"trials": []}},
    ],
)
def test_values_that_may_be_others_have_another_version(changed: dict[str, Any]) -> None:
    """Another ingest, another form of the arrays, and another way of showing them."""
    assert _version({**ATTRIBUTES, **changed}) != _version(ATTRIBUTES)


def test_without_a_record_of_ours_everything_counts() -> None:
    """What other software says of its values is not known."""
    attributes = {"ome": {}, "nwb": {"lab": "A"}}
    document = json.dumps({"attributes": attributes}).encode()
    assert value_version(document, attributes) == record_version(document)
    assert _version({"ome": {}, "nwb": {"lab": "B"}}) != _version(attributes)
