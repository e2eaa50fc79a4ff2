"""Trials laid on one line of time."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import RecordingFacts
from microtome_ingest.export import trial_times
from microtome_ingest.export.trial_times import Timeline, lay

LENGTHS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=12)


def recording(**variables: tuple[float | None, list[int]]) -> Recording:
    """Return a recording of nothing but lengths: of each variable its rate and frames a trial."""
    count = len(next(iter(variables.values()))[1])
    facts = RecordingFacts(
        format="made", name="made", trials=list(range(count)), names=[str(i) for i in range(count)],
        tiers=["train"] * count,
        variables={name: _variable(*told) for name, told in variables.items()},  # type: ignore[misc]
    )  # fmt: skip
    layer = LayerId("s", "a", "recording")
    return Recording(layer, Store("memory://times"), str(layer), str(layer), "v", facts, {}, {})


def _variable(rate: float | None, lengths: list[int]) -> dict[str, Any]:
    same: dict[str, list[Any]] = {
        "array": [0] * len(lengths), "offset": [0] * len(lengths), "header": [0] * len(lengths),
        "tail": [None] * len(lengths), "size": [0] * len(lengths), "xxh3": [None] * len(lengths),
    }  # fmt: skip
    frames = dict.fromkeys(("stored", "length", "valid"), lengths)
    state = ["stored" if length else "nan" for length in lengths]
    array = {"path": "data/a", "dtype": "float32", "shape": [3], "slot": 64}
    pieces = {**same, **frames, "state": state}
    return {"axes": ["signal", "time"], "rate": rate, "arrays": [array], "pieces": pieces}


@given(LENGTHS, st.sampled_from([30.0, 7.5, 1 / 3]), st.sampled_from([30.0, 10.0]))
def test_every_frame_lies_within_its_trial(
    lengths: list[tuple[int, int]], one: float, other: float
) -> None:
    """Trials follow each other, each as long as its longest variable, and none overlaps."""
    first, second = ([pair[i] for pair in lengths] for i in range(2))
    line = lay(recording(a=(one, first), b=(other, second)))
    for index, (a, b) in enumerate(lengths):
        took = max(a / Fraction(one), b / Fraction(other))
        assert line.bounds[index + 1] - line.bounds[index] == took
    for track in line.tracks:
        assert track.frames == sum(first if track.variable == "a" else second)
        for piece, start in zip(track.pieces, track.starts, strict=True):
            assert start == line.bounds[piece.number]
            assert start + piece.valid / track.rate <= line.bounds[piece.number + 1]


@given(LENGTHS)
def test_a_rate_is_told_where_it_gives_every_time(lengths: list[tuple[int, int]]) -> None:
    """Frames are regular if and only if their times, one by one, are those of the rate."""
    first, second = ([pair[i] for pair in lengths] for i in range(2))
    for track in lay(recording(a=(30.0, first), b=(30.0, second))).tracks:
        times = np.concatenate([
            float(start) + np.arange(piece.valid) / 30
            for piece, start in zip(track.pieces, track.starts, strict=True)
        ])  # fmt: skip
        straight = float(track.starts[0]) + np.arange(track.frames) / 30
        assert track.regular == bool(np.allclose(times, straight, rtol=0, atol=1e-3))


def _frames(line: Timeline) -> list[tuple[int, int, int, int]]:
    (track,) = line.tracks
    return [(piece.number, start, stop, first) for piece, start, stop, first in track.windows()]


def test_a_large_trial_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at once is bounded, and all of it is read once."""
    line = lay(recording(a=(30.0, [5, 0, 2])))
    assert _frames(line) == [(0, 0, 5, 0), (2, 0, 2, 5)]
    monkeypatch.setattr(trial_times, "_MOST_BYTES", 24)  # two frames of three floats
    assert _frames(line) == [(0, 0, 2, 0), (0, 2, 4, 2), (0, 4, 5, 4), (2, 0, 2, 5)]


def test_a_rate_that_nobody_knows_is_asked_for() -> None:
    """Frames are numbered only where the caller says so."""
    made = recording(a=(None, [3, 4]))
    with pytest.raises(InputError, match=r"the rate of a is not known.*--time-step"):
        lay(made)
    assert lay(made, guess=True).bounds == (0, 3, 7)
