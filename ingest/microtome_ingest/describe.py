"""From what the user asks for to the manifest: every question answered, nothing written."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from microtome_core import __version__
from microtome_core.dtypes import LABELS
from microtome_core.errors import InputError
from microtome_core.layout import choose_layout
from microtome_core.names import LayerId
from microtome_core.store.annotations import FOLDER as ANNOTATIONS
from microtome_core.store.binning import Method
from microtome_core.store.layer import labels_path, read_layer
from microtome_core.store.location import Store
from microtome_core.store.record import Conversion
from microtome_core.store.record_changes import dataset_given
from microtome_core.wire import LayerInfo
from microtome_ingest.attributes import record
from microtome_ingest.manifest import Manifest, SourceFacts
from microtome_ingest.options import IngestOptions, VolumeSpec
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.resolve import Resolution
from microtome_ingest.source import Source


def describe(
    source: Source,
    resolution: Resolution,
    store: Store,
    layer_id: LayerId,
    options: IngestOptions,
) -> Manifest:
    """Return the manifest of an ingest.

    Raises
    ------
    InputError
        Labels that are no integers or do not fit their image, chunks and shards that cannot be, or
        metadata that cannot be said of the source.
    """
    spec, found = resolution.spec, source.description
    plan = plan_ingest(spec, options, _image_levels(store, layer_id, options))
    manifest = Manifest(
        version=__version__,
        started=options.started or datetime.now(UTC).isoformat(timespec="seconds"),
        layer=str(layer_id),
        kind=options.kind,
        labels_of=options.labels_of,
        source=SourceFacts(
            format=found.format,
            image=found.image,
            scene=options.scene,
            axes=found.axes,
            shape=found.shape,
            order=resolution.order,
            files=tuple(source.stamps[path] for path in found.files),
            metadata=dict(found.metadata),
        ),
        spec=spec,
        channels=resolution.channels,
        chunk=plan.arrays[0].chunk,
        shard=plan.arrays[0].shard,
        codec=str(options.codec),
        levels=len(plan.levels),
        method=plan.method,
        given=_given(store, layer_id, options),
    )
    _check_given(manifest)
    return manifest


def _given(store: Store, layer_id: LayerId, options: IngestOptions) -> tuple[dict[str, Any], ...]:
    """Return what is said of the dataset, then of the layer."""
    told = dataset_given(store, layer_id.parent), dict(options.metadata or {})
    return tuple(each for each in told if each)


def _check_given(manifest: Manifest) -> None:
    """Refuse now what would be refused when all voxels are written."""
    history = Conversion(tool="", version="", timestamp="", parameters={})
    facts = (manifest.source, manifest.spec, manifest.told_channels)
    record(*facts, [], history, given=manifest.given)


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
    method: Method = "mode" if options.kind == "labels" else "mean"
    return make_plan(spec, layout, Policy(method, options.codec, levels))


def layer_path(store: Store, layer_id: LayerId, spec: VolumeSpec, options: IngestOptions) -> str:
    """Return the folder of the layer: below its image, if it is the labels of one.

    Raises
    ------
    InputError
        A name that is taken by the store, or labels that do not fit their image.
    """
    if layer_id.layer == ANNOTATIONS:
        raise InputError(f"layer {layer_id}: that folder is for annotations; choose another name")
    if options.labels_of is None:
        return str(layer_id)
    image = _image_id(layer_id, options.labels_of)
    if options.kind != "labels" or image == layer_id:
        raise InputError(
            f"--labels-of {image.layer}: expected --kind labels and another layer's name"
        )
    _check_same_space(read_layer(store, image).info, spec)
    return labels_path(image, layer_id.layer)


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
