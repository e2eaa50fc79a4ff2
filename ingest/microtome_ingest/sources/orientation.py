"""How voxel axes lie in space, in words: an OME-Zarr scale has no room for turns and flips."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_KEPT = "voxels stay in the order of the file, the whole affine is in the record"
# As cosine: less than half a degree is rounding.
_ALONG = 0.99996


def notes(directions: NDArray[np.float64], letters: Sequence[str]) -> tuple[str, ...]:
    """Say what a scale cannot: turns, shears, exchanged axes and flips.

    Parameters
    ----------
    directions : ndarray
        Shape (dimension of space, number of axes): a step along each voxel axis as a column.
    letters : sequence of str
        What the voxel axes are called.

    Examples
    --------
    >>> notes(np.diag([2.0, 2.0, 3.0]), "xyz")
    ()
    >>> notes(np.diag([-2.0, 2.0, 3.0]), "xyz")[0].split(":")[0]
    'axis x runs against that of space'
    """
    lengths = np.linalg.norm(directions, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return ("its affine has steps of no or infinite length: it is kept, but not used",)
    units = directions / lengths
    main = np.abs(units).argmax(axis=0)
    cosines = np.abs(units).max(axis=0)
    if cosines.min() < _ALONG or len(set(main.tolist())) < len(letters):
        angle = np.degrees(np.arccos(min(cosines.min(), 1)))
        said = [f"voxel axes are turned against those of space by up to {angle:.1f}°"]
        if np.abs(units.T @ units - np.eye(len(letters))).max() > 1 - _ALONG:
            said.append("and are not at right angles")
        return (f"{' '.join(said)}: {_KEPT}",)
    return _along(units, main, letters)


def _along(
    units: NDArray[np.float64], main: NDArray[np.intp], letters: Sequence[str]
) -> tuple[str, ...]:
    found = []
    if main.tolist() != sorted(main.tolist()):
        order = ", ".join(str(i + 1) for i in main)
        found.append(f"axes {', '.join(letters)} run along axes {order} of space: {_KEPT}")
    flipped = [a for a, row, column in zip(letters, main, units.T, strict=True) if column[row] < 0]
    if flipped:
        verb = "axis {} runs against that" if len(flipped) == 1 else "axes {} run against those"
        found.append(f"{verb.format(', '.join(flipped))} of space: {_KEPT}")
    return tuple(found)
