"""What service and client say to each other about a recording."""

import json

import pytest

from microtome_core.errors import InputError
from microtome_core.trials import ColumnInfo, RecordingInfo, StatisticInfo, VariableInfo

INFO = RecordingInfo(
    "lab/sensorium/mouse",
    "0123456789abcdef",
    "sensorium",
    3,
    {"train": 2, "oracle": 1},
    12,
    (VariableInfo("responses", ("neuron", "time"), (12, None), "float32", None, 30.0),),
    (ColumnInfo("xyz", (3,), "float64", "micrometer", ("x", "y", "z")),),
    (StatisticInfo("responses", "all", "std", True, True, True, 0.0, 0.0),),
    {"subject": {"species": "Mus musculus"}},
)


def test_a_recording_survives_its_json() -> None:
    """Fields that are unknown here are left alone."""
    value = json.loads(json.dumps(INFO.to_json()))
    assert RecordingInfo.from_json({**value, "later": 1}) == INFO


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "image"), ("trials", -1), ("trials", "3"), ("variables", [{}]), ("tiers", [])],
)
def test_what_is_no_recording_is_refused(name: str, value: object) -> None:
    """A field of the wrong form is an error that says so."""
    with pytest.raises(InputError, match="not a recording's JSON"):
        RecordingInfo.from_json({**INFO.to_json(), name: value})
