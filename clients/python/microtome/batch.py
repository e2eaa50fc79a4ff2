"""Many cutouts in one request, as loops that train on them ask for."""

import json
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.body import Body
from microtome.errors import WrongAnswer
from microtome.fetch import Source, check_version, in_parallel, pour
from microtome.indexing import Cut
from microtome_core.dtypes import little_endian

# What one request asks for at most: services take 4096 boxes and 1 MiB of JSON.
_BOXES = 1024
_BYTES = 256 << 20


def read_batch(source: Source, cuts: Sequence[Cut]) -> list[Any]:
    """Return what each cut selects, in their order; a few requests for all of them.

    Raises
    ------
    ServiceError, BrokenConnection, TimedOut, WrongAnswer
        Not every voxel came; there is no partial result.
    """
    dtype = little_endian(source.dtype)
    blocks = [np.empty(tuple(map(_extent, cut.ascending)), dtype) for cut in cuts]
    wanted = [(cut, block) for cut, block in zip(cuts, blocks, strict=True) if block.size]
    work = partial(_fetch, source)
    in_parallel(work, _grouped(wanted), source.transport.patience.parallel)
    pairs = zip(cuts, blocks, strict=True)
    return [cut.finish(_taken(cut, block).astype(source.dtype, copy=False)) for cut, block in pairs]


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
    boxes = [[[r[0], r[-1] + 1] for r in cut.ascending] for cut, _ in group]
    url = f"{source.api}/cutouts?level={source.number}&format=raw"
    body = json.dumps({"boxes": boxes}).encode()
    receive = partial(_receive, source, [block for _, block in group])
    source.transport.post(url, body, receive, stop=stop)


def _receive(source: Source, blocks: Sequence[NDArray[Any]], body: Body) -> None:
    check_version(body, source.version)
    promised = {
        "X-Microtome-Boxes": str(len(blocks)),
        "X-Microtome-Axes": source.axes,
        "X-Microtome-Dtype": source.dtype.name,
    }
    for name, expected in promised.items():
        if body.header(name) != expected:
            raise WrongAnswer(f"{body.url}: {name} is {body.header(name)!r}, expected {expected!r}")
    nbytes = sum(block.nbytes for block in blocks)
    if body.length not in (None, nbytes):
        raise WrongAnswer(f"{body.url}: the answer has {body.length} bytes, expected {nbytes}")
    for block in blocks:
        pour(body, block)
