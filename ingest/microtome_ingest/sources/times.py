"""When the time points of a recording were: one step where they are even, else each of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

# Clocks of microscopes tick in milliseconds, and no two frames take equally long.
_CLOCK, _SHARE = 0.002, 0.02
# Time points that a record holds one by one.
_MOST = 100_000
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


def uneven(times: Sequence[float]) -> bool:
    """Tell whether distances differ by more than 2 ms and 2 % of the median.

    >>> uneven([0, 1, 2.01]), uneven([0, 1, 3]), uneven([])
    (False, True, False)
    """
    if len(times) < 3:
        return False
    steps = np.diff(np.asarray(times, "float64"))
    middle = float(np.median(steps))
    return bool(np.abs(steps - middle).max() > max(_CLOCK, _SHARE * abs(middle)))


def times_of(points: Sequence[float], planned: float | None = None) -> Times:
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
    steps = np.diff(np.asarray(points, "float64"))
    if not steps.size or not np.isfinite(steps).all() or steps.min() < 0 or steps.max() == 0:
        return Times(planned)
    mean = float(steps.mean())
    if not uneven(points):
        # Nine digits: what differences of binary fractions leave beyond is noise.
        return Times(float(f"{mean:.9g}"))
    near = planned if planned is not None and abs(planned - mean) <= _NEAR * mean else None
    note = f"time points are not even, {steps.min():.4g} to {steps.max():.4g} s apart: "
    if len(points) > _MOST:
        return Times(near, notes=(f"{note}{len(points)} of them are too many for the record",))
    every = {"time_points": [float(point) for point in points]}
    return Times(near, every, (f"{note}each is in the record",))
