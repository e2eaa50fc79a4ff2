"""One ingest, from a source to a visible layer."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from math import prod
from os import cpu_count
from threading import Event
from typing import Any

import numpy as np
import tensorstore as ts

from microtome_core import __version__
from microtome_core.dtypes import LABELS
from microtome_core.errors import Conflict, InputError
from microtome_core.names import LayerId
from microtome_core.store.array import Codec, create_array
from microtome_core.store.layer import (
    ensure_groups,
    find_layer,
    labels_path,
    publish_layer,
    read_layer,
)
from microtome_core.store.location import Store
from microtome_core.store.record import Conversion, SourceFile
from microtome_core.wire import LayerInfo
from microtome_ingest.canonical import canonical_source
from microtome_ingest.commit import Kind, ome_attributes, record, shown_channels
from microtome_ingest.extents import Extents
from microtome_ingest.hashing import hash_files
from microtome_ingest.layout import choose_layout
from microtome_ingest.options import VolumeSpec
from microtome_ingest.place import Place, prepare, sweep
from microtome_ingest.plan import Method, Plan, Policy, make_plan
from microtome_ingest.resolve import Resolution
from microtome_ingest.source import Source
from microtome_ingest.write import write_volume


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a layer is stored.

    Parameters
    ----------
    kind : str
        ``image`` or ``labels``: binned by mean or by mode.
    labels_of : str, optional
        Name of the image in the same dataset to which these labels belong.
    chunk, shard : Extents, optional
        Instead of those that microtome would choose.
    codec : Codec
    levels : int, optional
        How many, instead of until the coarsest fits one chunk.
    memory : int
        Bytes that the voxels in flight may take; one batch is in flight however large it is.
    threads : int, optional
        Batches in flight at most; as many as there are cores by default.
    restart : bool
        Replace a layer that was made of another source or with other settings. It stays as it is
        until the new one is whole.
    grace : float
        Seconds for which a replaced layer's voxels are kept for those who have it open.

    Raises
    ------
    InputError
        Levels, memory or threads below 1.
    """

    kind: Kind = "image"
    labels_of: str | None = None
    chunk: Extents | None = None
    shard: Extents | None = None
    codec: Codec = Codec()
    levels: int | None = None
    memory: int = 2**30
    threads: int | None = None
    restart: bool = False
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name in ("levels", "memory", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: expected at least 1")
        if not 0 <= self.grace <= 86400:
            raise InputError(f"--grace {self.grace}: expected 0 to 86400 seconds")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ingest did: the layer as it is now, and whether it was there already."""

    layer: LayerInfo
    written: bool


class Observer:
    """Is told of progress; this one keeps silent."""

    def begin(self, plan: Plan) -> None:
        """Learn what will be done, before the first voxel is read."""

    def advance(self, size: int) -> None:
        """Learn that shards of `size` bytes of voxels are written; called from several threads."""


def ingest(
    source: Source,
    resolution: Resolution,
    store: Store,
    layer_id: LayerId,
    options: IngestOptions,
    observer: Observer,
) -> Outcome:
    """Convert a source into a layer. It is visible only once all of it is written.

    A layer that was made before of the same source with the same settings is left as it is.

    Raises
    ------
    InputError
        The source or the options are at fault; nothing was written.
    Conflict
        Another layer of that name exists and `options.restart` is not set.
    SourceError, StorageError
        Reading or writing failed on the way; nothing new is visible, what was stays.
    """
    spec = resolution.spec
    plan = plan_ingest(spec, options, _image_levels(store, layer_id, options))
    path = _path(store, layer_id, spec, options)
    there = _check_place(store, layer_id, path)
    job = _Job(source, resolution, store, layer_id, path, plan, options)
    # The voxels are read while the files are hashed: both come from the page cache once.
    with _hashing(source) as files:
        if there and not options.restart:
            return job.compare(files.result())
        return job.run(observer, files)


def plan_ingest(spec: VolumeSpec, options: IngestOptions, levels: int | None = None) -> Plan:
    """Plan a volume under the user's options.

    Raises
    ------
    InputError
        Labels that are no integers, or chunks and shards that cannot be.
    """
    if options.kind == "labels" and spec.dtype not in LABELS:
        raise InputError(f"dtype {spec.dtype}: labels are integers; leave out --kind labels")
    itemsize = np.dtype(spec.dtype).itemsize
    chunk = options.chunk.along(spec.axes) if options.chunk else None
    shard = options.shard.along(spec.axes) if options.shard else None
    layout = choose_layout(spec.axes, spec.shape, spec.scale, itemsize, chunk, shard)
    # A batch is held once as read and once binned and staged, in every thread.
    batch_bytes = options.memory // (2 * _most_threads(options))
    method: Method = "mode" if options.kind == "labels" else "mean"
    return make_plan(spec, layout, Policy(method, options.codec, levels, batch_bytes))


@dataclass(frozen=True, slots=True)
class _Job:
    source: Source
    resolution: Resolution
    store: Store
    layer_id: LayerId
    path: str
    plan: Plan
    options: IngestOptions

    def compare(self, files: list[SourceFile]) -> Outcome:
        """Accept a layer that exists if it is the one that this job would make."""
        info = read_layer(self.store, self.layer_id).info
        history = info.attrs.get("conversion_history") or [{}]
        if history[-1].get("parameters", {}).get("token") == self.token(files):
            return Outcome(info, written=False)
        raise Conflict(
            f"layer {self.layer_id} exists and was made of another source or with other settings: "
            "choose another name, or replace it with --restart"
        )

    def run(self, observer: Observer, files: Future[list[SourceFile]]) -> Outcome:
        """Write beside what is there, show it, and then remove what it replaces."""
        ensure_groups(self.store, self.layer_id.parent)
        place, replaced = prepare(self.store, self.path)
        arrays = self._write(place, observer)
        self._publish(place, arrays, files.result())
        if replaced is not None:
            # Those who have opened the old version are still reading it.
            time.sleep(self.options.grace)
            sweep(self.store, self.path, place)
        return Outcome(read_layer(self.store, self.layer_id).info, written=True)

    def _write(self, place: Place, observer: Observer) -> list[ts.TensorStore]:
        arrays = [
            create_array(self.store, place.array(level), spec)
            for level, spec in enumerate(self.plan.arrays)
        ]
        volume = canonical_source(self.source, self.resolution)
        observer.begin(self.plan)
        threads = batches_in_flight(self.plan, self.options)
        write_volume(volume, self.plan, arrays, threads, observer.advance)
        return arrays

    def _publish(self, place: Place, arrays: list[ts.TensorStore], files: list[SourceFile]) -> None:
        """Write the metadata, by which the layer becomes visible, or the new one instead."""
        coloured = self.resolution.channels if self.options.kind == "image" else ()
        ome = ome_attributes(
            self.layer_id.layer,
            self.options.kind,
            self.plan,
            shown_channels(self.plan, coloured, arrays),
            nested=self.options.labels_of is not None,
            prefix=place.prefix,
        )
        described = (self.source.description, self.plan.spec, self.resolution.channels)
        nwb = record(*described, files, self.conversion(files), data=f"{place.prefix}0")
        publish_layer(self.store, self.path, {"ome": ome, "nwb": nwb})

    def conversion(self, files: list[SourceFile]) -> Conversion:
        """Return what goes into the layer's history."""
        return Conversion(
            tool="microtome",
            version=__version__,
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
            parameters={**self.settings(), "token": self.token(files)},
        )

    def settings(self) -> dict[str, Any]:
        """Return how the layer is stored, as the history tells it."""
        return {
            "kind": self.options.kind,
            "axes": self.plan.axes,
            "chunk": list(self.plan.arrays[0].chunk),
            "shard": list(self.plan.arrays[0].shard),
            "codec": str(self.options.codec),
            "levels": len(self.plan.levels),
            "method": self.plan.method,
        }

    def token(self, files: list[SourceFile]) -> str:
        """Return a hash over all that decides what is stored."""
        spec, description = self.plan.spec, self.source.description
        decisive = {
            "format": description.format,
            "files": [file.sha256 for file in files],
            "image": [description.image, description.axes, description.shape],
            "order": self.resolution.order,
            "spec": [spec.axes, spec.shape, spec.dtype, spec.scale, spec.units],
            "channels": [[c.name, c.color, c.window] for c in self.resolution.channels],
            "settings": self.settings(),
        }
        return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _path(store: Store, layer_id: LayerId, spec: VolumeSpec, options: IngestOptions) -> str:
    if options.labels_of is None:
        return str(layer_id)
    image = _image_id(layer_id, options.labels_of)
    if options.kind != "labels" or image == layer_id:
        raise InputError(
            f"--labels-of {image.layer}: expected --kind labels and another layer's name"
        )
    _check_same_space(read_layer(store, image).info, spec)
    return labels_path(image, layer_id.layer)


def _check_place(store: Store, layer_id: LayerId, path: str) -> bool:
    """Tell whether the layer is there already; refuse one of its name that lies elsewhere."""
    found = find_layer(store, layer_id)
    if found not in (None, path):
        raise Conflict(f"layer {layer_id} exists in {found}, not in {path}: choose another name")
    return found is not None


@contextmanager
def _hashing(source: Source) -> Iterator[Future[list[SourceFile]]]:
    """Hash the source's files beside what is done meanwhile; give up if that fails."""
    stop = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        try:
            yield pool.submit(_hash, source, stop)
        finally:
            stop.set()


def _hash(source: Source, stop: Event) -> list[SourceFile]:
    return [
        SourceFile(name=file.name, size=file.size, sha256=file.sha256)
        for file in hash_files(source.description.files, stop)
    ]


def _image_id(layer_id: LayerId, name: str) -> LayerId:
    return LayerId(layer_id.collection, layer_id.dataset, name)


def _image_levels(store: Store, layer_id: LayerId, options: IngestOptions) -> int | None:
    """Return how many levels to make: labels have as many as their image (OME-Zarr 0.5)."""
    if options.labels_of is None:
        return options.levels
    count = len(read_layer(store, _image_id(layer_id, options.labels_of)).info.levels)
    if options.levels not in (None, count):
        raise InputError(f"--levels {options.levels}: labels have as many as their image, {count}")
    return count


def _check_same_space(image: LayerInfo, spec: VolumeSpec) -> None:
    scale = image.levels[0].scale
    theirs = dict(zip(image.axes, zip(image.shape, scale, image.units, strict=True), strict=True))
    ours = dict(zip(spec.axes, zip(spec.shape, spec.scale, spec.units, strict=True), strict=True))
    for axis in "zyx":
        if theirs.get(axis) != ours.get(axis):
            raise InputError(
                f"labels of {image.id}: {axis} has extent, voxel size and unit {ours.get(axis)}, "
                f"expected the image's {theirs.get(axis)}"
            )


def batches_in_flight(plan: Plan, options: IngestOptions) -> int:
    """Return how many batches are read at once: as many as the user's memory holds, one at least.

    A batch is held once as read and once binned and staged.
    """
    batch = prod(plan.batch) * np.dtype(plan.spec.dtype).itemsize
    return max(1, min(_most_threads(options), options.memory // (2 * batch)))


def _most_threads(options: IngestOptions) -> int:
    return options.threads or cpu_count() or 1
