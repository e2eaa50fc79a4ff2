"""From arguments to layers: what ``ingest`` and ``ingest-table`` do with each source."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from microtome_cli import recordings, skeletons
from microtome_cli.engines import choose_engine, parse_part, view
from microtome_cli.layer_arguments import ingest_options, layer_options, started
from microtome_cli.metadata import tell_anew
from microtome_cli.options import ALL, source_options, storage_options
from microtome_cli.progress import ProgressObserver
from microtome_core.axes import SPATIAL
from microtome_core.errors import InUse
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.units import bytes_text
from microtome_core.wire import LayerInfo
from microtome_ingest.claim import Part
from microtome_ingest.describe import misfits, plan_ingest
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.job import Outcome, check_ingest, ingest
from microtome_ingest.join import commit_last, is_ended
from microtome_ingest.observer import Observer
from microtome_ingest.resolve import overruled, resolve
from microtome_ingest.source import Source

_COMMIT = "when all are, run microtome commit"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one order.

    Parameters
    ----------
    layer : str
    written : bool
        False where the same was there.
    what : str
        In a few words.
    nbytes : int
        Of its voxels; 0 where it has none.
    """

    layer: str
    written: bool
    what: str = ""
    nbytes: int = 0


def convert(arguments: argparse.Namespace) -> list[Made]:
    """Make each layer, recording or annotation that is asked for, and print what came of it."""
    if paths := skeletons.skeletons_of(arguments.source, storage_options(arguments)):
        new = skeletons.keep(arguments, paths, started(os.environ))
        return [Made(name, written, "skeleton") for name, written in new]
    if recordings.wanted(arguments):
        written, what = recordings.make(arguments, started(os.environ))
        return [Made(str(recordings.layer_of(arguments.layer)), written, what)]
    orders = list(orders_of(arguments))
    if len(orders) > 1:
        # What one image leaves open is asked for before any other is written.
        for order in orders:
            with closing(_open(order)) as source:
                resolve(source.description, source_options(order))
    return [_ingest(order) for order in orders]


def check(arguments: argparse.Namespace, *, alone: bool = True) -> None:
    """Look at a source and its options without writing anything.

    `alone`: False where the image that these labels belong to is still to be made.

    Raises
    ------
    MicrotomeError
        What `convert` would raise before it begins to write.
    """
    if paths := skeletons.skeletons_of(arguments.source, storage_options(arguments)):
        skeletons.checked(arguments, paths, started(os.environ))
        return
    if recordings.wanted(arguments):
        recordings.check(arguments)
        return
    for order in orders_of(arguments):
        layer_id, options = LayerId.parse(order.layer), ingest_options(order)
        with closing(_open(order)) as source:
            resolution = resolve(source.description, source_options(order))
            if alone:
                store = Store(order.root, storage_options(order))
                engine = choose_engine(order, options, resolution, Observer())
                check_ingest(source, resolution, store, layer_id, options, engine)
            else:
                plan_ingest(resolution.spec, layer_options(order))


def orders_of(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Yield the arguments for each layer: one, or with ``--scene all`` one an image."""
    if arguments.scene != ALL:
        yield arguments
        return
    for found in scenes(arguments.source, storage_options(arguments)):
        one = {"scene": found.index, "layer": f"{arguments.layer}-{found.index}"}
        yield argparse.Namespace(**{**vars(arguments), **one})


def _open(arguments: argparse.Namespace) -> Source:
    return open_source(arguments.source, arguments.scene, storage_options(arguments))


def _ingest(arguments: argparse.Namespace) -> Made:
    layer_id = LayerId.parse(arguments.layer)
    options, part = ingest_options(arguments), parse_part(arguments.array_index)
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
    return _made(layer_id, outcome)


def _part(
    arguments: argparse.Namespace,
    write: Callable[[], Outcome],
    store: Store,
    layer_id: LayerId,
    observer: ProgressObserver,
) -> Outcome:
    """Write a part and, with ``--commit``, join all if it was the last to end."""
    options, part = ingest_options(arguments), parse_part(arguments.array_index)
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


def _made(layer_id: LayerId, outcome: Outcome) -> Made:
    layer = outcome.layer
    if layer is None:
        return Made(str(layer_id), outcome.written, "a part of it")
    shape = "×".join(map(str, layer.shape))
    return Made(str(layer_id), outcome.written, f"{layer.axes} {shape} {layer.dtype}", layer.nbytes)


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
