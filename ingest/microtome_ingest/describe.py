"""From what the user asks for to the manifest: every question answered, nothing written."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from microtome_core import __version__
from microtome_core.dtypes import LABELS
from microtome_core.errors import InputError, NotFound
from microtome_core.layout import choose_layout
from microtome_core.names import LayerId
from microtome_core.store.annotations import FOLDER as ANNOTATIONS
from microtome_core.store.binning import Method
from microtome_core.store.layer import label_names, labels_path, read_layer
from microtome_core.store.location import Store
from microtome_core.store.record import Conversion
from microtome_core.store.record_changes import dataset_given
from microtome_core.wire import LayerInfo
from microtome_ingest.attributes import record
from microtome_ingest.carried import Carried, fitting, said_of
from microtome_ingest.manifest import MANIFEST, Manifest, SourceFacts, parse_manifest
from microtome_ingest.options import IngestOptions, VolumeSpec
from microtome_ingest.place import visible_place
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
    )
    return _with_given(manifest, store, layer_id, options)


def _with_given(
    manifest: Manifest, store: Store, layer_id: LayerId, options: IngestOptions
) -> Manifest:
    """Return a manifest with what is said of the dataset, then of the layer, before and now.

    What would be refused when all voxels are written is refused here.
    """
    history = Conversion(tool="", version="", timestamp="", parameters={})
    facts = (manifest.source, manifest.spec, manifest.told_channels)
    told = dataset_given(store, layer_id.parent)
    before = (told,) if told else ()
    carried = _carried(store, layer_path(store, layer_id, manifest.spec, options), options)
    # The dataset's own words are among those of the older version, too.
    said = carried.given[carried.given[:1] == before :]

    def check(given: Sequence[Mapping[str, Any]]) -> None:
        record(*facts, [], history, given=[*before, *given])

    given = fitting(layer_id, said, options.metadata or {}, check)
    return manifest.model_copy(update={"given": (*before, *given), "carried": carried.notes})


def _carried(store: Store, path: str, options: IngestOptions) -> Carried:
    """Return what was said of the layer that is replaced."""
    place = visible_place(store, path) if options.restart else None
    if place is None:
        return Carried()
    try:
        there = parse_manifest(store.read(f"{place.folder}/{MANIFEST}") or b"")
    except ValueError:  # made by another program, or damaged
        return said_of(store, place, ())
    return said_of(store, place, there.given)


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
    chunk = options.chunk.along(spec.axes, "--chunk") if options.chunk else None
    shard = options.shard.along(spec.axes, "--shard") if options.shard else None
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


def misfits(store: Store, image: LayerInfo) -> list[str]:
    """Return how the labels of an image lie that lie elsewhere than it does, each in words.

    Raises
    ------
    StorageError
    """
    told = []
    layer_id = LayerId.parse(image.id)
    for name in label_names(store, str(layer_id)):
        try:
            theirs = _along(read_layer(store, _image_id(layer_id, name)).info)
        except (NotFound, InputError):  # listed and not whole yet, or of another program
            continue
        ours = _along(image)
        odd = next((axis for axis in "zyx" if ours.get(axis) != theirs.get(axis)), None)
        if odd is not None:
            told.append(f"{name} ({odd}: {_extent(theirs.get(odd))}, not {_extent(ours.get(odd))})")
    return told


def _along(layer: LayerInfo) -> dict[str, tuple[int, float, str | None]]:
    """Return the extent, voxel size and unit along each axis."""
    facts = zip(layer.shape, layer.levels[0].scale, layer.units, strict=True)
    return dict(zip(layer.axes, facts, strict=True))


def _extent(facts: tuple[int, float, str | None] | None) -> str:
    if facts is None:
        return "no such axis"
    count, size, unit = facts
    return f"{count} voxels of {size:g} {unit or '(no unit)'}"


def _check_same_space(image: LayerInfo, spec: VolumeSpec) -> None:
    theirs = _along(image)
    ours = dict(zip(spec.axes, zip(spec.shape, spec.scale, spec.units, strict=True), strict=True))
    for axis in "zyx":
        if theirs.get(axis) != ours.get(axis):
            raise InputError(
                f"labels of {image.id}: {axis} has {_extent(ours.get(axis))}, "
                f"expected the image's {_extent(theirs.get(axis))}"
            )
