"""When the time points of a recording were: one step where they are even, else each of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any

# Clocks of microscopes jitter by less.
_EVEN = 0.01
# What was planned still describes what was done.
_NEAR = 0.1


@dataclass(frozen=True, slots=True)
class Times:
    """Parts of a `Description`.

    Parameters
    ----------
    step : float, optional
        Seconds.
    metadata : dict
        ``time_points`` in seconds where one step does not tell them.
    notes : tuple of str
    """

    step: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def times_of(points: Sequence[float], planned: float | None) -> Times:
    """Return what is known of the times of a recording.

    Parameters
    ----------
    points : sequence of float
        Seconds at which each time point was measured, or empty.
    planned : float, optional
        Seconds between time points as they were asked for; 0 means as fast as possible.

    Examples
    --------
    >>> times_of([0.0, 2.0, 4.0], None).step
    2.0
    >>> times_of([], 3.0).step
    3.0
    """
    planned = planned if planned and isfinite(planned) and planned > 0 else None
    steps = [later - sooner for sooner, later in pairwise(points)]
    if not steps or not all(map(isfinite, steps)) or min(steps) < 0 or max(steps) == 0:
        return Times(planned)
    mean = sum(steps) / len(steps)
    if max(abs(step - mean) for step in steps) <= _EVEN * mean:
        return Times(mean)
    note = (
        f"time points are not even, {min(steps):.4g} to {max(steps):.4g} s apart: "
        "each is in the record"
    )
    near = planned is not None and abs(planned - mean) <= _NEAR * mean
    return Times(planned if near else None, {"time_points": list(points)}, (note,))
