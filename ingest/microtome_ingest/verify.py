"""A layer against its ledger: every shard, and the metadata by which shards are found and read."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from microtome_core.errors import StorageError
from microtome_core.store.array import ArraySpec, create_array, open_array
from microtome_core.store.empty import Empty, read_empty
from microtome_core.store.ledger import Entry, parse_key
from microtome_core.store.location import Store
from microtome_core.store.ome import ImageLabel, LabelSource, multiscale
from microtome_core.store.record import SCHEMA, SCHEMAS
from microtome_core.store.shards import check_shard, digest
from microtome_ingest.audit import Finding, compare_sizes
from microtome_ingest.manifest import MANIFEST
from microtome_ingest.observer import Observer
from microtome_ingest.target import Target

EMPTY = "0/ledger/empty.json"
LAYER = "zarr.json"

_T = TypeVar("_T")
_R = TypeVar("_R")


def check_metadata(target: Target) -> Iterator[Finding]:
    """Yield what is wrong with everything but the shards.

    Raises
    ------
    StorageError
        Storage failed.
    """
    if target.lost is not None:
        yield target.lost
    arrays = [_array_fault(target, level) for level in range(len(target.plan.levels))]
    layer = _layer_fault(target)
    if layer is not None and arrays[0] is not None:
        # One against two: it is no measure of the others.
        yield Finding(MANIFEST, "changed", "agrees neither with the layer nor with its array")
        return
    for fault in (*arrays, layer, _empty_fault(target)):
        if fault is not None:
            yield fault


def check_shards(target: Target, threads: int, observer: Observer) -> Iterator[Finding]:
    """Yield every shard that is not as the ledger says, and objects that should not be there.

    Where the ledger is lost, shards are held against their own checksums instead, and what is whole
    is noted in the target's ledger.

    Parameters
    ----------
    target : Target
    threads : int
        Shards read at once.
    observer : Observer
        Is told of every shard that was read.

    Raises
    ------
    StorageError
        Storage failed.
    """
    if target.lost is not None:
        yield from _check_alone(target, threads, observer)
        return
    wrong, lost = set(), False
    for found in compare_sizes(target.store, target.folder, target.ledger):
        if found.fault == "missing" and not lost:
            lost = True
            target.check_reachable()  # a disk that is gone lists nothing either
        wrong.add(found.key)
        yield found
    levels = map(target.ledger.entries, range(len(target.plan.levels)))
    todo = (entry for entry in chain.from_iterable(levels) if entry.key not in wrong)
    for fault in each(partial(_compare_digest, target, observer), todo, threads):
        if fault is not None:
            yield fault


def each(work: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Iterator[_R]:
    """Yield what `work` makes of each item, in order; `threads` of them at a time."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    pending: deque[Future[_R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def array_document(spec: ArraySpec) -> bytes:
    """Return the ``zarr.json`` of an array."""
    scratch = Store("memory://scratch")
    create_array(scratch, "0", spec)
    return scratch.read("0/zarr.json") or b""


def _compare_digest(target: Target, observer: Observer, entry: Entry) -> Finding | None:
    observer.advance(entry, _voxel_bytes(target, entry))
    if not entry.length:
        return None  # and a listing has shown that nothing lies there
    try:
        with target.store.open(target.path(entry.key)) as stream:
            found = digest(stream)
    except StorageError as error:
        target.check_reachable()
        return Finding(entry.key, "unreadable", str(error))
    if (found.length, found.xxh3) == (entry.length, entry.digest):
        return None
    return Finding(entry.key, "changed", f"XXH3 is {found.xxh3}, expected {entry.digest}")


def _voxel_bytes(target: Target, entry: Entry) -> int:
    region = target.plan.shards(entry.level).region(entry.index)
    return region.size * np.dtype(target.plan.spec.dtype).itemsize


def _check_alone(target: Target, threads: int, observer: Observer) -> Iterator[Finding]:
    """Note what is whole by its own checksums, and what is empty on purpose; yield the rest."""
    empty = _listed_empty(target)
    stray, there = _list_alone(target, empty)
    yield from stray
    for entry in each(partial(_digest_alone, target), there, threads):
        if isinstance(entry, Finding):
            yield entry
            continue
        target.ledger.add(entry)
        observer.advance(entry, _voxel_bytes(target, entry))
    seen = set(there)
    for level in range(len(target.ledger.grids)):
        for index in list(target.ledger.missing(level)):
            entry = Entry(level, index, 0, "")
            if empty and empty[level][index]:
                target.ledger.add(entry)
            elif (level, index) not in seen:
                yield Finding(entry.key, "missing", "nothing says that it is empty on purpose")


def _list_alone(
    target: Target, empty: Sequence[Empty] | None
) -> tuple[list[Finding], list[tuple[int, tuple[int, ...]]]]:
    """Return the objects that are no shards of the layer, and the places of those that are."""
    stray, there = [], []
    for level, grid in enumerate(target.ledger.grids):
        for path, size in target.store.sizes(target.path(f"{level}/c")):
            place = parse_key(path.removeprefix(f"{target.folder}/"))
            if (
                place is None
                or not _inside(place[1], grid.counts)
                or (empty and empty[level][place[1]])
            ):
                key = path.removeprefix(f"{target.folder}/")
                stray.append(Finding(key, "extra", f"{size} bytes"))
            else:
                there.append(place)
    return stray, there


def _inside(index: tuple[int, ...], counts: tuple[int, ...]) -> bool:
    return len(index) == len(counts) and all(i < n for i, n in zip(index, counts, strict=True))


def _digest_alone(target: Target, place: tuple[int, tuple[int, ...]]) -> Entry | Finding:
    level, index = place
    entry, spec = Entry(level, index, 0, ""), target.plan.arrays[level]
    region = target.plan.shards(level).region(index)
    try:
        with target.store.open(target.path(entry.key)) as stream:
            found = check_shard(stream, *spec.chunks_of(region))
    except StorageError as error:
        target.check_reachable()
        return Finding(entry.key, "changed", str(error))
    return Entry(level, index, found.length, found.xxh3)


def _listed_empty(target: Target) -> Sequence[Empty] | None:
    """Return which shards are listed as empty, None where the list cannot be read."""
    if target.store.read(target.path(EMPTY)) is None:
        return None
    try:
        return read_empty(target.store, target.folder, target.ledger.grids)
    except StorageError:
        return None  # `_empty_fault` tells of it


def _array_fault(target: Target, level: int) -> Finding | None:
    key = f"{level}/zarr.json"
    document = target.store.read(target.path(key))
    if document is None:
        return Finding(key, "missing", "the metadata of the array")
    try:
        there = _metadata(document)
    except StorageError:
        return Finding(key, "unreadable", "is not the metadata of a Zarr array")
    expected = _metadata(array_document(target.plan.arrays[level]))
    wrong = sorted(name for name in expected | there if there.get(name) != expected.get(name))
    return Finding(key, "changed", f"not as written: {', '.join(wrong)}") if wrong else None


def _metadata(document: bytes) -> dict[str, Any]:
    """Return what TensorStore makes of a ``zarr.json``, however that is written.

    Raises
    ------
    StorageError
        No array's metadata.
    """
    scratch = Store("memory://scratch")
    scratch.write("0/zarr.json", document)
    metadata: dict[str, Any] = open_array(scratch, "0").spec().to_json()["metadata"]
    return metadata


def _empty_fault(target: Target) -> Finding | None:
    expected = [target.ledger.empty(level) for level in range(len(target.ledger.grids))]
    document = target.store.read(target.path(EMPTY))
    if target.lost is None and not any(level.any() for level in expected):
        return None
    if document is None:
        return None if target.lost else Finding(EMPTY, "missing", "the list of empty shards")
    try:
        found = read_empty(target.store, target.folder, target.ledger.grids)
    except StorageError as error:
        return Finding(EMPTY, "unreadable", str(error))
    pairs = zip(found, expected, strict=True)
    if target.lost is None and not all(np.array_equal(*pair) for pair in pairs):
        return Finding(EMPTY, "changed", "lists other shards than the ledger")
    return None


def _layer_fault(target: Target) -> Finding | None:
    document = target.store.read(f"{target.place.layer}/{LAYER}") or b""
    try:
        found = json.loads(document)
        found["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    except (ValueError, LookupError, TypeError) as error:
        return Finding(LAYER, "unreadable", f"the metadata of the layer: {error}")
    told = _at(found, "attributes/nwb/schema_id")
    expected = _expected(target, told if told in SCHEMAS else SCHEMA)
    wrong = [path for path, value in expected.items() if _at(found, path) != value]
    return Finding(LAYER, "changed", f"not as written: {', '.join(wrong)}") if wrong else None


def _expected(target: Target, schema: str) -> dict[str, Any]:
    """Return what of a layer's metadata decides which voxels it shows, by its path there."""
    manifest, plan, prefix = target.manifest, target.plan, target.place.prefix
    units = manifest.spec.units
    scales = multiscale("", plan.axes, units, plan.levels, plan.method, prefix).model_dump(
        mode="json", exclude_none=True
    )
    ours = {"version": prefix.rstrip("/"), "empty_shards": _count_empty(target)}
    source = LabelSource() if manifest.labels_of is not None else None
    label = ImageLabel(source=source).model_dump(mode="json", exclude_none=True)
    along = dict(zip(plan.axes, manifest.spec.shape, strict=True))
    planar = "z" not in along and schema == SCHEMA
    extents = "dimensions_in_pixels" if planar else "dimensions_in_voxels"
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes/ome/version": "0.5",
        "attributes/ome/multiscales/0/axes": scales["axes"],
        "attributes/ome/multiscales/0/datasets": scales["datasets"],
        "attributes/ome/image-label": label if manifest.kind == "labels" else None,
        "attributes/nwb/schema_id": schema,
        "attributes/nwb/data": f"{prefix}0",
        "attributes/nwb/source_format": manifest.source.format,
        f"attributes/nwb/imaging_space/{extents}": [along[a] for a in "xyz" if a in along],
        "attributes/nwb/conversion_history/0/parameters": manifest.settings(),
    } | ({} if target.lost else {"attributes/microtome": ours})


def _count_empty(target: Target) -> int:
    return sum(int(target.ledger.empty(level).sum()) for level in range(len(target.ledger.grids)))


def _at(document: Any, path: str) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return what lies at a path of a JSON document, None where there is none."""
    for name in path.split("/"):
        try:
            document = document[int(name) if isinstance(document, list) else name]
        except (LookupError, TypeError, ValueError):
            return None
    return document
