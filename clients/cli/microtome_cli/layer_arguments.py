"""Arguments of a layer to be made: its source, its name, and how it is stored."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from microtome_cli import recordings
from microtome_cli.engines import add_grace_argument, memory
from microtome_cli.options import add_host_argument, add_source_arguments, storage_options
from microtome_core.errors import InputError
from microtome_core.store.array import Codec
from microtome_ingest.extents import Extents
from microtome_ingest.metadata_file import read_metadata
from microtome_ingest.options import IngestOptions


def add_layer_arguments(parser: argparse.ArgumentParser, *, all_scenes: bool) -> None:
    """Describe a source, the layer to be made of it, and how it is stored."""
    parser.add_argument("source", help="file, folder or synthetic:// to convert")
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… to write below")
    parser.add_argument(
        "--as",
        dest="layer",
        required=True,
        metavar="COLLECTION/DATASET/LAYER",
        help="the layer to make; of trials COLLECTION/DATASET means its layer recording",
    )
    add_source_arguments(parser, all_scenes=all_scenes)
    parser.add_argument(
        "--metadata",
        metavar="FILE",
        help="YAML or JSON: subject, session, dyes, license …, over what the source says; see "
        "microtome metadata template",
    )
    _add_storage(parser.add_argument_group("how it is stored"))
    add_host_argument(parser)


def _add_storage(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--kind",
        choices=("image", "labels", recordings.KIND),
        help="labels hold the ids of objects and are never averaged; a recording holds all arrays "
        "of a folder of trials (default image, of a folder of trials recording)",
    )
    group.add_argument(
        "--labels-of",
        metavar="IMAGE",
        help="layer of the same dataset to which these labels belong; they are stored below it",
    )
    group.add_argument("--chunk", metavar="N,N,N", help="voxels, or z=64,y=64,x=64")
    group.add_argument("--shard", metavar="N,N,N", help="voxels, a multiple of the chunk")
    group.add_argument(
        "--codec",
        help=f"blosc-zstd, blosc-lz4, zstd or none, and :LEVEL (default {Codec()})",
    )
    group.add_argument("--levels", type=int, help="how many (default: until one fits a chunk)")
    group.add_argument(
        "--restart",
        action="store_true",
        help="replace a layer, or an unfinished ingest, of another source or with other settings",
    )
    add_grace_argument(group)


def ingest_options(arguments: argparse.Namespace) -> IngestOptions:
    """Return all options of an ingest, by those and by `add_engine_arguments`."""
    given, options = arguments.metadata, storage_options(arguments)
    metadata = read_metadata(given, options) if given else None
    return replace(
        layer_options(arguments),
        memory=memory(arguments),
        threads=arguments.threads,
        metadata=metadata,
        started=started(os.environ),
    )


def layer_options(arguments: argparse.Namespace) -> IngestOptions:
    """Return how a layer is stored, by `add_layer_arguments`."""
    return IngestOptions(
        kind=arguments.kind or "image",
        labels_of=arguments.labels_of,
        chunk=Extents.parse(arguments.chunk) if arguments.chunk else None,
        shard=Extents.parse(arguments.shard) if arguments.shard else None,
        codec=Codec.parse(arguments.codec) if arguments.codec else Codec(),
        levels=arguments.levels,
        restart=arguments.restart,
        grace=arguments.grace,
        scene=arguments.scene,
    )


def started(environment: Mapping[str, str]) -> str | None:
    """Return the time that ``SOURCE_DATE_EPOCH`` sets where bytes are to be reproducible."""
    seconds = environment.get("SOURCE_DATE_EPOCH", "")
    if not seconds:
        return None
    if not seconds.isdigit() or len(seconds) > 11:
        raise InputError(f"SOURCE_DATE_EPOCH {seconds[:40]!r}: expected seconds since 1970")
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")
