"""What of a record can be looked for."""

from microtome_service.search.facts import record_values


def test_numbers_that_stand_in_for_names_are_no_channels_to_look_for() -> None:
    """Names and dyes that somebody gave are; `channel-0` is none, wherever it stands."""
    record = {"channels": [{"name": "channel-0", "indicator": "EGFP"}, {"name": "DAPI"}]}
    assert record_values(record, ["channel-0", "DAPI"]) == {"channel": ("DAPI", "EGFP")}
