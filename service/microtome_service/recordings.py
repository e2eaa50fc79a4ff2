"""Recordings in the words that service and client share, and their tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome_core.errors import NotFound
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import Column as StoredColumn
from microtome_core.store.recording_document import Statistic, VariableFacts
from microtome_core.store.recording_pieces import Trial
from microtome_core.trials import ColumnInfo, RecordingInfo, StatisticInfo, VariableInfo
from microtome_service.tables import Column, Table

NEURON = "neuron"


def describe_recording(recording: Recording) -> RecordingInfo:
    """Return all that one needs to know to read a recording."""
    variables = recording.variables.items()
    return RecordingInfo(
        id=str(recording.id),
        version=recording.version,
        format=recording.facts.format,
        trials=len(recording.trials),
        tiers=recording.facts.tier_counts,
        neurons=neuron_count(recording),
        variables=tuple(_variable(name, facts) for name, facts in variables),
        columns=tuple(_column(name, each) for name, each in recording.neurons.items()),
        statistics=tuple(map(_statistic, recording.statistics)),
        attrs=dict(recording.record),
        record_version=recording.record_version,
    )


def neuron_count(recording: Recording) -> int:
    """Return how many neurons there are."""
    counts = [column.shape[0] for column in recording.neurons.values()]
    for facts in recording.variables.values():
        counts += [array.shape[0] for array in facts.arrays if facts.axes[0] == NEURON]
    return max(counts, default=0)


def frames_of(trial: Trial) -> int:
    """Return for how many samples all variables of a trial have values, the absent left aside."""
    return min((p.valid for p in trial.pieces.values() if p.state == "stored"), default=0)


def trial_table(recording: Recording, trials: Sequence[Trial]) -> Table:
    """Return a row for each of some trials: its tier, and of each variable what there is of it.

    ``responses_frames`` counts the samples with values, ``responses_length`` those of the source's
    array with its padding, and ``responses_state`` is one of `STATES`.
    """
    columns = [
        Column("trial", [trial.number for trial in trials]),
        Column("name", [trial.name for trial in trials]),
        Column("tier", [trial.tier for trial in trials]),
        Column("frames", [frames_of(trial) for trial in trials]),
    ]
    for name in recording.variables:
        pieces = [trial.pieces[name] for trial in trials]
        columns += [
            Column(f"{name}_frames", [p.valid if p.state == "stored" else None for p in pieces]),
            Column(f"{name}_length", [p.length for p in pieces]),
            Column(f"{name}_state", [p.state for p in pieces]),
        ]
    return Table(tuple(columns), {"recording": str(recording.id), "version": recording.version})


async def neuron_table(recording: Recording, names: Sequence[str], start: int, stop: int) -> Table:
    """Return some columns of some neurons; raises as `Recording.read_neurons`."""
    columns = [Column(NEURON, np.arange(start, stop))]
    for name in names:
        values = await recording.read_neurons(name)
        columns.append(Column(name, values[start:stop], recording.neurons[name].unit))
    about = {"recording": str(recording.id), "version": recording.version}
    return Table(tuple(columns), about)


def find_statistic(recording: Recording, variable: str, group: str, name: str) -> Statistic:
    """Return a statistic.

    Raises
    ------
    NotFound
        Names those that there are.
    """
    for each in recording.statistics:
        if (each.variable, each.group, each.name) == (variable, group, name):
            return each
    there = ", ".join(f"{s.variable}/{s.group}/{s.name}" for s in recording.statistics)
    raise NotFound(
        f"recording {recording.id} has no statistic {variable}/{group}/{name}: "
        f"it has {there or 'none'}"
    )


def _variable(name: str, facts: VariableFacts) -> VariableInfo:
    shapes = {tuple(array.shape) for array in facts.arrays}
    dtypes = {array.dtype for array in facts.arrays}
    return VariableInfo(
        name,
        tuple(facts.axes),
        (*(_same(extents) for extents in zip(*shapes, strict=True)), None),
        dtypes.pop() if len(dtypes) == 1 else None,
        facts.unit,
        facts.rate,
        tuple(facts.rows or ()),
    )


def _same(values: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever it is given
    return values[0] if len(set(values)) == 1 else None


def _column(name: str, column: StoredColumn) -> ColumnInfo:
    shape, parts = tuple(column.shape[1:]), tuple(column.parts or ())
    return ColumnInfo(name, shape, column.dtype, column.unit, parts)


def _statistic(each: Statistic) -> StatisticInfo:
    return StatisticInfo(
        each.variable, each.group, each.name, each.supplied is not None,
        each.computed is not None, each.agrees, each.largest_difference, each.largest_relative,
        each.note,
    )  # fmt: skip
