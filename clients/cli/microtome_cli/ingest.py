"""``microtome ingest SOURCE ROOT --as collection/dataset/layer``."""

import argparse
import os
from contextlib import closing

from microtome_cli.options import add_source_arguments, parse_bytes, source_options
from microtome_cli.progress import ProgressObserver
from microtome_core.axes import SPATIAL
from microtome_core.names import LayerId
from microtome_core.store.array import Codec
from microtome_core.store.location import StorageOptions, Store
from microtome_core.units import bytes_text
from microtome_ingest.extents import Extents
from microtome_ingest.formats import open_source
from microtome_ingest.job import IngestOptions, Outcome, ingest
from microtome_ingest.resolve import resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("source", help="file, folder or synthetic:// to convert")
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… to write below")
    parser.add_argument(
        "--as",
        dest="layer",
        required=True,
        metavar="COLLECTION/DATASET/LAYER",
        help="the layer to make",
    )
    add_source_arguments(parser)
    group = parser.add_argument_group("how it is stored")
    group.add_argument(
        "--kind",
        choices=("image", "labels"),
        default="image",
        help="labels hold the ids of objects and are never averaged (default image)",
    )
    group.add_argument(
        "--labels-of",
        metavar="IMAGE",
        help="layer of the same dataset to which these labels belong; they are stored below it",
    )
    group.add_argument("--chunk", metavar="N,N,N", help="voxels, or z=64,y=64,x=64")
    group.add_argument("--shard", metavar="N,N,N", help="voxels, a multiple of the chunk")
    group.add_argument(
        "--codec", default=str(Codec()), help="blosc-zstd, blosc-lz4, zstd or none, and :LEVEL"
    )
    group.add_argument("--levels", type=int, help="how many (default: until one fits a chunk)")
    group.add_argument("--memory", default="1GiB", help="bound of the voxels in flight")
    group.add_argument("--threads", type=int, help="reads in flight at most (default: one a core)")
    group.add_argument(
        "--restart", action="store_true", help="replace a layer that was made of something else"
    )
    group.add_argument(
        "--grace",
        type=float,
        default=IngestOptions().grace,
        metavar="SECONDS",
        help="how long the voxels of a replaced layer are kept (default 10)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print the layer that came of it."""
    layer_id = LayerId.parse(arguments.layer)
    options = _options(arguments)
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    with (
        closing(open_source(arguments.source, arguments.scene)) as source,
        ProgressObserver(str(layer_id)) as observer,
    ):
        resolution = resolve(source.description, source_options(arguments))
        outcome = ingest(source, resolution, store, layer_id, options, observer)
    for note in source.description.notes:
        print(f"note: {note}")
    print(_summary(outcome, store.url))
    return 0


def _options(arguments: argparse.Namespace) -> IngestOptions:
    return IngestOptions(
        kind=arguments.kind,
        labels_of=arguments.labels_of,
        chunk=Extents.parse(arguments.chunk) if arguments.chunk else None,
        shard=Extents.parse(arguments.shard) if arguments.shard else None,
        codec=Codec.parse(arguments.codec),
        levels=arguments.levels,
        memory=parse_bytes(arguments.memory),
        threads=arguments.threads,
        restart=arguments.restart,
        grace=arguments.grace,
    )


def _summary(outcome: Outcome, root: str) -> str:
    layer = outcome.layer
    shape = "×".join(map(str, layer.shape))
    verb = "wrote" if outcome.written else "nothing to do, the same is there:"
    sizes = zip(layer.axes, layer.levels[0].scale, strict=True)
    voxel = ",".join(f"{axis}={size:g}" for axis, size in sizes if axis in SPATIAL)
    unit = layer.units[-1] or "of unknown unit"
    return (
        f"{verb} {layer.id}: {layer.axes} {shape} {layer.dtype}, voxel {voxel} {unit}, "
        f"{bytes_text(layer.nbytes)}, {_count(len(layer.levels), 'level')}, below {root}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
