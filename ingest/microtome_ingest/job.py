"""One ingest, from a source to a visible layer."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from os import cpu_count
from typing import Any

import numpy as np

from microtome_core import __version__
from microtome_core.dtypes import LABELS
from microtome_core.errors import Conflict, InputError
from microtome_core.names import LayerId
from microtome_core.store.array import Codec, create_array, open_array
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
        Bytes that the voxels in flight may take.
    threads : int, optional
        Batches in flight; as many as there are cores by default.
    restart : bool
        Replace a layer that was made of another source or with other settings.
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
        Reading or writing failed on the way; no layer is visible.
    """
    spec = resolution.spec
    plan = plan_ingest(spec, options, _image_levels(store, layer_id, options))
    path = _path(store, layer_id, spec, options)
    job = _Job(source, resolution, store, layer_id, path, plan, options)
    # The voxels are read while the files are hashed: both come from the page cache once.
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        hashing = pool.submit(_hash, source)
        if find_layer(store, layer_id) is not None and not options.restart:
            return job.compare(hashing.result())
        job.write(observer)
        return job.publish(hashing.result())


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
    batch_bytes = options.memory // (2 * _threads(options))
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

    def write(self, observer: Observer) -> None:
        """Write all voxels; whatever an unfinished or replaced layer left is removed first."""
        _clear(self.store, self.path)
        ensure_groups(self.store, self.layer_id.parent)
        arrays = [
            create_array(self.store, f"{self.path}/{level}", spec)
            for level, spec in enumerate(self.plan.arrays)
        ]
        volume = canonical_source(self.source, self.resolution)
        observer.begin(self.plan)
        write_volume(volume, self.plan, arrays, _threads(self.options), observer.advance)

    def publish(self, files: list[SourceFile]) -> Outcome:
        """Write the metadata, by which the layer becomes visible."""
        count = len(self.plan.arrays)
        arrays = [open_array(self.store, f"{self.path}/{level}") for level in range(count)]
        channels = shown_channels(self.plan, self.resolution.channels, arrays)
        nested = self.options.labels_of is not None
        name = self.layer_id.layer
        attributes = {
            "ome": ome_attributes(name, self.options.kind, self.plan, channels, nested=nested),
            "nwb": record(
                self.source.description,
                self.plan.spec,
                self.resolution.channels,
                files,
                self.conversion(files),
            ),
        }
        publish_layer(self.store, self.path, attributes)
        return Outcome(read_layer(self.store, self.layer_id).info, written=True)

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
            "image": [description.axes, description.shape],
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


def _hash(source: Source) -> list[SourceFile]:
    return [
        SourceFile(name=file.name, size=file.size, sha256=file.sha256)
        for file in hash_files(source.description.files)
    ]


def _image_id(layer_id: LayerId, name: str) -> LayerId:
    return LayerId(layer_id.collection, layer_id.dataset, name)


def _image_levels(store: Store, layer_id: LayerId, options: IngestOptions) -> int | None:
    """Return how many levels to make: labels have as many as their image (OME-Zarr 0.5)."""
    if options.labels_of is None:
        return options.levels
    return len(read_layer(store, _image_id(layer_id, options.labels_of)).info.levels)


def _check_same_space(image: LayerInfo, spec: VolumeSpec) -> None:
    theirs = {a: (image.shape[i], image.levels[0].scale[i]) for i, a in enumerate(image.axes)}
    ours = {a: (spec.shape[i], spec.scale[i]) for i, a in enumerate(spec.axes)}
    for axis in "zyx":
        if theirs.get(axis) != ours.get(axis):
            raise InputError(
                f"labels of {image.id}: {axis} has extent and voxel size {ours.get(axis)}, "
                f"expected the image's {theirs.get(axis)}"
            )


def _clear(store: Store, path: str) -> None:
    """Hide the layer, then remove its levels; labels that lie below it stay."""
    store.remove(f"{path}/zarr.json")
    for name in store.children(path):
        if name.isdigit():
            store.delete(f"{path}/{name}")


def _threads(options: IngestOptions) -> int:
    return options.threads or cpu_count() or 1
