"""The documents of a recording: what it says of itself, and its NWB-style record."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from microtome_core import __version__
from microtome_core.store.record import NWB_VERSION, RECORDING, SCHEMA
from microtome_core.store.record_given import with_given
from microtome_core.store.recording_document import (
    Pieces,
    RecordingFacts,
    VariableFacts,
)
from microtome_ingest.recordings.extras import Extras
from microtome_ingest.recordings.manifest import Manifest
from microtome_ingest.recordings.pieces import Kept, is_test
from microtome_ingest.recordings.plan import DataArray, axes_of
from microtome_ingest.recordings.statistics import disagreements
from microtome_ingest.recordings.survey import RESPONSES, Survey

FORMAT = "Sensorium trials"
# Deconvolved activity and grey levels are of no physical unit; of the others the folder says none.
_UNITS = {"videos": "grey level", RESPONSES: "a.u."}
_ROWS = {
    "behavior": ["pupil dilation", "running speed"],
    "pupil_center": ["horizontal", "vertical"],
}


def facts_of(
    survey: Survey,
    arrays: Mapping[str, Sequence[DataArray]],
    pieces: Mapping[str, Mapping[int, Kept]],
    extras: Sequence[Extras],
) -> RecordingFacts:
    """Return what stands under ``recording``."""
    headers = {head.raw: None for heads in survey.groups.values() for head in heads.values()}
    numbers = {raw: number for number, raw in enumerate(headers)}
    statistics = [one for extra in extras for one in extra.statistics]
    notes = [*survey.notes, *(note for extra in extras for note in extra.notes)]
    return RecordingFacts(
        format=FORMAT,
        name=survey.name,
        trials=list(survey.numbers),
        names=list(survey.names),
        tiers=list(survey.tiers),
        columns=dict(survey.columns),
        variables={
            group: _variable(survey, group, arrays[group], pieces[group], numbers)
            for group in survey.groups
        },
        neurons={n: c for extra in extras for n, c in (extra.neurons or {}).items()},
        statistics=statistics,
        headers=[b64encode(raw).decode() for raw in headers],
        files=[file for extra in extras for file in extra.files],
        computed=[file for extra in extras for file in extra.computed],
        not_kept=list(survey.not_kept),
        notes=[*notes, *disagreements(statistics)],
    )


def record_of(
    survey: Survey,
    manifest: Manifest,
    sha256: str | None,
    given: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the NWB-style record of a recording, with what is given laid over it, in order.

    Raises
    ------
    RecordRefused
        What is given cannot be said.
    """
    record = _from_source(survey, manifest, sha256)
    for one in given:
        record = with_given(record, one).to_json()
    return record


def _from_source(survey: Survey, manifest: Manifest, sha256: str | None) -> dict[str, Any]:
    return {
        "schema_id": SCHEMA,
        "nwb_version": NWB_VERSION,
        "kind": RECORDING,
        "neurodata_type": "MicroscopyResponseSeries",
        "data": f"data/{RESPONSES}",
        "source_format": FORMAT,
        "source_files": [
            {
                "name": survey.name,
                "size": sum(manifest.files.values()),
                **({"sha256": sha256} if sha256 else {}),
            }
        ],
        "conversion_history": [
            {
                "tool": "microtome",
                "version": __version__,
                "timestamp": manifest.started,
                "parameters": {"rate": manifest.rate, "codec": manifest.codec},
            }
        ],
    }


def _variable(
    survey: Survey,
    group: str,
    arrays: Sequence[DataArray],
    kept: Mapping[int, Kept],
    numbers: Mapping[bytes, int],
) -> VariableFacts:
    where = {index: array for array in arrays for index in array.offsets}
    axes = axes_of(group, len(arrays[0].spec.shape))
    rows = _ROWS.get(group)
    columns: dict[str, list[Any]] = {name: [] for name in Pieces.model_fields}
    for index in range(len(survey.numbers)):
        entry = _absent(survey, group, index) if index not in kept else {
            **kept[index].to_json(),
            "array": where[index].number,
            "offset": where[index].offsets[index],
            "length": where[index].lengths[index],
            "header": numbers[survey.groups[group][index].raw],
        }  # fmt: skip
        for name, values in columns.items():
            values.append(entry[name])
    return VariableFacts(
        axes=list(axes),
        unit=_UNITS.get(group),
        rate=survey.rate,
        rows=rows if rows and arrays[0].spec.shape[0] == len(rows) else None,
        arrays=[array.stored() for array in arrays],
        pieces=Pieces(**columns),
    )


def _absent(survey: Survey, group: str, index: int) -> dict[str, Any]:
    withheld = group == RESPONSES and is_test(survey.tiers[index])
    nothing = dict.fromkeys(("offset", "stored", "length", "valid", "size"), 0)
    state = "withheld" if withheld else "missing"
    return {**nothing, "state": state, "array": -1, "header": -1, "tail": None, "xxh3": None}
