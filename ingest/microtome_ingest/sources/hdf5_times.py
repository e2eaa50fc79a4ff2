"""Moments of time points: an even step, or each of them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Of a step: clocks of instruments differ by less.
_UNEVEN = 0.01
_MOST = 100_000


def time_facts(seconds: ArrayLike) -> tuple[float | None, dict[str, Any], tuple[str, ...]]:
    """Return the even step, else the moments as metadata with a note.

    Parameters
    ----------
    seconds : array_like of float
        One a time point. All equal means that nobody looked at the clock.

    Examples
    --------
    >>> time_facts([5.0, 5.5, 6.0])[0], time_facts([0.0, 1.0, 5.0])[1]
    (0.5, {'time_points': [0.0, 1.0, 5.0]})
    """
    times = np.asarray(seconds, "float64")
    if times.size < 2 or not np.isfinite(times).all() or np.ptp(times) == 0:
        return None, {}, ()
    step = float((times[-1] - times[0]) / (times.size - 1))
    even = times[0] + step * np.arange(times.size)
    if step > 0 and np.abs(times - even).max() <= _UNEVEN * step:
        return float(f"{step:.9g}"), {}, ()
    if times.size > _MOST:
        return None, {}, (f"its {times.size} time points are uneven, and too many for the record",)
    return None, {"time_points": times.tolist()}, ("its time points are uneven: see time_points",)
