"""Axis names and their one order: ``t c z y x``, less those that are absent.

Source of the order: OME-Zarr 0.5, "axes" metadata (time, then channel, then space).
"""

from microtome_core.errors import InputError

ORDER = "tczyx"
SPATIAL = "zyx"
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def check_axes(axes: str) -> str:
    """Return `axes` if it is a subsequence of ``tczyx`` that holds both y and x.

    Raises
    ------
    InputError
        Letters that are unknown, doubled or out of order, or a missing y or x.

    Examples
    --------
    >>> check_axes("czyx")
    'czyx'
    """
    in_order = "".join(a for a in ORDER if a in axes)
    if in_order != axes or not {"y", "x"} <= set(axes):
        raise InputError(
            f"axes {axes!r}: expected letters of {ORDER!r} in that order, y and x always"
        )
    return axes


def spatial(axes: str) -> str:
    """Return the spatial letters of `axes`.

    >>> spatial("tcyx")
    'yx'
    """
    return "".join(a for a in axes if a in SPATIAL)
