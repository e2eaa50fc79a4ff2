"""A writable layer against itself: it has no ledger, since its shards change.

Each shard is held against its own checksums, and those that are absent against the list of empty
ones. It may be written meanwhile.
"""

from collections.abc import Callable, Iterator
from functools import partial

from microtome_core.errors import StorageError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.array import ArraySpec
from microtome_core.store.layer import Layer, find_layer, is_writable, read_layer
from microtome_core.store.ledger import parse_key, shard_key
from microtome_core.store.leftovers import is_leftover
from microtome_core.store.live import Live
from microtome_core.store.location import Store
from microtome_core.store.shards import check_shard
from microtome_ingest.audit import Finding
from microtome_ingest.target import Unverifiable
from microtome_ingest.verify import LAYER, each

_Place = tuple[int, tuple[int, ...]]


def open_live(store: Store, layer_id: LayerId) -> tuple[Layer, Live] | None:
    """Return a writable layer; None for any other, or where there is none.

    Raises
    ------
    Unverifiable
        Its metadata, or its list of empty shards, is damaged.
    StorageError
        Storage failed.
    """
    try:
        path = find_layer(store, layer_id)
        if path is None or not is_writable(store, path):
            return None
    except StorageError:
        return None  # what reads the ledger finds out more
    try:
        layer = read_layer(store, layer_id)
    except StorageError as error:
        store.read(f"{path}/{LAYER}")  # raises where it is storage that fails
        detail = " ".join(str(error).split())[:300]
        raise Unverifiable(Finding(LAYER, "unreadable", detail)) from error
    return (layer, layer.live) if layer.live is not None else None


def check_live(
    layer: Layer, live: Live, threads: int, seen: Callable[[int], None]
) -> Iterator[Finding]:
    """Yield every shard that is damaged or lost, and objects that should not be there.

    Parameters
    ----------
    layer : Layer
    live : Live
    threads : int
        Shards read at once.
    seen : callable
        Called with the bytes of each shard that is whole.

    Raises
    ------
    StorageError
        Storage failed.
    """
    # The list first: a shard that is off it lies there already.
    empty = live.load_empty()
    there: set[_Place] = set()
    for key, size in _objects(live):
        place = parse_key(key)
        if place is None or not _inside(live, place):
            yield Finding(key, "extra", f"{size} bytes")
        else:
            there.add(place)
    for level, grid in enumerate(live.grids):
        for index in grid.touched(Region.whole(grid.axes, grid.shape)):
            if not empty[level][index] and (level, index) not in there:
                yield Finding(shard_key(level, index), "missing", "not listed as empty")
    for found in each(partial(_check, layer, live), sorted(there), threads):
        if isinstance(found, Finding):
            yield found
        else:
            seen(found)


def _objects(live: Live) -> Iterator[tuple[str, int]]:
    for level in range(len(live.grids)):
        for path, size in live.store.sizes(f"{live.folder}/{level}/c"):
            key = path.removeprefix(f"{live.folder}/")
            if not is_leftover(key):
                yield key, size


def _inside(live: Live, place: _Place) -> bool:
    level, index = place
    if level >= len(live.grids):
        return False
    counts = live.grids[level].counts
    return len(index) == len(counts) and all(i < n for i, n in zip(index, counts, strict=True))


def _check(layer: Layer, live: Live, place: _Place) -> int | Finding:
    """Return the length of a shard that is whole."""
    level, index = place
    described = layer.info.levels[level]
    spec = ArraySpec(
        layer.info.axes, described.shape, described.chunk, described.shard, layer.info.dtype
    )
    try:
        with live.store.open(live.path(level, index)) as stream:
            return check_shard(stream, *spec.chunks_of(live.grids[level].region(index))).length
    except StorageError as error:
        live.load_empty()  # raises where it is storage that fails
        return Finding(shard_key(level, index), "changed", str(error))
