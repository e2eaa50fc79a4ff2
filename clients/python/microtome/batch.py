"""Many cutouts in one request, as loops that train on them ask for."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import InputError
from microtome.fetch import Source, in_parallel
from microtome.indexing import Cut
from microtome.parts import Part
from microtome_core.dtypes import little_endian
from microtome_core.region import Region

# What one request asks for at most: services take 4096 boxes and 1 MiB of JSON.
_BOXES = 1024
_BYTES = 256 << 20
# From so many parts on, each of no more bytes than these, one request for all is better.
_MANY = 16
_SMALL = 256 << 10


def read_batch(source: Source, cuts: Sequence[Cut]) -> list[Any]:
    """Return what each cut selects, in their order; a few requests for all of them.

    Raises
    ------
    ServiceError, BrokenConnection, TimedOut, WrongAnswer
        Not every voxel came; there is no partial result.
    """
    dtype = little_endian(source.dtype)
    blocks = [np.empty(tuple(map(_extent, cut.ascending)), dtype) for cut in cuts]
    _fetch_all(source, cuts, blocks)
    pairs = zip(cuts, blocks, strict=True)
    return [cut.finish(_taken(cut, block).astype(source.dtype, copy=False)) for cut, block in pairs]


def read_batch_into(source: Source, cuts: Sequence[Cut], out: NDArray[Any]) -> NDArray[Any]:
    """Receive what each cut selects in its row of `out`; else as `read_batch`.

    Raises
    ------
    InputError
        Cuts of several shapes, or an `out` that does not fit them.
    """
    _check_out(source, cuts, out)
    if any(r.step != 1 for cut in cuts for r in cut.ranges):
        for i, values in enumerate(read_batch(source, cuts)):
            out[i] = values
        return out
    # A row of its own, not an element: that of single voxels would be a copy.
    blocks = [out[i : i + 1].reshape(cut.full_shape) for i, cut in enumerate(cuts)]
    _fetch_all(source, cuts, blocks)
    return out


def _check_out(source: Source, cuts: Sequence[Cut], out: NDArray[Any]) -> None:
    shapes = {cut.shape for cut in cuts}
    if len(shapes) > 1:
        raise InputError(f"out=: expected keys of one shape, they have {sorted(shapes)}")
    expected = (len(cuts), *(shapes.pop() if shapes else out.shape[1:]))
    if not isinstance(out, np.ndarray) or out.shape != expected:
        raise InputError(f"out= of shape {np.shape(out)}: expected an array of {expected}")
    if not out.flags.writeable or not np.can_cast(source.dtype, out.dtype):
        raise InputError(f"out= of {out.dtype} that cannot be filled with {source.dtype}")
    if not out.flags.c_contiguous:
        raise InputError("out=: expected an array that is contiguous, in C order")


def _fetch_all(source: Source, cuts: Sequence[Cut], blocks: Sequence[NDArray[Any]]) -> None:
    wanted = [(cut, block) for cut, block in zip(cuts, blocks, strict=True) if block.size]
    work = partial(_fetch, source)
    in_parallel(work, _grouped(wanted), source.transport.patience.parallel)


def read_parts(source: Source, shape: Sequence[int], parts: Sequence[Part]) -> NDArray[Any]:
    """Return an array of `shape` that parts fill: many small ones come in a few requests."""
    nbytes = sum(part.region.size for part in parts) * source.dtype.itemsize
    if len(parts) < _MANY or nbytes > len(parts) * _SMALL:
        return source.assemble(shape, parts)
    out = np.empty(shape, little_endian(source.dtype))
    groups = [parts[i : i + _BOXES] for i in range(0, len(parts), _BOXES)]
    in_parallel(partial(_fill, source, out), groups, source.transport.patience.parallel)
    return out.astype(source.dtype, copy=False)


def _fill(source: Source, out: NDArray[Any], parts: Sequence[Part], stop: threading.Event) -> None:
    blocks = [np.empty(part.region.shape, out.dtype) for part in parts]
    source.fill_together([part.region for part in parts], blocks, stop)
    for part, block in zip(parts, blocks, strict=True):
        out[part.target] = part.pick(block)


def _extent(positions: range) -> int:
    return positions[-1] + 1 - positions[0] if positions else 0


def _taken(cut: Cut, block: NDArray[Any]) -> NDArray[Any]:
    """Return the positions that a step leaves."""
    return block[tuple(slice(None, None, positions.step) for positions in cut.ascending)]


_Group = list[tuple[Cut, NDArray[Any]]]


def _grouped(wanted: _Group) -> list[_Group]:
    groups: list[_Group] = []
    nbytes = _BYTES
    for cut, block in wanted:
        nbytes += block.nbytes
        if nbytes > _BYTES or len(groups[-1]) == _BOXES:
            groups.append([])
            nbytes = block.nbytes
        groups[-1].append((cut, block))
    return groups


def _fetch(source: Source, group: _Group, stop: threading.Event) -> None:
    regions = [
        Region(source.axes, tuple(r[0] for r in c.ascending), tuple(r[-1] + 1 for r in c.ascending))
        for c, _ in group
    ]
    source.fill_together(regions, [block for _, block in group], stop)
