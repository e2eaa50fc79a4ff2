"""A layer on disk: found by its address, read into `LayerInfo`, made visible by its metadata.

::

    ROOT/collection/dataset/zarr.json                 group
    ROOT/collection/dataset/layer/zarr.json           ome, nwb, microtome: written last
    ROOT/collection/dataset/layer/0, 1, 2 …           arrays, finest first
    ROOT/collection/dataset/layer/0/ledger/…          every shard, its length and digest
    ROOT/collection/dataset/layer/labels/zarr.json    names of the label layers below it
    ROOT/collection/dataset/layer/labels/name/…       a label layer: collection/dataset/name
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import tensorstore as ts
from pydantic import ValidationError

from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.grid import Grid
from microtome_core.looks import default_channel
from microtome_core.names import DatasetId, LayerId, check_name, numbered_channel
from microtome_core.store.array import open_arrays
from microtome_core.store.empty import read_empty
from microtome_core.store.live import Live, LiveVoxels
from microtome_core.store.location import Store
from microtome_core.store.ome import Multiscale, Ome
from microtome_core.store.record import SCHEMAS
from microtome_core.store.versions import record_version, value_version
from microtome_core.store.voxels import Voxels
from microtome_core.wire import Channel, LayerInfo, LevelInfo


@dataclass(frozen=True, slots=True)
class Layer:
    """A visible layer.

    Parameters
    ----------
    info : LayerInfo
    arrays : tuple of TensorStore
        One a level, finest first; reads may be awaited.
    voxels : tuple of Voxels
        The same, to be read from: these know which shards are empty on purpose.
    path : str
        Its folder below the root.
    document : bytes
        Its ``zarr.json``, as it was when all this was read.
    segments : list of dict
        What is known of single ids of labels: OME-Zarr's ``image-label`` properties, as they stand
        in the file.
    live : Live, optional
        Of a writable layer: which of its shards are empty now.
    """

    info: LayerInfo
    arrays: tuple[ts.TensorStore, ...]
    voxels: tuple[Voxels, ...]
    path: str
    document: bytes = b"{}"
    segments: Sequence[Mapping[str, Any]] = ()
    live: Live | None = None

    @property
    def complete(self) -> bool:
        """Whether every shard was stored that is not listed as empty: one that is missing is lost.

        Other software leaves out chunks that hold the fill value, as Zarr says.
        """
        return _complete(self.info.attrs)


def find_layer(store: Store, layer_id: LayerId) -> str | None:
    """Return the folder of a visible layer, wherever in its dataset it lies, or None."""
    found = _find(store, layer_id)
    return found and found[0]


def _find(store: Store, layer_id: LayerId) -> tuple[str, bytes] | None:
    """Return the folder of a visible layer and its ``zarr.json``."""
    direct = str(layer_id)
    if document := _visible(store, direct):
        return direct, document
    for image in store.children(str(layer_id.parent)):
        if layer_id.layer in label_names(store, f"{layer_id.parent}/{image}"):
            path = f"{layer_id.parent}/{image}/labels/{layer_id.layer}"
            # While labels are replaced, they are listed but hidden.
            if document := _visible(store, path):
                return path, document
    return None


def _visible(store: Store, path: str) -> bytes | None:
    """Return the ``zarr.json`` of a folder that is an image or labels, or None."""
    document = store.read(f"{path}/zarr.json")
    shown = document is not None and "ome" in _parse(f"{store.url}/{path}", document)
    return document if shown else None


def is_writable(store: Store, path: str) -> bool:
    """Tell whether the layer in a folder was created to be written."""
    kept = (_attributes(store, path) or {}).get("microtome", {})
    return isinstance(kept, dict) and kept.get("writable") is True


def labels_path(image: LayerId, name: str) -> str:
    """Return the folder of a label layer that belongs to an image."""
    return f"{image}/labels/{name}"


def label_names(store: Store, image_path: str) -> list[str]:
    """Return the names of the label layers that a folder lists."""
    attributes = _attributes(store, f"{image_path}/labels")
    return list((attributes or {}).get("ome", {}).get("labels", []))


def list_datasets(store: Store) -> Iterator[DatasetId]:
    """Yield every dataset that has a folder, even one without a visible layer."""
    for collection in filter(_is_name, store.children()):
        for dataset in filter(_is_name, store.children(collection)):
            yield DatasetId(collection, dataset)


def read_layer(store: Store, layer_id: LayerId) -> Layer:
    """Open a layer and its arrays.

    Raises
    ------
    NotFound
        No such layer, or one that is not complete.
    StorageError
        Storage failed, or holds metadata that is no OME-Zarr image.
    """
    found = _find(store, layer_id)
    if found is None:
        raise NotFound(f"no layer {layer_id}")
    path, document = found
    attributes = _parse(f"{store.url}/{path}", document)
    try:
        ome = Ome.model_validate(attributes.get("ome"))
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}: not OME-Zarr 0.5: {error}") from error
    scales = ome.multiscales[0]
    record = attributes.get("nwb", {})
    complete = _complete(record)
    kept = attributes.get("microtome", {})
    writable = kept.get("writable") is True
    paths = [f"{path}/{dataset.path}" for dataset in scales.datasets]
    arrays = open_arrays(store, paths, complete=complete, live=writable)
    info = _info(layer_id, ome, arrays, attributes, document)
    if writable:
        live = _live_layer(store, path, replace(info, writable=True), arrays, document)
        return replace(live, segments=_segments(ome))
    folder = f"{path}/{kept['version']}".rstrip("/") if "version" in kept else None
    voxels = _voxels(store, info, arrays, folder, int(kept.get("empty_shards", 0)))
    return Layer(info, arrays, voxels, path, document, segments=_segments(ome))


def _live_layer(
    store: Store,
    path: str,
    info: LayerInfo,
    arrays: tuple[ts.TensorStore, ...],
    document: bytes,
) -> Layer:
    grids = [Grid(info.axes, level.shape, level.shard) for level in info.levels]
    live = Live(store, path, grids)
    live.load_empty()  # a layer without its list cannot be read
    voxels = tuple(
        LiveVoxels(array, grids[i], info.levels[i].chunk, live, i) for i, array in enumerate(arrays)
    )
    return Layer(info, arrays, voxels, path, document, live=live)


def publish_layer(store: Store, path: str, attributes: dict[str, Any]) -> None:
    """Make a layer visible: list it where it belongs to an image, and write its metadata last."""
    list_label(store, path)
    store.write(f"{path}/zarr.json", _group(attributes))


def list_label(store: Store, path: str) -> None:
    """List a label layer in the folder of its image, if it lies in one."""
    folder, _, name = path.rpartition("/")
    # A dataset may be named "labels" too.
    if folder.endswith("/labels") and folder.count("/") == 3:
        store.update(f"{folder}/zarr.json", lambda old: _with_label(old, name))


def create_document(attributes: dict[str, Any]) -> bytes:
    """Return the ``zarr.json`` of a layer with these attributes."""
    return _group(attributes)


def array_paths(store: Store, path: str) -> list[str]:
    """Return the folders of a visible layer's arrays, relative to it; none if it is not visible."""
    ome = (_attributes(store, path) or {}).get("ome")
    if not ome:
        return []
    try:
        return [dataset.path for dataset in Ome.model_validate(ome).multiscales[0].datasets]
    except ValidationError as error:
        raise StorageError(f"{store.url}/{path}: not OME-Zarr 0.5: {error}") from error


def ensure_groups(store: Store, dataset: DatasetId) -> None:
    """Make the folders above a layer Zarr groups, so that any Zarr reader can walk down."""
    store.make_root()
    paths = ("", dataset.collection, str(dataset))
    with ThreadPoolExecutor(len(paths), thread_name_prefix="groups") as pool:
        list(pool.map(partial(ensure_group, store), paths))


def ensure_group(store: Store, path: str) -> None:
    """Make one folder a Zarr group; attributes that it has stay."""
    store.update(f"{path}/zarr.json".lstrip("/"), lambda old: old or _group({}))


def _complete(record: object) -> bool:
    return isinstance(record, dict) and record.get("schema_id") in SCHEMAS


def _with_label(old: bytes | None, name: str) -> bytes:
    attributes = _parse("labels", old or b"{}")
    listed = attributes.get("ome", {}).get("labels", [])
    ome = {"version": "0.5", "labels": sorted({*listed, name})}
    return _group({**attributes, "ome": ome})


def _group(attributes: dict[str, Any]) -> bytes:
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json.dumps(document, indent=1, allow_nan=False).encode()


def _attributes(store: Store, path: str) -> dict[str, Any] | None:
    document = store.read(f"{path}/zarr.json")
    return None if document is None else _parse(f"{store.url}/{path}", document)


def _parse(where: str, document: bytes) -> dict[str, Any]:
    try:
        attributes = json.loads(document).get("attributes", {})
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{where}/zarr.json: not Zarr metadata: {error}") from error
    if not isinstance(attributes, dict) or not isinstance(attributes.get("ome", {}), dict):
        raise StorageError(f"{where}/zarr.json: its attributes are no JSON object")
    return attributes


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InputError:
        return False
    return True


def _voxels(
    store: Store,
    info: LayerInfo,
    arrays: tuple[ts.TensorStore, ...],
    folder: str | None,
    empty_shards: int,
) -> tuple[Voxels, ...]:
    grids = [Grid(info.axes, level.shape, level.shard) for level in info.levels]
    empty = read_empty(store, folder, grids) if folder and empty_shards else [None] * len(grids)
    return tuple(Voxels(*each) for each in zip(arrays, grids, empty, strict=True))


def _info(
    layer_id: LayerId,
    ome: Ome,
    arrays: tuple[ts.TensorStore, ...],
    attributes: dict[str, Any],
    document: bytes,
) -> LayerInfo:
    scales = ome.multiscales[0]
    axes = "".join(axis.name for axis in scales.axes)
    dtype = arrays[0].dtype.numpy_dtype.name
    return LayerInfo(
        id=str(layer_id),
        kind="labels" if ome.image_label else "image",
        axes=axes,
        units=tuple(axis.unit for axis in scales.axes),
        dtype=dtype,
        levels=_levels(scales, arrays),
        channels=_channels(ome, dict(zip(axes, arrays[0].shape, strict=True)).get("c", 1), dtype),
        version=value_version(document, attributes),
        attrs=attributes.get("nwb", {}),
        record_version=record_version(document),
    )


def _segments(ome: Ome) -> list[dict[str, Any]]:
    """Return the properties of ids; what others wrote and is none is left out."""
    extra = ome.image_label.model_extra if ome.image_label else None
    found = (extra or {}).get("properties")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _levels(scales: Multiscale, arrays: tuple[ts.TensorStore, ...]) -> tuple[LevelInfo, ...]:
    places = map(scales.place, scales.datasets)
    return tuple(
        LevelInfo(
            shape=tuple(array.shape),
            chunk=_extents(array.chunk_layout.read_chunk.shape, array),
            shard=_extents(array.chunk_layout.write_chunk.shape, array),
            scale=scale,
            translation=translation,
        )
        for (scale, translation), array in zip(places, arrays, strict=True)
    )


def _extents(shape: tuple[int | None, ...] | None, array: ts.TensorStore) -> tuple[int, ...]:
    known = shape or (None,) * array.ndim
    return tuple(extent or whole for extent, whole in zip(known, array.shape, strict=True))


def _channels(ome: Ome, count: int, dtype: str) -> tuple[Channel, ...]:
    """Return how each channel of an image is shown, also where other software tells of others."""
    if ome.image_label:
        return ()
    listed = ome.omero.channels if ome.omero else []
    if len(listed) != count:
        return tuple(default_channel(i, dtype) for i in range(count))
    return tuple(
        Channel(c.label or numbered_channel(i), c.color, (c.window.start, c.window.end))
        for i, c in enumerate(listed)
    )
