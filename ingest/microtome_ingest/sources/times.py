"""Time points: whether one number tells the distance between them."""

from collections.abc import Sequence

import numpy as np

# Clocks of microscopes tick in milliseconds, and no two frames take equally long.
_CLOCK, _SHARE = 0.002, 0.02


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
