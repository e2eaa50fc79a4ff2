"""The pyramid: which levels a volume has, how large each is and where its voxels lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from microtome_core.axes import spatial


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a volume.

    Parameters
    ----------
    factors : tuple of int
        Voxels of level 0 that one voxel here stands for, along each axis.
    shape : tuple of int
        Extents in voxels of this level.
    scale : tuple of float
        Size of a voxel along each axis, in the axis' unit; 1 for channels.
    """

    factors: tuple[int, ...]
    shape: tuple[int, ...]
    scale: tuple[float, ...]

    @property
    def translation(self) -> tuple[float, ...]:
        """Centre of the first voxel, with that of level 0 at the origin.

        Binning by n shifts a voxel's centre by (n - 1) / 2 voxels of level 0.

        >>> Level((1, 2, 2), (10, 50, 50), (1.0, 0.8, 0.8)).translation
        (0.0, 0.2, 0.2)
        """
        pairs = zip(self.factors, self.scale, strict=True)
        return tuple((n - 1) / 2 * (size / n) for n, size in pairs)


def next_factors(axes: str, shape: Sequence[int], scale: Sequence[float]) -> tuple[int, ...]:
    """Return by how much to bin each axis so that voxels become isotropic: 1 or 2.

    The finest spatial axes are halved first: those within a factor sqrt(2) of the finest one that
    has more than one voxel, which is the choice that ends nearest to isotropic.

    >>> next_factors("zyx", (128, 1024, 1024), (1.0, 0.4, 0.4))
    (1, 2, 2)
    """
    open_axes = [i for i, axis in enumerate(axes) if axis in spatial(axes) and shape[i] > 1]
    if not open_axes:
        return (1,) * len(axes)
    limit = min(scale[i] for i in open_axes) * sqrt(2)
    return tuple(2 if i in open_axes and scale[i] <= limit else 1 for i in range(len(axes)))


def pyramid(
    axes: str,
    shape: Sequence[int],
    scale: Sequence[float],
    chunk: Sequence[int],
    count: int | None = None,
) -> tuple[Level, ...]:
    """Return every level, finest first, until the coarsest fits one chunk in space.

    Parameters
    ----------
    axes : str
        One letter an axis, in array order.
    shape, scale, chunk : sequences in the order of `axes`
        Extents in voxels, voxel size in the axes' units, chunk extents in voxels.
    count : int, optional
        How many levels instead.

    Examples
    --------
    >>> [level.shape for level in pyramid("yx", (100, 200), (1.0, 1.0), (64, 64))]
    [(100, 200), (50, 100), (25, 50)]
    """
    levels = [Level((1,) * len(axes), tuple(shape), tuple(scale))]
    while len(levels) != count:
        last = levels[-1]
        if count is None and _fits(axes, last.shape, chunk):
            break
        bins = next_factors(axes, last.shape, last.scale)
        if set(bins) == {1}:
            break
        levels.append(_binned(last, bins))
    return tuple(levels)


def _fits(axes: str, shape: Sequence[int], chunk: Sequence[int]) -> bool:
    return all(shape[i] <= chunk[i] for i, axis in enumerate(axes) if axis in spatial(axes))


def _binned(level: Level, bins: tuple[int, ...]) -> Level:
    return Level(
        factors=tuple(f * n for f, n in zip(level.factors, bins, strict=True)),
        shape=tuple(-(-extent // n) for extent, n in zip(level.shape, bins, strict=True)),
        scale=tuple(size * n for size, n in zip(level.scale, bins, strict=True)),
    )
