"""Making a recording of a folder of trials: not visible before it is whole, gone on with if ended.

Each unit of shards is noted durably when it is done; the same command does the others. The copy by
rows is made of what is stored, so the source is read once.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import tensorstore as ts
import xxhash

from microtome_core.errors import Conflict, InputError, StorageError
from microtome_core.names import LayerId
from microtome_core.store.annotations import FOLDER as ANNOTATIONS
from microtome_core.store.array import Codec, create_array
from microtome_core.store.layer import ensure_group, ensure_groups, find_layer, publish_layer
from microtome_core.store.location import Store
from microtome_core.store.record_changes import dataset_given, replayed
from microtome_core.store.recording import Recording
from microtome_core.store.recording_document import RecordingFacts
from microtome_core.store.recordings import RECORDING, read_recording
from microtome_ingest.carried import Carried, carry_history, fitting, said_of
from microtome_ingest.claim import Claim, Part
from microtome_ingest.files import check_unchanged, is_remote
from microtome_ingest.hashing import hash_file
from microtome_ingest.observer import Observer
from microtome_ingest.place import Place
from microtome_ingest.recordings.document import facts_of, record_of
from microtome_ingest.recordings.extras import keep_files, write_neurons, write_statistics
from microtome_ingest.recordings.ledger import (
    MANIFEST,
    Done,
    Stored,
    forget_done,
    load_done,
    note,
    note_units,
    object_digest,
    seal,
)
from microtome_ingest.recordings.manifest import (
    Manifest,
    changed,
    manifest_of,
    read_manifest,
    write_manifest,
)
from microtome_ingest.recordings.pieces import Kept
from microtome_ingest.recordings.place import FOLDERS, give_up, next_place, sweep
from microtome_ingest.recordings.plan import DataArray, plan_arrays
from microtome_ingest.recordings.survey import Survey
from microtome_ingest.recordings.write import Writer, kept_of, turned_name, turned_units

_MOST_THREADS = 8
_PACE = 5.0


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """How a recording is made.

    Parameters
    ----------
    codec : Codec, optional
        Of all arrays; by default what suits the values of each.
    threads : int, optional
        Units in flight; one more than cores by default.
    memory : int
        Bytes that all units in flight may hold.
    restart : bool
        Replace one of another source, or an unfinished one.
    grace : float
        Seconds for which what is replaced is kept.
    started : str, optional
        The time in its history instead of now.
    metadata : dict, optional
        What is said of it.
    """

    codec: Codec | None = None
    threads: int | None = None
    memory: int = 2 << 30
    restart: bool = False
    grace: float = 10.0
    started: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The recording as it is now, and whether it was written or was there already."""

    recording: Recording
    written: bool


def ingest_recording(
    survey: Survey,
    store: Store,
    layer_id: LayerId,
    options: RecordingOptions,
    observer: Observer,
) -> Outcome:
    """Make a recording. It is visible only once all of it is written.

    Raises
    ------
    InputError
        A name, options or metadata that cannot be; nothing was written.
    Conflict
        Another layer or recording of that name exists, or an unfinished one of another source; or
        another process is writing it.
    SourceError, StorageError
        Reading or writing failed on the way; what was done is kept for the next run.
    """
    path = str(layer_id)
    _check_name(store, layer_id, options)
    manifest = manifest_of(survey, path, str(options.codec or "chosen"), options.started)
    manifest = _with_given(_Job(survey, store, layer_id, options, observer, manifest))
    job = _Job(survey, store, layer_id, options, observer, manifest)
    while True:
        place, visible = next_place(store, path)
        if visible is not None and (there := job.compare(visible)) is not None:
            return there
        ensure_groups(store, layer_id.parent)
        if place.prefix:
            ensure_group(store, place.folder)
        with Claim(store, place.folder, Part()) as claim:
            # Another process may just have finished what this one was about to begin.
            if next_place(store, path) == (place, visible) and job.run(place, visible, claim):
                return Outcome(read_recording(store, layer_id), written=True)


def _with_given(job: "_Job") -> Manifest:
    """Return a manifest with what is said of the recording, before and now.

    What cannot be said is refused before anything is written.
    """
    carried = Carried()
    _, visible = next_place(job.store, str(job.layer_id))
    if job.options.restart and visible is not None:
        carried = said_of(job.store, visible, _given_to(job.store, visible))
    given = fitting(
        job.layer_id, carried.given, job.options.metadata or {}, lambda told: job.record(None, told)
    )
    return job.manifest.model_copy(update={"given": given, "carried": carried.notes})


def _given_to(store: Store, visible: Place) -> Sequence[Mapping[str, Any]]:
    """Return what the ingest of a version was given; nothing where its manifest is damaged."""
    try:
        there = read_manifest(store, visible.folder)
    except StorageError:
        store.read(f"{visible.folder}/{MANIFEST}")  # raises where it is storage that fails
        return ()
    return there.given if there else ()


def _check_name(store: Store, layer_id: LayerId, options: RecordingOptions) -> None:
    if layer_id.layer == ANNOTATIONS:
        raise InputError(f"{ANNOTATIONS} is where annotations lie: expected another name")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"threads {options.threads}: expected at least 1")
    if find_layer(store, layer_id) is not None:
        raise Conflict(f"{layer_id} is a layer of voxels, not a recording: choose another name")


@dataclass(frozen=True, slots=True)
class _Job:
    survey: Survey
    store: Store
    layer_id: LayerId
    options: RecordingOptions
    observer: Observer
    manifest: Manifest

    def compare(self, visible: Place) -> Outcome | None:
        """Accept a recording that exists if it is the one to be made; None to replace it."""
        try:
            recording = read_recording(self.store, self.layer_id)
            there = read_manifest(self.store, visible.folder)
        except StorageError:
            if self.options.restart:
                return None
            raise
        faults = ["it has no manifest"] if there is None else there.differences(self.manifest)
        if there is not None and not faults:
            odd = changed(self.survey, there, digests(recording.facts))
            faults = [f"{odd} has other bytes"] if odd else []
        if not faults:
            forget_done(self.store, visible.folder)
            return Outcome(recording, written=False)
        if self.options.restart:
            return None
        raise Conflict(
            f"recording {self.layer_id} exists and was made of another source or with other "
            f"settings ({'; '.join(faults)}): choose another name, or replace it with --restart"
        )

    def run(self, place: Place, visible: Place | None, claim: Claim) -> bool:
        """Write beside what is there, and show it; False where an unfinished one was given up."""
        done = self._begin(place)
        if done is None:
            return False
        with self.survey.tree.held():
            arrays = plan_arrays(self.survey, self.options.codec)
            objects, facts = self._write(place, arrays, done, claim)
        sha256 = self._hash_zip()
        check_unchanged(self.survey.stamps, self.store.options)
        claim.confirm()
        objects += self._documents(place)
        told = facts.to_json()
        seal(self.store, place.folder, [*objects, facts_object(told)])
        begun = read_manifest(self.store, place.folder) or self.manifest
        carry_history(self.store, visible, place, begun.carried)
        record = self.record(sha256, begun.given)
        attributes = {
            "nwb": replayed(self.store, place.folder, record),
            RECORDING: told,
            "microtome": {"version": place.prefix.rstrip("/")},
        }
        publish_layer(self.store, place.layer, attributes)
        forget_done(self.store, place.folder)
        self.store.sweep(place.layer)
        if visible is not None:
            time.sleep(self.options.grace)
            sweep(self.store, place)
        return True

    def _begin(self, place: Place) -> dict[str, Done] | None:
        """Return what is done of a version; None where an unfinished one was given up."""
        try:
            there = read_manifest(self.store, place.folder)
            done = load_done(self.store, place.folder) if there else {}
        except StorageError:
            if not self.options.restart:
                raise
            give_up(self.store, place)
            return None
        if there is None:
            begun = write_manifest(self.store, place.folder, self.manifest)
            return {} if begun else self._begin(place)
        if not self._goes_on(there, done):
            give_up(self.store, place)
            return None
        if done:
            self.observer.say("resume", f"goes on: {len(done)} units are done", units=len(done))
        self.store.sweep(place.folder)
        return done

    def _goes_on(self, there: Manifest, done: dict[str, Done]) -> bool:
        """Tell whether an unfinished version is of the same; of another only nothing is given up.

        Raises
        ------
        Conflict
        """
        faults = there.differences(self.manifest)
        if not faults and there.stamps != self.manifest.stamps:
            faults = ["files of the source were written since"]
        if faults and done and not self.options.restart:
            raise Conflict(
                f"an unfinished ingest of {self.layer_id} was begun from another source or with "
                f"other settings ({'; '.join(faults)}): go on with those, or begin anew with "
                "--restart"
            )
        return not faults

    def _write(
        self,
        place: Place,
        arrays: dict[str, tuple[DataArray, ...]],
        done: dict[str, Done],
        claim: Claim,
    ) -> tuple[list[Stored], RecordingFacts]:
        store, folder, survey = self.store, place.folder, self.survey
        writer = Writer(store, folder, survey, self._create(folder, arrays), claim.check)
        every = [data for several in arrays.values() for data in several]
        steps = [
            (unit.name, partial(writer.write, data, unit)) for data in every for unit in data.units
        ]
        turns = [
            (turned_name(data, *at), partial(writer.turn, data, data.turned, *at))
            for data in every
            if data.turned is not None
            for at in turned_units(data.turned)
        ]
        note_units(store, folder, len(steps) + len(turns))
        finished = self._do(place, steps, done, claim, "from the source", _needs(every))
        pieces: dict[str, dict[int, Kept]] = {group: {} for group in arrays}
        for data in every:
            for unit in data.units:
                pieces[data.group] |= kept_of(finished[unit.name].facts)
        finished |= self._do(place, turns, done, claim, "by rows", self.options.memory)
        files = keep_files(store, folder, survey)
        extras = [files, write_neurons(store, folder, survey, self.options.codec or Codec())]
        self.observer.say("statistics", "computes the statistics of the training tier")
        extras.append(write_statistics(store, folder, survey, arrays, pieces, files.files))
        objects = [o for one in finished.values() for o in one.objects]
        objects += [o for extra in extras for o in extra.objects]
        return objects, facts_of(survey, arrays, pieces, extras)

    def _create(
        self, folder: str, arrays: dict[str, tuple[DataArray, ...]]
    ) -> dict[str, ts.TensorStore]:
        """Create the arrays, or open those that are there."""
        for name in FOLDERS:
            ensure_group(self.store, f"{folder}/{name}")
        opened = {}
        for data in (one for several in arrays.values() for one in several):
            opened[data.path] = create_array(self.store, f"{folder}/{data.path}", data.spec)
            if data.turned is not None:
                path = data.turned_path
                opened[path] = create_array(self.store, f"{folder}/{path}", data.turned)
        return opened

    def _do(
        self,
        place: Place,
        steps: Sequence[tuple[str, Callable[[], Done]]],
        done: dict[str, Done],
        claim: Claim,
        words: str,
        needs: int,
    ) -> dict[str, Done]:
        """Do the steps that are not done, some at a time, and note each."""
        found = {name: done[name] for name, _ in steps if name in done}
        todo = [(name, step) for name, step in steps if name not in done]
        told = time.monotonic()
        for one in _each(todo, self._threads(needs)):
            claim.check()
            note(self.store, place.folder, one)
            found[one.name] = one
            if time.monotonic() - told > _PACE or len(found) == len(steps):
                told = time.monotonic()
                text = f"{len(found)} of {len(steps)} units written {words}"
                self.observer.say("progress", text, units=len(found), total=len(steps))
        return found

    def _threads(self, needs: int) -> int:
        wanted = self.options.threads or min((os.cpu_count() or 1) + 1, _MOST_THREADS)
        return max(1, min(wanted, self.options.memory // max(1, needs)))

    def _documents(self, place: Place) -> list[Stored]:
        """Digest the metadata of every array and group of the version."""
        folder = place.folder
        keys = [f"{name}/zarr.json" for name in FOLDERS]
        for name in ("data", "rows", "neurons"):
            found = self.store.children(f"{folder}/{name}")
            keys += [f"{name}/{array}/zarr.json" for array in found]
        return [Stored(key, *object_digest(self.store, f"{folder}/{key}")) for key in keys]

    def record(self, sha256: str | None, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return its record: the source's, with what is said of the dataset, then of it."""
        given = dataset_given(self.store, self.layer_id.parent), *told, self.options.metadata or {}
        return record_of(self.survey, self.manifest, sha256, given)

    def _hash_zip(self) -> str | None:
        path = self.survey.tree.path
        if is_remote(path) or self.survey.files.kind(path) != "file":
            return None
        return hash_file(path, Event())


def digests(facts: RecordingFacts) -> dict[str, str | None]:
    """Return the XXH3 of every file of the source, by its path below the folder."""
    found: dict[str, str | None] = {
        file.path.removeprefix("files/"): file.xxh3 for file in facts.files
    }
    for group, variable in facts.variables.items():
        for name, digest in zip(facts.names, variable.pieces.xxh3, strict=True):
            if digest is not None:
                found[f"data/{group}/{name}.npy"] = digest
    return found


def facts_object(told: dict[str, object]) -> Stored:
    """Return what the ledger says of the recording's own document."""
    body = json.dumps(told, sort_keys=True).encode()
    return Stored(f"zarr.json#{RECORDING}", len(body), xxhash.xxh3_128_hexdigest(body))


def _needs(arrays: Sequence[DataArray]) -> int:
    """Return the bytes that the largest unit holds: a shard, as written and as encoded, a trial."""
    largest = 0
    for data in arrays:
        itemsize = np.dtype(data.spec.dtype).itemsize
        lead = int(np.prod(data.spec.shape[:-1], dtype=np.int64)) * itemsize
        edge = min(data.spec.shard[-1], data.spec.shape[-1])
        largest = max(largest, lead * (2 * edge + max(data.lengths.values())))
    return largest


def _each(steps: Sequence[tuple[str, Callable[[], Done]]], threads: int) -> Iterator[Done]:
    """Yield what each step gives, in order, so many at a time."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    pending: deque[Future[Done]] = deque()
    try:
        for _, step in steps:
            pending.append(pool.submit(step))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
