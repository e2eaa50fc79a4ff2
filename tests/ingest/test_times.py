"""Times: one step where time points are even, else each of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_ingest.sources.times import Times, times_of


@given(st.integers(2, 50), st.floats(1e-3, 1e5), st.floats(0, 1e6))
def test_even_times_are_a_step(count: int, step: float, start: float) -> None:
    """Wherever they begin; what was planned does not matter."""
    found = times_of([start + i * step for i in range(count)], 7.0)
    assert found.step == pytest.approx(step, rel=1e-3)
    assert (found.metadata, found.notes) == ({}, ())


def test_times_that_cannot_be_are_none() -> None:
    """Clocks that stand still, run backwards or show no number leave what was planned."""
    for points in ([0.0, 0.0], [2.0, 1.0], [0.0, float("nan")], [0.0, float("inf")], [1.0], []):
        assert times_of(points, 2.0) == Times(2.0)
        assert times_of(points, 0.0) == Times(None)
        assert times_of(points, float("inf")) == Times(None)


def test_what_was_planned_is_kept_where_it_is_near() -> None:
    """Jitter beyond a hundredth is in the record; a plan that failed is none."""
    jitter = [0.0, 1.03, 2.0]
    assert times_of(jitter, 1.0).step == 1.0
    assert times_of(jitter, 1.0).metadata == {"time_points": jitter}
    assert times_of(jitter, 3.0).step is None
    assert "0.97 to 1.03 s apart" in times_of(jitter, None).notes[0]
