"""A recording against its ledger, and against the folder that it was made of."""

from collections.abc import Callable, Iterator

import numpy as np
import xxhash

from microtome_core.errors import InputError, StorageError
from microtome_core.names import LayerId
from microtome_core.store.leftovers import is_leftover
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.recording import Recording
from microtome_core.store.recordings import read_document, read_recording
from microtome_ingest.audit import Finding
from microtome_ingest.export.sensorium import file_bytes
from microtome_ingest.recordings.job import digests, facts_object
from microtome_ingest.recordings.ledger import (
    MANIFEST,
    SEALED,
    Stored,
    load_sealed,
    object_digest,
)
from microtome_ingest.recordings.survey import Survey
from microtome_ingest.verify import each

# Is told of each object that was read, and of its bytes.
Seen = Callable[[int], None]


def check_recording(store: Store, layer_id: LayerId, threads: int, seen: Seen) -> Iterator[Finding]:
    """Yield every object that is not as the ledger says, and those that should not be there.

    Raises
    ------
    NotFound
        No such recording.
    StorageError
        Storage failed.
    """
    try:
        recording = read_document(store, layer_id)
    except StorageError as error:
        yield Finding("zarr.json", "unreadable", str(error))
        return
    try:
        expected = load_sealed(store, recording.folder)
    except StorageError as error:
        if store.read(f"{layer_id}/zarr.json") is None:
            raise
        yield Finding(SEALED, "unreadable", str(error))
        return
    own = facts_object(recording.facts.to_json())
    if (told := expected.pop(own.key, None)) != own:
        detail = "is not in the ledger" if told is None else "is not what was written"
        yield Finding(own.key, "changed", detail)
    wrong = set()
    for found in _listed(store, recording.folder, expected):
        wrong.add(found.key)
        yield found
    todo = [stored for key, stored in expected.items() if key not in wrong]

    def compare(stored: Stored) -> Finding | None:
        return _compare(store, recording.folder, stored, seen)

    yield from (fault for fault in each(compare, todo, threads) if fault is not None)


def compare_source(
    store: Store, layer_id: LayerId, survey: Survey, threads: int, seen: Seen
) -> Iterator[Finding]:
    """Yield every file of the source that is another, and every array that does not give it back.

    The copy by rows is compared with the arrays, too.

    Raises
    ------
    InputError
        The source has other trials or variables.
    SourceError, StorageError
        Reading failed.
    """
    recording = read_recording(store, layer_id)
    known = digests(recording.facts)
    names = {survey.file(group, i) for group, heads in survey.groups.items() for i in heads}
    names |= set(survey.kept)
    if odd := sorted(names ^ set(known)):
        raise InputError(f"{survey.tree.path}: {odd[0]} is in one of source and recording alone")

    def look(name: str) -> Finding | None:
        content = survey.tree.content(name)
        seen(len(content))
        if xxhash.xxh3_128_hexdigest(content) != known[name]:
            return Finding(name, "differs", "the source's file has other bytes")
        return None

    with survey.tree.held():
        yield from (fault for fault in each(look, sorted(names), threads) if fault is not None)
    yield from _given_back(recording, threads)
    yield from _turned(recording)


def _listed(store: Store, folder: str, expected: dict[str, Stored]) -> Iterator[Finding]:
    """Yield what a listing of the version tells."""
    there = {key.removeprefix(f"{folder}/"): size for key, size in store.sizes(folder)}
    for key, stored in expected.items():
        size = there.get(key)
        if size is None:
            yield Finding(key, "missing", f"expected {stored.length} bytes")
        elif size != stored.length:
            fault = "changed" if size > stored.length else "truncated" if size else "empty"
            yield Finding(key, fault, f"{size} bytes, expected {stored.length}")  # type: ignore[arg-type]
    for key, size in there.items():
        ours = key.partition("/")[0] in ("data", "rows", "neurons", "files", "computed")
        if ours and key not in expected and not is_leftover(key):
            yield Finding(key, "extra", f"{size} bytes")


def _compare(store: Store, folder: str, stored: Stored, seen: Seen) -> Finding | None:
    try:
        length, xxh3 = object_digest(store, f"{folder}/{stored.key}")
    except StorageError as error:
        if store.read(f"{folder}/{MANIFEST}") is None:
            raise
        return Finding(stored.key, "unreadable", str(error))
    seen(length)
    if (length, xxh3) == (stored.length, stored.xxh3):
        return None
    return Finding(stored.key, "changed", f"XXH3 is {xxh3}, expected {stored.xxh3}")


def _given_back(recording: Recording, threads: int) -> Iterator[Finding]:
    """Yield the arrays of which the source's file does not come back."""
    pieces = [
        (trial, piece)
        for trial in recording.trials
        for piece in trial.pieces.values()
        if piece.array >= 0
    ]

    def look(number: int) -> Finding | None:
        trial, piece = pieces[number]
        try:
            file_bytes(recording, trial, piece)
        except StorageError as error:
            return Finding(f"data/{piece.variable}/{trial.name}.npy", "differs", str(error))
        return None

    found = each(look, range(len(pieces)), min(threads, 4))
    yield from (fault for fault in found if fault is not None)


def _turned(recording: Recording) -> Iterator[Finding]:
    """Yield the blocks in which the copy by rows is not the array."""
    for variable in recording.variables.values():
        for stored in variable.arrays:
            if stored.by_row is None:
                continue
            array, turned = recording.arrays[stored.path], recording.arrays[stored.by_row]
            rows, frames = turned.chunk_layout.write_chunk.shape or turned.shape
            for row in range(0, turned.shape[0], int(rows or 1)):
                for frame in range(0, turned.shape[1], int(frames or 1)):
                    box = (
                        slice(row, min(row + int(rows or 1), turned.shape[0])),
                        slice(frame, min(frame + int(frames or 1), turned.shape[1])),
                    )
                    with storage_errors(f"{recording.id}: {stored.by_row}"):
                        ours, theirs = (each[box].read().result() for each in (array, turned))
                    if np.asarray(ours).tobytes() != np.asarray(theirs).tobytes():
                        key = f"{stored.by_row}[{box[0].start}:, {box[1].start}:]"
                        yield Finding(key, "differs", f"from {stored.path}")
