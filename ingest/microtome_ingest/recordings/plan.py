"""Where each array of a recording goes: slots in time, chunks, shards, and who writes which.

Trials lie one after another in time, each from a multiple of a slot on, so that one trial is whole
chunks. A trial that fits in a shard lies in one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from microtome_core.store.array import ArraySpec, Codec
from microtome_core.store.recording_document import StoredArray
from microtome_ingest.recordings.codecs import Codecs, choose_codecs
from microtome_ingest.recordings.heads import Head
from microtome_ingest.recordings.pieces import is_test
from microtome_ingest.recordings.survey import RESPONSES, Survey

# Of a chunk of rows; of a shard; of a block of rows that is turned.
_CHUNK_BYTES = 1 << 20
_SMALL_CHUNK = 64 << 10
_SHARD_BYTES = 64 << 20
_TURNED_BYTES = 128 << 20
_SLOTS = (1024, 512, 256, 128, 64)
# The part of the slots that may be filler.
_WASTE = 0.15
_AXES = {
    "videos": ("y", "x", "time"),
    RESPONSES: ("neuron", "time"),
    "behavior": ("signal", "time"),
    "pupil_center": ("coordinate", "time"),
}


@dataclass(frozen=True, slots=True)
class TimeArray(ArraySpec):
    """A Zarr array whose last axis is time; filler is NaN where the dtype has one.

    Parameters
    ----------
    names : tuple of str
        Of its dimensions.
    """

    names: tuple[str, ...] = ()

    def to_zarr(self) -> dict[str, Any]:
        """Return the array's Zarr v3 metadata."""
        fill = {"f": "NaN", "b": False}.get(np.dtype(self.dtype).kind, 0)
        told = ArraySpec.to_zarr(self)
        return {**told, "dimension_names": list(self.names), "fill_value": fill}

    @property
    def filler(self) -> Any:  # noqa: ANN401 - NaN, False or 0
        """What stands between trials."""
        return {"f": np.nan, "b": False}.get(np.dtype(self.dtype).kind, 0)


@dataclass(frozen=True)
class DataArray:
    """One stored array of a variable.

    Parameters
    ----------
    group : str
    number : int
        Among the stored arrays of the group.
    spec : TimeArray
    turned : TimeArray or None
        The same by rows.
    slot : int
        Frames.
    offsets : dict
        First frame by index of the trial.
    lengths : dict
        Frames in the source by index of the trial.
    """

    group: str
    number: int
    spec: TimeArray
    turned: TimeArray | None
    slot: int
    offsets: Mapping[int, int]
    lengths: Mapping[int, int]

    @property
    def path(self) -> str:
        """Of its folder, below the version."""
        return f"data/{self.group}{f'.{self.number + 1}' if self.number else ''}"

    @property
    def turned_path(self) -> str:
        """Of the folder of the copy by rows."""
        return f"rows/{self.path.removeprefix('data/')}"

    @cached_property
    def units(self) -> tuple["Unit", ...]:
        """Shards and the trials that lie in them; each shard is in one unit."""
        edge, total = self.spec.shard[-1], self.spec.shape[-1]
        trials: dict[int, list[int]] = {n: [] for n in range(-(-total // edge))}
        for trial, offset in self.offsets.items():
            trials[offset // edge].append(trial)
        return tuple(self._unit(shard, within) for shard, within in self._runs(trials))

    def _runs(self, trials: Mapping[int, list[int]]) -> Iterator[tuple[range, list[int]]]:
        edge, shard = self.spec.shard[-1], 0
        while shard < len(trials):
            ends = [self.offsets[t] + self.lengths[t] for t in trials[shard]]
            stop = max([shard + 1, *(-(-end // edge) for end in ends)])
            yield range(shard, stop), trials[shard]
            shard = stop

    def _unit(self, shards: range, trials: Sequence[int]) -> "Unit":
        return Unit(f"{self.path}/{shards.start}", shards, tuple(trials))

    def stored(self) -> StoredArray:
        """Return what the recording's document says of it."""
        return StoredArray(
            path=self.path,
            by_row=self.turned_path if self.turned else None,
            dtype=self.spec.dtype,
            shape=list(self.spec.shape[:-1]),
            slot=self.slot,
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """What is written at once.

    Parameters
    ----------
    name : str
    shards : range
        Along time.
    trials : tuple of int
        Their indices.
    """

    name: str
    shards: range
    trials: tuple[int, ...]


def axes_of(group: str, count: int) -> tuple[str, ...]:
    """Return the names of the axes of a group's arrays."""
    known = _AXES.get(group, ())
    return known if len(known) == count else (*(f"axis-{i}" for i in range(count - 1)), "time")


def plan_arrays(survey: Survey, codec: Codec | None) -> dict[str, tuple[DataArray, ...]]:
    """Return the stored arrays of each variable: one for each dtype and extents that occur.

    Parameters
    ----------
    survey : Survey
    codec : Codec, optional
        By default what suits the values, of which some are read.

    Raises
    ------
    SourceError
        As `choose_codecs`.
    """
    return {
        group: tuple(
            _plan(
                group, number, kind.dtype, kind.lead, trials, _codecs(survey, group, trials, codec)
            )
            for number, (kind, trials) in enumerate(_kinds(survey, group).items())
        )
        for group in survey.groups
    }


@dataclass(frozen=True, slots=True)
class _Kind:
    """What arrays have in common that lie in one.

    Responses of test tiers lie apart: mostly they are withheld, and what is stored instead is to
    take no room, whatever suits the others.
    """

    dtype: str
    lead: tuple[int, ...]
    apart: bool


def _kinds(survey: Survey, group: str) -> dict[_Kind, dict[int, Head]]:
    kinds: dict[_Kind, dict[int, Head]] = {}
    for index, head in sorted(survey.groups[group].items()):
        apart = group == RESPONSES and is_test(survey.tiers[index])
        kind = _Kind(head.dtype.newbyteorder("=").name, head.shape[:-1], apart)
        kinds.setdefault(kind, {})[index] = head
    # What readers look at first is what most of them want.
    return dict(sorted(kinds.items(), key=lambda each: each[0].apart))


def _codecs(survey: Survey, group: str, trials: Mapping[int, Head], codec: Codec | None) -> Codecs:
    return Codecs(codec, codec) if codec else choose_codecs(survey, group, list(trials))


def _plan(
    group: str,
    number: int,
    dtype: str,
    lead: tuple[int, ...],
    heads: Mapping[int, Head],
    codecs: Codecs,
) -> DataArray:
    lengths = {index: head.shape[-1] for index, head in heads.items()}
    edges = _edges(group, lead, np.dtype(dtype).itemsize, list(lengths.values()))
    offsets, total = place(lengths, edges.slot, edges.shard // edges.slot)
    total = -(-max(total, 1) // edges.chunk) * edges.chunk
    names = axes_of(group, len(lead) + 1)
    covered = -(-lead[0] // edges.rows) * edges.rows
    spec = TimeArray(
        "abcdefg"[: len(names)],
        (*lead, total),
        (edges.rows, *lead[1:], edges.chunk),
        (covered, *lead[1:], edges.shard),
        dtype,
        codecs.trials,
        names,
    )
    turned = _turned(spec, codecs.rows) if group == RESPONSES and len(lead) == 1 else None
    return DataArray(group, number, spec, turned, edges.slot, offsets, lengths)


@dataclass(frozen=True, slots=True)
class _Edges:
    """How an array is cut: rows of a chunk, and frames of a slot, of a chunk and of a shard."""

    rows: int
    slot: int
    chunk: int
    shard: int


def _edges(group: str, lead: tuple[int, ...], itemsize: int, lengths: Sequence[int]) -> _Edges:
    slot, frame = choose_slot(lengths), prod(lead) * itemsize
    rows = _rows(lead, frame // max(1, lead[0]) * slot)
    needed = max(1, sum(-(-length // slot) for length in lengths))
    slots = per_shard = 1
    if rows == lead[0] or group != RESPONSES:
        slots = min(needed, max(1, _SMALL_CHUNK // (frame * slot)))
        per_shard = min(max(1, _SHARD_BYTES // (frame * slot * slots)), -(-needed // slots))
    return _Edges(rows, slot, slot * slots, slot * slots * per_shard)


def _turned(spec: TimeArray, codec: Codec) -> TimeArray:
    """Return the same array in chunks that follow time."""
    rows, chunk = spec.chunk
    nbytes = rows * chunk * np.dtype(spec.dtype).itemsize
    frames = min(spec.shape[-1], max(1, _TURNED_BYTES // nbytes) * chunk)
    return replace(spec, chunk=(1, frames), shard=(rows, frames), codec=codec)


def choose_slot(lengths: Sequence[int]) -> int:
    """Return frames of a slot: the longest trial, unless too much would be filler.

    >>> choose_slot([324, 324, 300]), choose_slot([100, 3000]), choose_slot([0])
    (324, 256, 1)
    """
    longest, total = max(1, *lengths, 1), max(1, sum(lengths))
    for slot in (*([longest] if longest <= _SLOTS[0] else []), *_SLOTS):
        filler = sum(-(-length // slot) * slot for length in lengths) - total
        if slot <= longest and filler <= _WASTE * total:
            return slot
    return min(longest, _SLOTS[-1])


def place(lengths: Mapping[int, int], slot: int, per_shard: int) -> tuple[dict[int, int], int]:
    """Return the first frame of each trial, and the end of all.

    >>> place({0: 10, 1: 25, 2: 10}, 10, 3)
    ({0: 0, 1: 30, 2: 60}, 70)
    """
    offsets, position = {}, 0
    for index, length in lengths.items():
        count = -(-length // slot)
        room = per_shard - position % per_shard
        if count > room:
            position += room % per_shard
        offsets[index] = position * slot
        position += count
        if count > per_shard:
            position = -(-position // per_shard) * per_shard
    return offsets, position * slot


def _rows(lead: tuple[int, ...], row_bytes: int) -> int:
    """Return how many rows share a chunk: an equal part, so that the last one is nearly full.

    >>> _rows((7863,), 324 * 4), _rows((2,), 324 * 8)
    (787, 2)
    """
    count = max(1, -(-lead[0] * row_bytes // _CHUNK_BYTES))
    return max(1, -(-lead[0] // count))
