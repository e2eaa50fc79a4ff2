"""``microtome create ROOT --as COLLECTION/DATASET/LAYER``: an empty layer that can be written."""

import argparse
import os
from dataclasses import replace

import numpy as np

from microtome_core.axes import check_axes, spatial
from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.store.array import Codec
from microtome_core.store.create import NewLayer, create_layer, labels_like
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.units import bytes_text, unit_name
from microtome_core.wire import LayerInfo
from microtome_ingest.answers import parse_voxel_size, voxel_size_by_axis
from microtome_ingest.extents import Extents

_OF_SHAPE = ("axes", "shape", "voxel_size", "unit", "time_step")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… in which layers lie")
    parser.add_argument(
        "--as", dest="layer", required=True, metavar="COLLECTION/DATASET/LAYER", help="its address"
    )
    parser.add_argument(
        "--labels-of", metavar="IMAGE", help="labels of this image of the same dataset, of its size"
    )
    parser.add_argument(
        "--like", metavar="COLLECTION/DATASET/LAYER", help="of the size of another layer"
    )
    parser.add_argument("--axes", help="letters of tczyx in that order, such as zyx")
    parser.add_argument("--shape", metavar="N,N,N", help="voxels along each axis, or z=N,y=N,x=N")
    parser.add_argument("--voxel-size", metavar="SIZE", help="z=2,y=0.5,x=0.5 or numbers in order")
    parser.add_argument("--unit", help="unit of the voxel size (default micrometer)")
    parser.add_argument("--time-step", type=float, metavar="SECONDS", help="between time points")
    parser.add_argument(
        "--dtype", help="type of a voxel, such as uint64 (default: that of --like, else uint64)"
    )
    parser.add_argument(
        "--kind",
        choices=("labels", "image"),
        help="levels above by mode, or by mean (default labels)",
    )
    parser.add_argument("--channels", metavar="NAMES", help="of an image; comma-separated")
    parser.add_argument("--chunk", metavar="N,N,N", help="voxels of a chunk, even numbers")
    parser.add_argument("--shard", metavar="N,N,N", help="voxels of a stored object")
    parser.add_argument("--codec", default="blosc-zstd:3", help="compression (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Create it and say what it is."""
    layer_id = LayerId.parse(arguments.layer)
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    create_layer(store, layer_id, _described(store, layer_id, arguments))
    info = read_layer(store, layer_id).info
    shape = _times(info.shape)
    print(
        f"{layer_id}: {info.kind}, {info.axes} {shape}, {info.dtype}, {_levels(info)}; "
        f"empty and writable ({bytes_text(info.nbytes)} of voxels, "
        f"chunks {_times(info.levels[0].chunk)}, shards {_times(info.levels[0].shard)})"
    )
    return 0


def _levels(info: LayerInfo) -> str:
    count = len(info.levels)
    return f"{count} level" if count == 1 else f"{count} levels"


def _described(store: Store, layer_id: LayerId, arguments: argparse.Namespace) -> NewLayer:
    model = _model(store, layer_id, arguments)
    new = _of_words(arguments) if model is None else _of_model(model, arguments)
    return replace(
        new,
        chunk=_along(new.axes, arguments.chunk, "--chunk"),
        shard=_along(new.axes, arguments.shard, "--shard"),
        codec=Codec.parse(arguments.codec),
        channels=_words(arguments.channels),
    )


def _model(store: Store, layer_id: LayerId, arguments: argparse.Namespace) -> LayerInfo | None:
    if arguments.labels_of is None and arguments.like is None:
        return None
    if arguments.labels_of is not None and arguments.like is not None:
        raise InputError("--labels-of and --like: expected one of the two")
    for name in _OF_SHAPE:
        if getattr(arguments, name) is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: the size is that of the other layer; leave it out")
    if arguments.like is not None:
        return read_layer(store, LayerId.parse(arguments.like)).info
    parent = layer_id.parent
    image = LayerId(parent.collection, parent.dataset, arguments.labels_of)
    return read_layer(store, image).info


def _of_model(model: LayerInfo, arguments: argparse.Namespace) -> NewLayer:
    kind = arguments.kind or "labels"
    if arguments.labels_of is not None:
        if kind != "labels":
            raise InputError("--kind image: only labels belong to an image")
        return labels_like(model, arguments.dtype or "uint64")
    if kind == "labels":
        integer = np.dtype(model.dtype).kind in "iu"
        dtype = arguments.dtype or (model.dtype if model.kind == "labels" and integer else "uint64")
        return replace(labels_like(model, dtype), labels_of=None)
    dtype = arguments.dtype or model.dtype
    return NewLayer(model.axes, model.shape, dtype, model.levels[0].scale, model.units, "image")


def _of_words(arguments: argparse.Namespace) -> NewLayer:
    if not arguments.axes or not arguments.shape or not arguments.voxel_size:
        raise InputError(
            "--axes, --shape and --voxel-size are needed, such as --axes zyx --shape 100,512,512 "
            "--voxel-size 2,0.5,0.5; or --labels-of, or --like"
        )
    axes = check_axes(arguments.axes)
    shape = Extents.parse(arguments.shape).along(axes, "--shape")
    sizes = voxel_size_by_axis(parse_voxel_size(arguments.voxel_size), spatial(axes))
    missing = [axis for axis in spatial(axes) if axis not in sizes]
    if missing:
        raise InputError(f"--voxel-size {arguments.voxel_size}: {missing[0]} is missing")
    unit = unit_name(arguments.unit or "micrometer")
    step = arguments.time_step
    units = {"c": None, "t": "second" if step else None}
    scale = {"c": 1.0, "t": step or 1.0, **sizes}
    return NewLayer(
        axes,
        shape,
        arguments.dtype or "uint64",
        tuple(scale[axis] for axis in axes),
        tuple(units.get(axis, unit) for axis in axes),
        arguments.kind or "labels",
    )


def _along(axes: str, text: str | None, option: str) -> tuple[int, ...] | None:
    return Extents.parse(text).along(axes, option) if text else None


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",")) if text else ()


def _times(extents: tuple[int, ...]) -> str:
    return "×".join(map(str, extents))
