"""``microtome ingest SOURCE ROOT --as collection/dataset/layer``."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from microtome_cli import recordings
from microtome_cli.engines import (
    add_engine_arguments,
    choose_engine,
    memory,
    parse_part,
    stoppable,
    view,
)
from microtome_cli.metadata import tell_anew
from microtome_cli.options import (
    ALL,
    add_host_argument,
    add_source_arguments,
    source_options,
    storage_options,
)
from microtome_cli.progress import ProgressObserver
from microtome_cli.skeletons import keep, skeletons_of
from microtome_core.axes import SPATIAL
from microtome_core.errors import InputError, InUse
from microtome_core.names import LayerId
from microtome_core.store.array import Codec
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.units import bytes_text
from microtome_core.wire import LayerInfo
from microtome_ingest.claim import Part
from microtome_ingest.describe import misfits
from microtome_ingest.extents import Extents
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.job import Outcome, ingest
from microtome_ingest.join import commit_last, is_ended
from microtome_ingest.metadata_file import read_metadata
from microtome_ingest.options import IngestOptions
from microtome_ingest.resolve import overruled, resolve
from microtome_ingest.source import Source

_COMMIT = "when all are, run microtome commit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_layer_arguments(parser, all_scenes=True)
    add_engine_arguments(parser)


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
    group = parser.add_argument_group("how it is stored")
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
    group.add_argument(
        "--grace",
        type=float,
        default=IngestOptions().grace,
        metavar="SECONDS",
        help="how long the voxels of a replaced layer are kept (default 10)",
    )
    add_host_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print each layer, or annotation, that came of it."""
    with stoppable():
        if paths := skeletons_of(arguments.source, storage_options(arguments)):
            keep(arguments, paths, started(os.environ))
            return 0
        if recordings.wanted(arguments):
            recordings.make(arguments, started(os.environ))
            return 0
        orders = list(_orders(arguments))
        if len(orders) > 1:
            # What one image leaves open is asked for before any other is written.
            for order in orders:
                with closing(_open(order)) as source:
                    resolve(source.description, source_options(order))
        for order in orders:
            _ingest(order)
    return 0


def _orders(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Yield the arguments for each layer: one, or with ``--scene all`` one an image."""
    if arguments.scene != ALL:
        yield arguments
        return
    for found in scenes(arguments.source, storage_options(arguments)):
        one = {"scene": found.index, "layer": f"{arguments.layer}-{found.index}"}
        yield argparse.Namespace(**{**vars(arguments), **one})


def _open(arguments: argparse.Namespace) -> Source:
    return open_source(arguments.source, arguments.scene, storage_options(arguments))


def _ingest(arguments: argparse.Namespace) -> None:
    layer_id = LayerId.parse(arguments.layer)
    options, part = _options(arguments), parse_part(arguments.array_index)
    store = Store(arguments.root, storage_options(arguments))
    with (
        closing(_open(arguments)) as source,
        ProgressObserver(str(layer_id), view(arguments, str(layer_id))) as observer,
    ):
        resolution = resolve(source.description, source_options(arguments))
        engine = choose_engine(arguments, options, resolution, observer)

        def write() -> Outcome:
            return ingest(source, resolution, store, layer_id, options, observer, engine, part)

        outcome = write() if part.count == 1 else _part(arguments, write, store, layer_id, observer)
        if outcome.layer is not None and not outcome.written and options.metadata:
            tell_anew(store, layer_id, options.metadata, observer)
            outcome = Outcome(read_layer(store, layer_id).info, written=False)
        for note in (*source.description.notes, *overruled(source.description, resolution.spec)):
            observer.result("note", f"note: {note}")
        if outcome.layer is not None and outcome.written:
            _tell_misfits(store, outcome.layer, observer)
        then = "the last of them joins them" if arguments.commit else _COMMIT
        say_outcome(observer, outcome, part, store.url, then)


def _part(
    arguments: argparse.Namespace,
    write: Callable[[], Outcome],
    store: Store,
    layer_id: LayerId,
    observer: ProgressObserver,
) -> Outcome:
    """Write a part and, with ``--commit``, join all if it was the last to end."""
    options, part = _options(arguments), parse_part(arguments.array_index)
    try:
        outcome = write()
    except InUse:
        # Begun again after it had ended: another part may be joining them all by now.
        if not (arguments.commit and is_ended(store, layer_id, part)):
            raise
        outcome = Outcome(None, written=True)
    if outcome.layer is None and arguments.commit:
        return commit_last(store, layer_id, part, options, observer) or outcome
    return outcome


def _tell_misfits(store: Store, image: LayerInfo, observer: ProgressObserver) -> None:
    """Say which labels still lie as the image did that was replaced."""
    for told in misfits(store, image):
        words = f"labels of {image.id} do not lie as it does any more: {told}; ingest them anew"
        observer.result("note", f"note: {words}")


def _options(arguments: argparse.Namespace) -> IngestOptions:
    metadata = read_metadata(arguments.metadata) if arguments.metadata else None
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


def say_outcome(
    observer: ProgressObserver, outcome: Outcome, part: Part, root: str, then: str = _COMMIT
) -> None:
    """Print what became of it."""
    if outcome.layer is None:
        text = f"part {part} is done; {then}"
        observer.result("part", text, index=part.index, count=part.count)
        return
    facts = {"written": outcome.written, "info": outcome.layer.to_json()}
    observer.result("done", summary(outcome.layer, root, written=outcome.written), **facts)


def summary(layer: LayerInfo, root: str, *, written: bool) -> str:
    """Return a layer in one line."""
    shape = "×".join(map(str, layer.shape))
    verb = "wrote" if written else "nothing to do, the same is there:"
    sizes = zip(layer.axes, layer.levels[0].scale, strict=True)
    voxel = ",".join(f"{axis}={size:g}" for axis, size in sizes if axis in SPATIAL)
    unit = layer.units[-1] or "of unknown unit"
    return (
        f"{verb} {layer.id}: {layer.axes} {shape} {layer.dtype}, voxel {voxel} {unit}, "
        f"{bytes_text(layer.nbytes)}, {_count(len(layer.levels), 'level')}, below {root}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
