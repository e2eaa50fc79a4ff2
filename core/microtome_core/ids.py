"""Labels by their ids, within one block: which there are, and how far one reaches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.region import Region


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the voxels of an id reach.

    Parameters
    ----------
    region : Region
        The smallest box that holds them.
    voxels : int
        How many there are.
    """

    region: Region
    voxels: int

    def __or__(self, other: "Reach | None") -> "Reach":
        """Return the reach in both of two regions, which share no voxel."""
        if other is None:
            return self
        return Reach(self.region | other.region, self.voxels + other.voxels)


def reach(block: NDArray[Any], part: Region, wanted: int) -> Reach | None:
    """Return how far an id reaches in the voxels of a region; None if it has none there.

    Parameters
    ----------
    block : ndarray of integers
        Of the region's shape.
    part : Region
    wanted : int
        May be more than the type holds.
    """
    limits = np.iinfo(block.dtype)
    if not limits.min <= wanted <= limits.max:
        return None
    mask = block == block.dtype.type(wanted)
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return None
    ends = [_ends(mask, axis, origin) for axis, origin in enumerate(part.start)]
    start, stop = zip(*ends, strict=True)
    return Reach(Region(part.axes, start, stop), voxels)


def union(found: NDArray[Any], block: NDArray[Any]) -> NDArray[Any]:
    """Return the ids of both, sorted, in the type of `found`; 0 is one of them."""
    # Ids come in runs: to sort where these begin takes a fraction of sorting all voxels.
    flat = block.reshape(-1)
    ids = np.unique(flat[1:][flat[1:] != flat[:-1]])
    return np.union1d(found, np.append(ids, flat[0]).astype(found.dtype))


def _ends(mask: NDArray[np.bool_], axis: int, origin: int) -> tuple[int, int]:
    # The index of every voxel would take some dozen times their bytes.
    others = tuple(i for i in range(mask.ndim) if i != axis)
    hits = np.flatnonzero(mask.any(axis=others))
    return int(hits[0]) + origin, int(hits[-1]) + 1 + origin
