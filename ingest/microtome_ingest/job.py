"""One ingest, from a source to a visible layer; run again it goes on where it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from threading import Event

import numpy as np

from microtome_core.errors import Conflict, StorageError
from microtome_core.names import LayerId
from microtome_core.store.layer import ensure_group, ensure_groups, find_layer, read_layer
from microtome_core.store.ledger import FOLDER, Entry, Journal, Ledger, load_journal
from microtome_core.store.location import Store
from microtome_core.store.recordings import is_recording
from microtome_core.units import bytes_text
from microtome_core.wire import LayerInfo
from microtome_ingest.audit import reconcile
from microtome_ingest.budget import Budget, shard_bytes
from microtome_ingest.canonical import canonical_source
from microtome_ingest.claim import Claim, Part
from microtome_ingest.describe import describe, layer_path
from microtome_ingest.engine import Engine, Threads
from microtome_ingest.files import check_unchanged, is_remote
from microtome_ingest.hashing import hash_file
from microtome_ingest.manifest import Manifest, read_manifest, write_manifest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions
from microtome_ingest.origin import changed_files
from microtome_ingest.parts import note_ended, write_part
from microtome_ingest.place import Place, abandon, next_place, older, sweep
from microtome_ingest.publish import finish, tidy
from microtome_ingest.resolve import Resolution
from microtome_ingest.run import Run
from microtome_ingest.source import Source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ingest did.

    Parameters
    ----------
    layer : LayerInfo or None
        As it is now; None where other parts are still to be done.
    written : bool
        False where the very same was there already.
    """

    layer: LayerInfo | None
    written: bool


def ingest(
    source: Source,
    resolution: Resolution,
    store: Store,
    layer_id: LayerId,
    options: IngestOptions,
    observer: Observer,
    engine: Engine | None = None,
    part: Part | None = None,
) -> Outcome:
    """Convert a source into a layer. It is visible only once all of it is written.

    What an earlier run with the same settings has done is not done again. A layer that was made
    before of the same source with the same settings is left as it is.

    Parameters
    ----------
    source, resolution
        What is read, and as which axes.
    store, layer_id
        Where it goes.
    options : IngestOptions
    observer : Observer
    engine : Engine, optional
        Who does the work; threads of this process by default.
    part : Part, optional
        Which part of the finest levels to do; `commit` finishes a layer of several.

    Raises
    ------
    InputError
        The source or the options are at fault; nothing was written.
    Conflict
        Another layer of that name, or an unfinished one, exists and `options.restart` is not set;
        or another process is writing it.
    SourceError, StorageError
        Reading or writing failed on the way; nothing new is visible, what was stays, and what was
        done is kept for the next run.
    """
    engine, part = engine or Threads(), part or Part()
    job = _prepare(source, resolution, store, layer_id, options, observer, engine, part)
    while True:
        place, visible = next_place(store, job.path)
        if visible is not None and (there := job.compare(visible)) is not None:
            return there
        ensure_groups(store, layer_id.parent)
        if place.prefix:
            ensure_group(store, place.folder)
        with Claim(store, place.folder, part) as claim:
            # Another process may just have finished what this one was about to begin.
            if next_place(store, job.path) == (place, visible):
                outcome = job.run(place, visible, claim, engine)
                if outcome is not None:
                    return outcome


def check_ingest(
    source: Source,
    resolution: Resolution,
    store: Store,
    layer_id: LayerId,
    options: IngestOptions,
    engine: Engine | None = None,
) -> None:
    """Raise what `ingest` would before it begins to write.

    Raises
    ------
    InputError, Conflict, StorageError
    """
    engine = engine or Threads()
    job = _prepare(source, resolution, store, layer_id, options, Observer(), engine, Part())
    place, visible = next_place(store, job.path)
    if visible is None or job.compare(visible) is None:
        job.compare_begun(place)


def _prepare(
    source: Source,
    resolution: Resolution,
    store: Store,
    layer_id: LayerId,
    options: IngestOptions,
    observer: Observer,
    engine: Engine,
    part: Part,
) -> "_Job":
    path = layer_path(store, layer_id, resolution.spec, options)
    _check_place(store, layer_id, path)
    manifest = describe(source, resolution, store, layer_id, options)
    budget = engine.budget(options.memory, options.threads, shard_bytes(manifest.plan()))
    return _Job(
        source, resolution, store, layer_id, path, options, observer, manifest, budget, part
    )


@dataclass(frozen=True, slots=True)
class _Job:
    source: Source
    resolution: Resolution
    store: Store
    layer_id: LayerId
    path: str
    options: IngestOptions
    observer: Observer
    manifest: Manifest
    budget: Budget
    part: Part

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the source."""
        return self.source.description.files

    def compare(self, visible: Place) -> Outcome | None:
        """Accept a layer that exists if it is the one that this job would make; None to replace it.

        Raises
        ------
        Conflict
            It is another one, and the user has not said that it may be replaced.
        """
        try:
            layer = read_layer(self.store, self.layer_id).info
            there = read_manifest(self.store, visible.folder)
        except StorageError:
            if self.options.restart:
                return None  # damaged; the new version is made beside it
            raise
        hashes = {i: f.get("sha256") for i, f in enumerate(layer.attrs.get("source_files", []))}
        faults = ["it has no manifest"] if there is None else self._faults(there, hashes)
        if not faults:
            tidy_up(self.store, visible, self.part)
            return Outcome(layer, written=False)
        if self.options.restart:
            return None
        raise Conflict(
            f"layer {self.layer_id} exists and was made of another source or with other "
            f"settings ({'; '.join(faults)}): choose another name, or replace it with --restart"
        )

    def run(
        self, place: Place, visible: Place | None, claim: Claim, engine: Engine
    ) -> Outcome | None:
        """Write beside what is there, show it, and then remove what it replaces.

        None where an unfinished version was given up: begin the next one.
        """
        begun = self._begin(place)
        if begun is None:
            return None
        ledger, manifest = begun
        with Journal(self.store, place.folder, ledger, claim.writer) as journal:
            done = noting(claim, journal, self.observer)
            plan = manifest.plan(self.budget.batch_bytes)
            run = Run.open(self.store, place, plan, ledger, done, claim.check)
            self.observer.begin(run.plan, ledger)
            with _hashing(self._unhashed(ledger), self._hash, journal) as hashes:
                self._write(run, engine)
                self._tell_decoded()
                hashes.result()
            check_unchanged(self.source.stamps, self.store.options)
        if self.part.count > 1:
            note_ended(self.store, place.folder, self.part)
            return Outcome(None, written=True)
        claim.confirm()
        if visible and self.options.grace:
            words = f"the voxels that it replaces are kept for {self.options.grace:g} s"
            self.observer.say("grace", words, seconds=self.options.grace)
        finish(run, manifest, self.options.grace if visible else None)
        return Outcome(read_layer(self.store, self.layer_id).info, written=True)

    def _write(self, run: Run, engine: Engine) -> None:
        source = canonical_source(self.source, self.resolution)
        if self.part.count > 1:
            write_part(run, source, self.part, self.options.memory, self.options.threads)
        else:
            engine.run(run, source, self.budget)

    def _tell_decoded(self) -> None:
        """Say how much of the source was decoded here, with what its blocks held beside."""
        spec, decoded = self.resolution.spec, self.source.decoded
        whole = prod(spec.shape) * np.dtype(spec.dtype).itemsize
        if decoded:
            words = f"{bytes_text(decoded)} of {bytes_text(whole)}, {decoded / whole:.2f} times"
            facts = {"decoded_bytes": decoded, "source_bytes": whole}
            self.observer.say("source", f"decoded of the source: {words}", **facts)

    def _begin(self, place: Place) -> tuple[Ledger, Manifest] | None:
        """Return what is done already of a version, and what is being made of what.

        None where an unfinished one was given up, so that a new version is to be begun.
        """
        try:
            there = read_manifest(self.store, place.folder)
            ledger = self._resume(place, there) if there else None
        except StorageError:
            if not self.options.restart:
                raise
            there, ledger = self.manifest, None  # damaged: nothing to go on with
        if there and ledger:
            return ledger, there
        if there:
            abandon(self.store, place)
            return None
        if write_manifest(self.store, place.folder, self.manifest):
            return Ledger(self.manifest.plan().grids), self.manifest
        # Another part has begun at the same moment.
        return self._begin(place)

    def _resume(self, place: Place, there: Manifest) -> Ledger | None:
        """Return what was done of an unfinished ingest, or None where it is to be given up."""
        alone = self.part.count == 1
        ledger = self._known(place, there)
        if ledger is None:
            return None
        self.store.sweep(place.folder)
        lost = reconcile(self.store, place.folder, ledger) if alone else 0
        self.observer.resume(ledger, lost)
        return ledger

    def compare_begun(self, place: Place) -> None:
        """Raise Conflict if an unfinished ingest is of something else, as `run` would."""
        there = None if self.options.restart else read_manifest(self.store, place.folder)
        if there is not None:
            self._known(place, there)

    def _known(self, place: Place, there: Manifest) -> Ledger | None:
        """Return what an unfinished ingest has noted, None where it is to be given up."""
        ledger, alone = Ledger(there.plan().grids), self.part.count == 1
        load_journal(self.store, place.folder, ledger)
        faults = self._faults(there, ledger.files)
        if faults and alone and (self.options.restart or not ledger.known):
            return None
        if faults:
            how = "--restart" if alone else "--restart and without --array-index"
            raise Conflict(
                f"an unfinished ingest of {self.layer_id} was begun from another source or with "
                f"other settings ({'; '.join(faults)}): go on with those, or begin anew with {how}"
            )
        return ledger

    def _faults(self, there: Manifest, hashes: dict[int, str]) -> list[str]:
        """Return in words how this job differs from one that was begun or done."""
        now = {path: self.source.stamps[path] for path in self.files}
        return there.differences(self.manifest) or changed_files(there.source.files, now, hashes)

    def _hash(self, path: str, stop: Event) -> str:
        """Return the hash of a file that is, before and after, the one that was opened."""
        opened = {path: self.source.stamps[path]}
        check_unchanged(opened, self.store.options)
        digest = hash_file(path, stop)
        check_unchanged(opened, self.store.options)
        return digest

    def _unhashed(self, ledger: Ledger) -> dict[int, str]:
        """Return the files whose hashes this part is to find: those that are not far away."""
        return {
            number: path
            for number, path in enumerate(self.files)
            if number not in ledger.files and number % self.part.count == self.part.index
            if not is_remote(path)
        }


def noting(claim: Claim, journal: Journal, observer: Observer) -> Callable[[Entry, int], None]:
    """Return what notes a shard that is done, as long as the claim holds."""

    def done(entry: Entry, size: int) -> None:
        claim.check()
        journal.add(entry)
        observer.advance(entry, size)

    return done


def tidy_up(store: Store, visible: Place, part: Part) -> None:
    """Remove what a process that died after publishing has left: its notes and older versions."""
    if not store.children(f"{visible.folder}/{FOLDER}") and not older(store, visible):
        return
    try:
        with Claim(store, visible.folder, part):
            tidy(store, visible)
            sweep(store, visible)
    except Conflict:
        return  # the process that has just published it lives, and does so itself


def _check_place(store: Store, layer_id: LayerId, path: str) -> None:
    """Refuse a name that a layer has which lies elsewhere, or a recording."""
    if is_recording(store, layer_id):
        raise Conflict(f"{layer_id} is a recording: choose another name")
    found = find_layer(store, layer_id)
    if found not in (None, path):
        raise Conflict(f"layer {layer_id} exists in {found}, not in {path}: choose another name")


@contextmanager
def _hashing(
    files: dict[int, str], hashed: Callable[[str, Event], str], journal: Journal
) -> Iterator[Future[None]]:
    """Hash files beside what is done meanwhile, so that both read them from the page cache once."""
    stop = Event()

    def work() -> None:
        for number, path in files.items():
            journal.add_file(number, hashed(path, stop))

    pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
    try:
        yield pool.submit(work)
    finally:
        stop.set()
        pool.shutdown()
