"""Writing into a layer while others read and write it: a shard at a time, each of them whole.

A shard is read, changed in memory and written if it is still the one that was read, or else all
over again; so whoever writes, from any thread, process or host, nothing is lost. One that was empty
is written first and taken off the list of empty shards then: a reader sees the old voxels or the
new ones, never a shard that is half written, and never zeros where a shard was lost.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import Conflict, PreconditionFailed, StorageError
from microtome_core.region import Region, check_region
from microtome_core.store.array import open_snapshot, snapshot_bytes
from microtome_core.store.layer import Layer
from microtome_core.store.ledger import shard_key
from microtome_core.store.live import EMPTY, Live
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.voxels import State

_TRIES = 200
_MOST_SECONDS = 0.1
# A file's generation is its number and its time, which the system counts in steps of up to 10 ms:
# a shard is left alone for so long that no two of its generations are alike.
_STEP_SECONDS = 0.012

Voxels = NDArray[Any]
# Makes the new voxels of a part of a shard: called with the part and its old ones, and anew where
# another writer came between. None: nothing is to be written.
Change = Callable[[Region, Voxels], Voxels | None]


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of one shard.

    Parameters
    ----------
    before, after : bytes
        Its generations; `EMPTY` of one that is empty.
    changed : bool
        Whether it was written.
    """

    before: bytes
    after: bytes
    changed: bool


Edits = dict[tuple[int, ...], Edit]


def check_writable(layer: Layer) -> Live:
    """Return what tells the empty shards of a layer that was created to be written.

    Raises
    ------
    Conflict
        It was not.
    """
    if layer.live is None:
        raise Conflict(
            f"layer {layer.info.id} is not writable: it was ingested, and stays as it is; "
            "'microtome create' makes layers that can be written"
        )
    return layer.live


def write_region(
    layer: Layer,
    region: Region,
    block: Voxels,
    *,
    merge: bool = False,
    expected: State | None = None,
) -> Edits:
    """Write voxels of level 0. Blocks.

    Parameters
    ----------
    layer : Layer
        A writable one.
    region : Region
    block : ndarray
        In the shape and dtype of the region.
    merge : bool
        Zeros in `block` leave voxels as they are.
    expected : dict, optional
        The state that the region's shards must have: where one has another, nothing is written.

    Returns
    -------
    dict
        What became of each shard; one that was given the voxels that it had is not written.

    Raises
    ------
    Conflict
        The layer is not writable.
    PreconditionFailed
        Not in the state expected. Where shards had been written before that was seen, they were
        given back what they held.
    StorageError
        Storage failed; some shards may have been written, each of them whole.
    """
    live = check_writable(layer)
    check_region(region, layer.info.axes, layer.info.shape)
    if block.shape != region.shape or block.dtype != np.dtype(layer.info.dtype):
        raise ValueError(f"{block.dtype} {block.shape} for {layer.info.dtype} {region.shape}")

    def change(part: Region, old: Voxels) -> Voxels | None:
        new = block[part.relative_to(region.start).slices]
        new = np.where(new != 0, new, old) if merge else new
        return None if np.array_equal(new, old) else new

    if expected is None:
        return edit_region(layer, live, 0, region, change)
    return _edit_as_expected(layer, live, region, change, expected)


def edit_region(layer: Layer, live: Live, level: int, region: Region, change: Change) -> Edits:
    """Change the part of a region in each shard that it touches; return what became of each.

    Raises
    ------
    StorageError
    """
    edits: Edits = {}
    try:
        for index in live.grids[level].touched(region):
            part = _part(live, level, index, region)
            edits[index] = edit_shard(layer, live, level, index, part, change)
    finally:
        uncover(live, level, [index for index, edit in edits.items() if edit.changed])
    return edits


def edit_shard(
    layer: Layer,
    live: Live,
    level: int,
    index: tuple[int, ...],
    part: Region,
    change: Change,
    expected: bytes | None = None,
) -> Edit:
    """Change a part of one shard. One that was empty stays on the list of empty shards.

    Raises
    ------
    PreconditionFailed
        The shard is not of the generation `expected`.
    StorageError
        Storage failed, or has lost the shard.
    """
    for attempt in range(_TRIES):
        with live.lock(level, index):
            edit = _try(layer, live, level, index, part, change, expected)
        if edit is not None:
            return edit
        time.sleep(random.uniform(0, min(_MOST_SECONDS, 0.002 * 2 ** min(attempt, 8))))  # noqa: S311
    raise StorageError(f"{live.path(level, index)}: {_TRIES} other writers came between")


def _try(
    layer: Layer,
    live: Live,
    level: int,
    index: tuple[int, ...],
    part: Region,
    change: Change,
    expected: bytes | None,
) -> Edit | None:
    """Change a shard unless another writer comes between: then None."""
    path = live.path(level, index)
    # The list first: who finds a shard off it finds the shard.
    empty = bool(live.load_empty()[level][index])
    data, generation = _look(live.store, path)
    if data is None and not empty:
        raise StorageError(f"{live.store.url}/{path}: the shard is lost")
    if data is not None and empty:
        uncover(live, level, [index])  # another writer is between its two steps, or ended there
    before = EMPTY if data is None else generation
    if expected not in (None, before):
        raise PreconditionFailed(f"shard {shard_key(level, index)} has changed")
    new = _changed(layer, level, index, part, change, data)
    if new is None:
        return Edit(before, before, False)
    _let_age(generation)
    written = live.store.replace(path, new, generation)
    if written is None:
        there, generation = _look(live.store, path)
        written = generation if there == new else None  # the answer to the write was lost
    return None if written is None else Edit(before, written, True)


def uncover(live: Live, level: int, indices: Sequence[tuple[int, ...]]) -> None:
    """Take shards that were written off the list of empty ones."""
    empty = live.load_empty()[level]
    listed = [index for index in indices if empty[index]]
    if listed:
        live.clear(level, listed)


def _edit_as_expected(
    layer: Layer, live: Live, region: Region, change: Change, expected: State
) -> Edits:
    """Change a region whose every shard is as expected, or give back what was changed of it."""
    edits: Edits = {}
    held: dict[tuple[int, ...], Voxels] = {}
    try:
        for index, generation in expected.items():
            part, before = _part(live, 0, index, region), _Before(change)
            edits[index] = edit_shard(layer, live, 0, index, part, before, generation)
            held[index] = before.voxels
    except PreconditionFailed:
        for index, edit in edits.items():
            if edit.changed:
                part = _part(live, 0, index, region)
                _give_back(layer, live, index, part, held[index], edit.after)
        raise
    finally:
        uncover(live, 0, [index for index, edit in edits.items() if edit.changed])
    return edits


class _Before:
    """Keeps what a shard held before a change."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.voxels: Voxels = np.empty(0)

    def __call__(self, part: Region, old: Voxels) -> Voxels | None:
        self.voxels = old
        return self._change(part, old)


def _give_back(
    layer: Layer, live: Live, index: tuple[int, ...], part: Region, voxels: Voxels, own: bytes
) -> None:
    try:
        edit_shard(layer, live, 0, index, part, lambda _, __: voxels, own)
    except PreconditionFailed:
        return  # somebody has built on it


def _look(store: Store, path: str) -> tuple[bytes | None, bytes]:
    with storage_errors(f"{store.url}/{path}"):
        found = store.begin_read(path).result()
    return (bytes(found.value) if found.state == "value" else None), bytes(found.stamp.generation)


def _changed(
    layer: Layer,
    level: int,
    index: tuple[int, ...],
    part: Region,
    change: Change,
    data: bytes | None,
) -> bytes | None:
    """Return the object of a changed shard, None if nothing changes."""
    shard = layer.voxels[level].shards.region(index)
    key = shard_key(0, index).partition("/")[2]
    with storage_errors(f"layer {layer.info.id}, shard {shard_key(level, index)}"):
        array = open_snapshot(layer.arrays[level], key, data)
        old = np.zeros(part.shape, layer.info.dtype)
        if data is not None:
            old = np.asarray(array[part.slices].read().result())
        new = change(part, old)
        if new is None:
            return None
        if data is None:
            part, new = shard, _padded(shard, part, new)
        array[part.slices].write(new).result()
        return snapshot_bytes(array, key)


def _padded(shard: Region, part: Region, block: Voxels) -> Voxels:
    """Return a whole shard: of one that is stored, every chunk is."""
    if part == shard:
        return block
    whole = np.zeros(shard.shape, block.dtype)
    whole[part.relative_to(shard.start).slices] = block
    return whole


def _part(live: Live, level: int, index: tuple[int, ...], region: Region) -> Region:
    part = live.grids[level].region(index) & region
    if part is None:
        raise ValueError(f"{region} does not touch shard {shard_key(level, index)}")
    return part


def _let_age(generation: bytes) -> None:
    """Wait until a file's time is one that no later write can get."""
    if len(generation) < 24:
        return  # absent, or of a store that counts
    age = time.time() - int.from_bytes(generation[-8:], "little") / 1e9
    if 0 <= age < _STEP_SECONDS:
        time.sleep(_STEP_SECONDS - age)
