"""The tables of a recording in an NWB file: its neurons, and its trials.

Of neurons no masks are made up: a row is what the source says of them. A trial's row says when it
is in the file, of which tier it is, and where its frames lie in the data of each series.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import ndx_microscopy as ndx
import numpy as np
from hdmf.common import ElementIdentifiers, VectorData
from numpy.typing import NDArray
from pynwb.epoch import TimeIntervals

from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import Column
from microtome_ingest.export.facts import Facts
from microtome_ingest.export.nwb_file import UNKNOWN, plain_name
from microtome_ingest.export.nwb_images import illumination
from microtome_ingest.export.trial_times import Timeline, Track

LAID = (
    "The order of the trials and the times between them are not known: in this file they lie one "
    "after another from 0 s on, in natural order of the names of their files."
)
# What a table of NWB has for itself.
_TAKEN = ("id", "name", "columns", "colnames", "description", "volume_mask", "voxel_mask")


def segmentation(recording: Recording, neurons: int, name: str) -> Any:  # noqa: ANN401 - of an untyped library
    """Return the table of neurons: a row each, a column for all that is known of them."""
    plane = Facts([recording.record]).mapping("imaging_plane")
    known = {k: v for k, v in plane.items() if k not in ("name", "location") and v}
    words = "Voxel size and extent of the imaged box are not known."
    space = ndx.VolumetricImagingSpace(
        name="imaging_space",
        anatomical_target=str(plane.get("location") or UNKNOWN),
        description=f"{words} {json.dumps(known, ensure_ascii=False)}" if known else words,
        illumination_pattern=illumination(recording.record, None),
    )
    columns: list[VectorData] = []
    for key, column in recording.neurons.items():
        columns += _columns(key, column, recording.load_neurons(key), [c.name for c in columns])
    if not columns:
        index = np.arange(neurons)
        columns = [VectorData(name="index", description="row of the responses", data=index)]
    return ndx.VolumetricSegmentation(
        name=name,
        description=f"Neurons of {recording.id}, in the order of its responses. Their masks are "
        "not part of the source.",
        id=ElementIdentifiers(name="id", data=np.arange(neurons)),
        columns=columns,
        colnames=[column.name for column in columns],
        volumetric_imaging_space=space,
    )


def trials_table(recording: Recording, timeline: Timeline) -> TimeIntervals:
    """Return the table of trials: when, of which tier, and where the frames of each lie."""
    trials, ends = recording.trials, [float(one) for one in timeline.bounds]
    told: list[tuple[str, str, Sequence[Any]]] = [
        ("start_time", "Seconds from the first trial in this file.", ends[:-1]),
        ("stop_time", "Seconds from the first trial in this file.", ends[1:]),
        ("trial", "Number of the trial in the source.", [one.number for one in trials]),
        ("source_name", "Name of its files in the source.", [one.name for one in trials]),
        ("tier", "What the trial is meant for.", [one.tier or UNKNOWN for one in trials]),
    ]
    for variable in recording.variables:
        told += _states(recording, variable)
    for track in timeline.tracks:
        told += _places(recording, track)
    for key, values in recording.facts.columns.items():
        name = plain_name(key, [*_TAKEN, *(one[0] for one in told)])
        told.append((name, f"{key}, as the source has it.", _plain_values(values)))
    columns = [VectorData(name=n, description=d, data=np.array(v)) for n, d, v in told]
    return TimeIntervals(
        name="trials",
        description=f"{LAID} A trial lasts as long as the longest of its variables.",
        columns=columns,
        colnames=[column.name for column in columns],
        id=ElementIdentifiers(name="id", data=np.arange(len(trials))),
    )


def _states(recording: Recording, variable: str) -> Iterator[tuple[str, str, Sequence[Any]]]:
    """Yield which trials have no values of a variable, where any has none."""
    states = [trial.pieces[variable].state for trial in recording.trials]
    if "withheld" in states or variable == "responses":
        words = f"Whether whoever published the source keeps {variable} back: they are not zeros."
        yield f"{variable}_withheld", words, [state == "withheld" for state in states]
    if {"missing", "nan"} & set(states):
        words = f"stored, withheld, missing (the source has no {variable}) or nan (all of it is)"
        yield f"{variable}_state", words, states


def _places(recording: Recording, track: Track) -> Iterator[tuple[str, str, Sequence[int]]]:
    """Yield where in a series the frames of each trial lie."""
    first = {p.number: at for p, at in zip(track.pieces, track.first, strict=True)}
    counts = {piece.number: piece.valid for piece in track.pieces}
    numbers = [trial.number for trial in recording.trials]
    words = f"of the trial in the data of {track.name}"
    yield f"{track.name}_start_index", f"First frame {words}; -1: none.", [
        first.get(number, -1) for number in numbers
    ]  # fmt: skip
    yield f"{track.name}_frames", f"Frames {words}.", [counts.get(n, 0) for n in numbers]


def _columns(
    key: str, column: Column, values: NDArray[Any], taken: Sequence[str]
) -> Iterator[VectorData]:
    """Yield what is known of neurons under one name, each coordinate by itself."""
    unit = "µm" if column.unit == "micrometer" else column.unit
    words = f"{key}, as the source has it" + (f", in {unit}" if unit else "")
    if column.parts is None:
        name = plain_name(key, [*_TAKEN, *taken])
        yield VectorData(name=name, description=f"{words}.", data=values)
        return
    for index, part in enumerate(column.parts):
        name = plain_name(f"{key}_{part}", [*_TAKEN, *taken])
        part_of = np.ascontiguousarray(values[:, index])
        yield VectorData(name=name, description=f"{part} of {words}.", data=part_of)


def _plain_values(values: Sequence[Any]) -> Sequence[Any]:
    """Return values that fit one column: numbers, truths or texts, or all of it as JSON."""
    for kind in (bool, int, str):
        if all(type(value) is kind for value in values):
            return values
    if all(type(value) in (int, float) for value in values):
        return [float(value) for value in values]
    return [value if isinstance(value, str) else json.dumps(value) for value in values]
