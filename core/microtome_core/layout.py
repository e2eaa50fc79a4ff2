"""How large chunks and shards are, from axes, shape, voxel size and dtype.

A chunk holds about 64³ voxels and is near to a cube in space, so that planes in any direction and
blocks cost alike. A shard holds 64 MiB to 128 MiB of voxels, grown in x and y before z because
sources deliver planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import log, prod

from microtome_core.errors import InputError

CHUNK_VOXELS = 64**3
SHARD_BYTES = 64 * 2**20
# Even, so that binning by two never straddles two chunks.
_EDGES = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# A shard grows in a plane up to this edge, then in depth.
_PLANE_EDGE = 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """Extents of a chunk and of a shard in voxels, in array order."""

    chunk: tuple[int, ...]
    shard: tuple[int, ...]


def choose_layout(
    axes: str,
    shape: Sequence[int],
    scale: Sequence[float],
    itemsize: int,
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    least: int = SHARD_BYTES,
) -> Layout:
    """Choose what is not given and check what is.

    Parameters
    ----------
    axes, shape, scale : in array order
        Axes, extents in voxels, voxel size.
    itemsize : int
        Bytes of a voxel.
    chunk, shard : sequence of int, optional
        The user's own, in array order.
    least : int
        Bytes that a shard is grown to.

    Raises
    ------
    InputError
        Extents of the wrong number, not positive, odd where a chunk does not hold its axis whole,
        or a shard that is no multiple of its chunk.

    Examples
    --------
    >>> layout = choose_layout("zyx", (512, 2048, 2048), (1.0, 0.4, 0.4), 2)
    >>> layout.chunk, layout.shard
    ((32, 96, 96), (32, 768, 1536))
    """
    chosen = _checked_chunk(axes, shape, chunk) if chunk else choose_chunk(axes, shape, scale)
    if not shard:
        return Layout(chosen, choose_shard(axes, shape, chosen, itemsize, least))
    return Layout(chosen, _checked_shard(axes, chunk or chosen, chosen, shard))


def choose_chunk(axes: str, shape: Sequence[int], scale: Sequence[float]) -> tuple[int, ...]:
    """Return about `CHUNK_VOXELS` as near to a cube in space as the extents allow.

    Without z, 16 time points share a chunk: a movie is read both by frame and by pixel.
    """
    edges = dict.fromkeys(axes, 1)
    if "z" not in axes and "t" in axes:
        edges["t"] = min(16, shape[axes.index("t")])
    space = [i for i, axis in enumerate(axes) if axis in "zyx"]
    candidates = product(*[_edges(shape[i]) for i in space])
    sizes = [scale[i] for i in space]
    voxels = CHUNK_VOXELS / prod(edges.values())
    best = min(candidates, key=lambda chosen: _distance(chosen, sizes, voxels))
    edges.update(zip((axes[i] for i in space), best, strict=True))
    return tuple(edges[axis] for axis in axes)


def _edges(extent: int) -> list[int]:
    whole = [extent] if extent <= _EDGES[-1] else []
    return [edge for edge in _EDGES if edge < extent] + whole


def _distance(chosen: Sequence[int], sizes: Sequence[float], voxels: float) -> float:
    """Return how far a chunk is from a cube of so many voxels: both as logarithms of ratios."""
    lengths = [edge * size for edge, size in zip(chosen, sizes, strict=True)]
    return 2 * abs(log(prod(chosen) / voxels)) + log(max(lengths) / min(lengths))


def choose_shard(
    axes: str,
    shape: Sequence[int],
    chunk: Sequence[int],
    itemsize: int,
    least: int = SHARD_BYTES,
) -> tuple[int, ...]:
    """Return the smallest multiple of `chunk` of at least `least` bytes, or the whole volume."""
    shard = list(chunk)
    while prod(shard) * itemsize < least:
        axis = _axis_to_grow(axes, shape, shard)
        if axis is None:
            break
        most = -(-shape[axis] // chunk[axis]) * chunk[axis]
        shard[axis] = min(shard[axis] * 2, most)
    return tuple(shard)


def _axis_to_grow(axes: str, shape: Sequence[int], shard: Sequence[int]) -> int | None:
    short = [i for i in range(len(axes)) if shard[i] < shape[i]]
    plane = [i for i in short if axes[i] in "yx" and shard[i] < _PLANE_EDGE]
    if plane:
        return min(plane, key=lambda i: (shard[i], -i))
    for letters in ("z", "yx", "c", "t"):
        open_axes = [i for i in short if axes[i] in letters]
        if open_axes:
            return min(open_axes, key=lambda i: (shard[i], -i))
    return None


def _checked_chunk(axes: str, shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    _check_count("chunk", axes, chunk)
    clipped = tuple(map(min, chunk, shape))
    for axis, edge, extent in zip(axes, clipped, shape, strict=True):
        if axis in "zyx" and edge % 2 and edge < extent:
            raise InputError(
                f"chunk {axis}={edge}: expected an even number, or all {extent} voxels"
            )
    return clipped


def _checked_shard(
    axes: str, chunk: Sequence[int], clipped: Sequence[int], shard: Sequence[int]
) -> tuple[int, ...]:
    """Return `shard`, clipped where a chunk is longer than its axis and so holds it whole."""
    _check_count("shard", axes, shard)
    result = []
    for axis, inner, edge, outer in zip(axes, chunk, clipped, shard, strict=True):
        if outer % inner and outer % edge:
            raise InputError(f"shard {axis}={outer}: expected a multiple of the chunk's {inner}")
        result.append(outer if edge == inner else edge)
    return tuple(result)


def _check_count(what: str, axes: str, extents: Sequence[int]) -> None:
    if len(extents) != len(axes) or min(extents) < 1:
        text = ",".join(map(str, extents))
        raise InputError(f"{what} {text}: expected {len(axes)} numbers of at least 1, for {axes}")
