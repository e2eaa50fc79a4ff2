"""Creating a layer that is empty and can be written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from microtome_core import __version__
from microtome_core.axes import check_axes
from microtome_core.dtypes import LABELS, check_dtype
from microtome_core.errors import Conflict, InputError, StorageError
from microtome_core.grid import Grid
from microtome_core.layout import choose_layout
from microtome_core.levels import Level, pyramid
from microtome_core.looks import PALETTE, value_range
from microtome_core.names import LayerId, numbered_channel
from microtome_core.store.annotations import FOLDER as ANNOTATIONS
from microtome_core.store.array import ArraySpec, Codec, create_array, level_array
from microtome_core.store.empty import NAME, pack_empty
from microtome_core.store.layer import (
    create_document,
    ensure_groups,
    find_layer,
    labels_path,
    list_label,
    read_layer,
)
from microtome_core.store.location import Store
from microtome_core.store.ome import ImageLabel, LabelSource, Ome, multiscale, omero
from microtome_core.store.record import (
    Conversion,
    MicroscopyChannel,
    Record,
    imaging_space,
)
from microtome_core.store.record_changes import dataset_given
from microtome_core.store.record_given import with_given
from microtome_core.store.recordings import is_recording
from microtome_core.units import convert, unit_name
from microtome_core.wire import Channel, LayerInfo

# Every write of a voxel writes its shard: smaller than those that are written once.
SHARD_BYTES = 16 * 2**20
_MOST_EXTENT = 10**15


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A layer to be created; sequences are in the order of `axes`.

    Parameters
    ----------
    axes : str
        Letters of ``tczyx`` in that order.
    shape : tuple of int
    dtype : str
        NumPy's name; of labels an integer.
    scale : tuple of float
        Voxel size in `units`; seconds for t, 1 for c.
    units : tuple of str or None
    kind : str
        ``labels`` (levels above hold the most frequent id) or ``image`` (the mean).
    labels_of : str, optional
        Name of the image in the same dataset to which the labels belong; they lie in its folder.
    levels : tuple of Level, optional
        Instead of as many as it takes until the coarsest fits one chunk.
    chunk, shard : tuple of int, optional
    codec : Codec
    channels : tuple of str
        Names, of an image's channels.
    created : str, optional
        The time in its record, ISO 8601, instead of now.

    Raises
    ------
    InputError
        Anything that no layer can have.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    kind: Literal["labels", "image"] = "labels"
    labels_of: str | None = None
    levels: tuple[Level, ...] | None = None
    chunk: tuple[int, ...] | None = None
    shard: tuple[int, ...] | None = None
    codec: Codec = Codec()
    channels: tuple[str, ...] = ()
    created: str | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes)
        for name in ("shape", "scale", "units"):
            value = getattr(self, name)
            if len(value) != len(self.axes):
                raise InputError(f"{name} {value}: expected one for each of {self.axes}")
        if not all(0 < extent <= _MOST_EXTENT for extent in self.shape):
            raise InputError(f"shape {self.shape}: expected 1 to {_MOST_EXTENT} voxels")
        if not all(np.isfinite(size) and size > 0 for size in self.scale):
            raise InputError(f"voxel size {self.scale}: expected positive numbers")
        for unit in filter(None, self.units):
            unit_name(unit)
        self._check_kind()

    def _check_kind(self) -> None:
        dtype = check_dtype(self.dtype).name
        if self.kind == "labels" and dtype not in LABELS:
            raise InputError(f"dtype {self.dtype}: labels are one of {', '.join(LABELS)}")
        if self.labels_of is not None and self.kind != "labels":
            raise InputError("only labels belong to an image")
        count = dict(zip(self.axes, self.shape, strict=True)).get("c", 1)
        if self.channels and len(self.channels) != count:
            raise InputError(f"{len(self.channels)} names for {count} channels")


def labels_like(image: LayerInfo, dtype: str = "uint64") -> NewLayer:
    """Return labels of the shape, voxel size and levels of an image; they have no channels.

    Raises
    ------
    InputError
        The image's levels are not each a whole number of times coarser than the one before.
    """
    kept = [i for i, axis in enumerate(image.axes) if axis != "c"]
    levels = []
    for level in image.levels:
        ratios = [level.scale[i] / image.levels[0].scale[i] for i in kept]
        factors = tuple(max(1, round(ratio)) for ratio in ratios)
        levels.append(
            Level(
                factors,
                tuple(level.shape[i] for i in kept),
                tuple(level.scale[i] for i in kept),
            )
        )
    _check_bins(levels)
    return NewLayer(
        "".join(image.axes[i] for i in kept),
        levels[0].shape,
        dtype,
        levels[0].scale,
        tuple(image.units[i] for i in kept),
        labels_of=image.layer_id.layer,
        levels=tuple(levels),
    )


def create_layer(store: Store, layer_id: LayerId, new: NewLayer) -> str:
    """Create a layer whose voxels are all 0, visible and writable; return its folder.

    Raises
    ------
    Conflict
        A layer of that name is there, or an ingest of it is under way or was not finished.
    NotFound
        No image that the labels could belong to.
    InputError
        The labels have not the levels of their image, or a chunk or shard cannot be.
    StorageError
        Storage failed.
    """
    if layer_id.layer == ANNOTATIONS:
        raise InputError(f"{ANNOTATIONS} is where annotations lie: expected another name")
    path = _path(store, layer_id, new)
    if is_recording(store, layer_id):
        raise Conflict(f"{layer_id} is a recording")
    if find_layer(store, layer_id) is not None or store.read(f"{path}/0/ledger/job.json"):
        raise Conflict(f"layer {layer_id} exists, or is being made")
    arrays, levels = _arrays(new)
    ensure_groups(store, layer_id.parent)
    _create_arrays(store, path, layer_id, arrays)
    empty = [np.ones(Grid(a.axes, a.shape, a.shard).counts, bool) for a in arrays]
    if not store.create(f"{path}/{NAME}", pack_empty(empty)):
        raise Conflict(f"layer {layer_id} exists, or is being made")
    attributes = {
        "ome": _ome(layer_id.layer, new, levels),
        "nwb": _with_dataset(store, layer_id, _record(new)),
        "microtome": {
            "version": "",
            "empty_shards": sum(each.size for each in empty),
            "writable": True,
        },
    }
    list_label(store, path)
    if not store.create(f"{path}/zarr.json", create_document(attributes)):
        raise Conflict(f"layer {layer_id} exists")
    return path


def _path(store: Store, layer_id: LayerId, new: NewLayer) -> str:
    if new.labels_of is None:
        return str(layer_id)
    image = LayerId(layer_id.collection, layer_id.dataset, new.labels_of)
    info = read_layer(store, image).info
    expected = labels_like(info)
    if (new.axes, new.shape, new.levels) != (expected.axes, expected.shape, expected.levels):
        raise InputError(
            f"labels of {new.labels_of} must have its levels: axes {expected.axes}, shape "
            f"{','.join(map(str, expected.shape))}, {len(info.levels)} levels"
        )
    return labels_path(image, layer_id.layer)


def _arrays(new: NewLayer) -> tuple[list[ArraySpec], tuple[Level, ...]]:
    itemsize = np.dtype(new.dtype).itemsize
    layout = choose_layout(
        new.axes, new.shape, new.scale, itemsize, new.chunk, new.shard, SHARD_BYTES
    )
    levels = new.levels or pyramid(new.axes, new.shape, new.scale, layout.chunk)
    dtype = np.dtype(new.dtype).name
    return [level_array(new.axes, dtype, layout, level, new.codec) for level in levels], levels


def _create_arrays(store: Store, path: str, layer_id: LayerId, arrays: Sequence[ArraySpec]) -> None:
    for number, spec in enumerate(arrays):
        try:
            create_array(store, f"{path}/{number}", spec)
        except StorageError as error:
            if store.read(f"{path}/{number}/zarr.json") is None:
                raise
            raise Conflict(
                f"layer {layer_id}: another array lies in {path}/{number}, of a creation or an "
                "ingest that was not finished; remove that folder, or take another name"
            ) from error


def _check_bins(levels: Sequence[Level]) -> None:
    for finer, coarser in pairwise(levels):
        pairs = zip(finer.factors, coarser.factors, finer.shape, coarser.shape, strict=True)
        for a, b, below, above in pairs:
            if b % a or above != -(-below // (b // a)):
                raise InputError(
                    f"levels of shape {finer.shape} and {coarser.shape}: expected each a whole "
                    "number of times coarser, so that labels can have the same"
                )


def _ome(name: str, new: NewLayer, levels: Sequence[Level]) -> dict[str, Any]:
    method: Literal["mode", "mean"] = "mode" if new.kind == "labels" else "mean"
    scales = multiscale(name, new.axes, _units(new), levels, method)
    source = LabelSource() if new.labels_of is not None else None
    return Ome.model_validate(
        {
            "multiscales": [scales],
            "omero": _shown(new) if new.kind == "image" else None,
            "image-label": ImageLabel(source=source) if new.kind == "labels" else None,
        }
    ).to_json()


def _shown(new: NewLayer) -> Any:  # noqa: ANN401 - an Omero
    low, high = value_range(new.dtype)
    channels = [
        Channel(name, PALETTE[i % len(PALETTE)], (max(low, 0.0), high))
        for i, name in enumerate(_channel_names(new))
    ]
    return omero(channels, low, high)


def _channel_names(new: NewLayer) -> list[str]:
    count = dict(zip(new.axes, new.shape, strict=True)).get("c", 1)
    return list(new.channels) or [numbered_channel(i) for i in range(count)]


def _units(new: NewLayer) -> tuple[str | None, ...]:
    return tuple(unit_name(unit) if unit else None for unit in new.units)


def _with_dataset(store: Store, layer_id: LayerId, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with what is said of all layers of the dataset."""
    given = dataset_given(store, layer_id.parent)
    return with_given(record, given).to_json() if given else record


def _record(new: NewLayer) -> dict[str, Any]:
    along = {axis: i for i, axis in enumerate(new.axes)}
    xyz = [along[axis] for axis in "xyz" if axis in along]
    sizes = [convert(new.scale[i], unit, "micrometer") for i in xyz if (unit := new.units[i])]
    volume = "Volumetric" if "z" in along else "Planar"
    channels = _channel_names(new) if new.kind == "image" else []
    return Record(
        neurodata_type=f"{volume}Microscopy{'Series' if 't' in along else 'StaticImage'}",
        imaging_space=imaging_space(
            [new.shape[i] for i in xyz],
            sizes if len(sizes) == len(xyz) else None,
            planar="z" not in along,
        ),
        channels=[MicroscopyChannel(name=name) for name in channels],
        source_format="created",
        source_files=[],
        conversion_history=[
            Conversion(
                tool="microtome",
                version=__version__,
                timestamp=new.created or datetime.now(UTC).isoformat(timespec="seconds"),
                parameters={"kind": new.kind, "labels_of": new.labels_of},
            )
        ],
    ).to_json()
