"""``microtome verify ROOT COLLECTION/DATASET/LAYER``; without a layer all of them."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from math import prod
from threading import Lock
from time import monotonic

from microtome_cli import recordings
from microtome_cli.engines import add_work_arguments, memory, stoppable, view
from microtome_cli.main import DAMAGED
from microtome_cli.options import add_host_argument, storage_options
from microtome_cli.progress import Events, ProgressObserver
from microtome_cli.verify_all import verify_all
from microtome_core.errors import InputError, StorageError
from microtome_core.names import LayerId
from microtome_core.store.layer import Layer, find_layer
from microtome_core.store.ledger import Entry, Ledger
from microtome_core.store.live import Live
from microtome_core.store.location import Store
from microtome_core.store.notes import pending
from microtome_core.store.recordings import is_recording
from microtome_core.units import bytes_text
from microtome_ingest.audit import Finding
from microtome_ingest.budget import Budget, choose_budget, shard_bytes
from microtome_ingest.compare import check_source, compare_voxels, reader
from microtome_ingest.formats import open_source
from microtome_ingest.live import check_live, open_live
from microtome_ingest.manifest import MANIFEST
from microtome_ingest.observer import Observer
from microtome_ingest.plan import total_shards
from microtome_ingest.repair import repair
from microtome_ingest.target import Target, Unverifiable, open_target
from microtome_ingest.verify import LAYER, check_metadata, check_shards
from microtome_ingest.write import Readable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… in which the layer lies")
    parser.add_argument(
        "layer",
        metavar="COLLECTION/DATASET/LAYER",
        nargs="?",
        help="the layer to verify (default: every layer and recording of the root)",
    )
    parser.add_argument(
        "--source", help="what it was made of: compare every voxel of level 0, and of the others"
    )
    parser.add_argument(
        "--repair", action="store_true", help="mend what can be mended; level 0 needs --source"
    )
    add_host_argument(parser)
    add_work_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify, and tell by the exit code whether damage is left."""
    store = Store(arguments.root, storage_options(arguments))
    with stoppable():
        if arguments.layer is None:
            return verify_all(store, arguments, _verify_one)
        return DAMAGED if _verify_one(store, arguments.layer, arguments) else 0


def _verify_one(store: Store, name: str, arguments: argparse.Namespace) -> bool:
    """Verify a layer or a recording; return whether damage is left."""
    layer_id = recordings.layer_of(name)
    report = _Report(arguments, str(layer_id))
    if _is_of_trials(store, layer_id):
        _verify_recording(store, layer_id, arguments, report)
    else:
        if str(layer_id) != name:
            raise InputError(f"no recording in {name}: expected collection/dataset/layer")
        _verify_layer(store, layer_id, arguments, report)
    report.close()
    return bool(report.left)


def _verify_layer(
    store: Store, layer_id: LayerId, arguments: argparse.Namespace, report: "_Report"
) -> None:
    try:
        live = open_live(store, layer_id)
        target = open_target(store, layer_id) if live is None else None
    except Unverifiable as error:
        report.find(error.finding)
        return
    if target is not None:
        _verify(target, arguments, report)
    elif live is not None:
        _verify_live(*live, arguments, report)


def _is_of_trials(store: Store, layer_id: LayerId) -> bool:
    """Tell whether a recording is meant; by its folders where its document is damaged."""
    if is_recording(store, layer_id):
        return True
    try:
        find_layer(store, layer_id)
    except StorageError:
        return "data" in store.children(str(layer_id))
    return False


class _Report:
    """Prints what is found, and counts it."""

    def __init__(self, arguments: argparse.Namespace, title: str) -> None:
        self._arguments, self._title = arguments, title
        self._events = Events(title, sys.stdout) if arguments.json else None
        # While a bar is shown, rich lends standard output to it, which is wrong for a pipe.
        self._out = sys.stdout
        self._started = monotonic()
        self._found = self._mended = 0
        self.shards = self.bytes = self.compared = 0
        self.noun = "shards"
        self.left: dict[str, Finding] = {}

    def find(self, finding: Finding) -> None:
        """Tell of damage."""
        self._found += 1
        self.left[finding.key] = finding
        detail = " ".join(finding.detail.split())  # on one line, whatever storage says
        text = f"{finding.fault:<10}  {finding.key}  {detail}"
        self._print("finding", text, fault=finding.fault, key=finding.key, detail=detail)

    def mend(self, finding: Finding, reason: str) -> None:
        """Tell what became of damage."""
        if not reason:
            self._mended += 1
            del self.left[finding.key]
            self._print("repaired", f"{'repaired':<10}  {finding.key}", key=finding.key)
            return
        text = f"{'left':<10}  {finding.key}  {reason}"
        self._print("left", text, key=finding.key, detail=reason)

    def note(self, text: str) -> None:
        """Tell of something that is no damage."""
        self._print("note", f"note: {text}")

    def close(self) -> None:
        """Print the summary."""
        seconds = max(monotonic() - self._started, 1e-3)
        found = f"{self._found} {'finding' if self._found == 1 else 'findings'}"
        mended = f", {self._mended} repaired" if self._mended else ""
        compared = f", voxels of {self.compared} compared" if self.compared else ""
        text = (
            f"{self._title}: {self.shards} {self.noun}, {bytes_text(self.bytes)} "
            f"in {seconds:.1f} s ({bytes_text(self.bytes / seconds)}/s){compared}: "
            + (f"{found}{mended}" if self._found else "all right")
        )
        self._print(
            "done",
            text,
            shards=self.shards,
            bytes=self.bytes,
            compared=self.compared,
            seconds=round(seconds, 3),
            rate=round(self.bytes / seconds, 1),
            findings=self._found,
            repaired=self._mended,
            left=len(self.left),
        )

    @contextmanager
    def progress(self, target: Target) -> Iterator["_Tally"]:
        """Show how far one pass over all shards is."""
        with ProgressObserver(self._title, view(self._arguments, self._title)) as shown:
            shown.begin(target.plan, Ledger(target.ledger.grids))
            yield _Tally(shown)

    def _print(self, event: str, text: str, **facts: object) -> None:
        if self._events is not None:
            self._events.say(event, text, **facts)
        else:
            print(text, file=sys.stdout if self._out.isatty() else self._out, flush=True)


class _Tally(Observer):
    """Counts shards and their stored bytes, beside what shows progress."""

    def __init__(self, shown: Observer) -> None:
        self._shown, self._lock = shown, Lock()
        self.shards = self.bytes = 0

    def advance(self, entry: Entry, size: int) -> None:
        """Count a shard."""
        with self._lock:
            self.shards += 1
            self.bytes += entry.length
        self._shown.advance(entry, size)


def _verify(target: Target, arguments: argparse.Namespace, report: _Report) -> None:
    if arguments.threads is not None and arguments.threads < 1:
        raise InputError(f"--threads {arguments.threads}: expected at least 1")
    budget = choose_budget(memory(arguments), arguments.threads, shard_bytes(target.plan))
    if arguments.source is None:
        _check(target, budget, report)
        _repair(target, None, budget, arguments, report)
    else:
        _verify_with(target, budget, arguments, report)
    # What was found of a layer that was replaced meanwhile says nothing.
    if LAYER not in report.left:
        target.check_current()


def _verify_recording(
    store: Store, layer_id: LayerId, arguments: argparse.Namespace, report: _Report
) -> None:
    lock = Lock()

    def seen(length: int) -> None:
        with lock:
            report.shards += 1
            report.bytes += length

    report.noun = "objects"
    recordings.verify(store, layer_id, arguments, report.find, seen)


def _verify_live(layer: Layer, live: Live, arguments: argparse.Namespace, report: _Report) -> None:
    """Check a layer that may be written meanwhile."""
    if arguments.source is not None or arguments.repair:
        raise InputError(f"layer {layer.info.id} was created, not ingested: it has no source")

    def seen(length: int) -> None:
        report.shards += 1
        report.bytes += length

    shard = prod(layer.info.levels[0].shard) * layer.voxels[0].array.dtype.numpy_dtype.itemsize
    budget = choose_budget(memory(arguments), arguments.threads, shard)
    _tell(report, check_live(layer, live, budget.threads, seen))
    waiting = len(pending(live))
    if waiting:
        report.note(f"levels above have still to follow {waiting} of the writes")


def _verify_with(
    target: Target, budget: Budget, arguments: argparse.Namespace, report: _Report
) -> None:
    scene, options = target.manifest.source.scene, target.store.options
    with closing(open_source(arguments.source, scene, options)) as source:
        for note in check_source(target, source):
            report.note(note)
        _check(target, budget, report)
        _repair(target, reader(target, source), budget, arguments, report)
        _compare(target, reader(target, source), budget, report)


def _check(target: Target, budget: Budget, report: _Report) -> None:
    _tell(report, check_metadata(target))
    with report.progress(target) as tally:
        _tell(report, check_shards(target, budget.threads, tally))
    report.shards, report.bytes = tally.shards, tally.bytes


def _repair(
    target: Target,
    source: Readable | None,
    budget: Budget,
    arguments: argparse.Namespace,
    report: _Report,
) -> None:
    if not arguments.repair or not report.left:
        return
    with closing(repair(target, tuple(report.left.values()), source, budget)) as mendings:
        for mending in mendings:
            report.mend(mending.finding, mending.reason)


def _compare(target: Target, source: Readable, budget: Budget, report: _Report) -> None:
    if MANIFEST in report.left or any(key.endswith(f"/{LAYER}") for key in report.left):
        report.note("voxels were not compared, since the metadata of arrays is damaged")
        return
    wrong = frozenset(key for key, found in report.left.items() if found.fault != "extra")
    with report.progress(target) as tally:
        _tell(report, compare_voxels(target, source, wrong, budget, tally))
    report.compared, total = tally.shards, total_shards(target.plan)
    if tally.shards < total:
        report.note(f"{total - tally.shards} of {total} shards were not compared: they, or those "
                    "of which they were made, are damaged")  # fmt: skip


def _tell(report: _Report, findings: Iterable[Finding]) -> None:
    for finding in findings:
        report.find(finding)
