"""Changing the record of a layer or recording, values untouched, and what is noted of each change.

::

    ROOT/collection/dataset/zarr.json            attributes.nwb: what is said of all its layers
    …/layer/zarr.json                            attributes.nwb: the record of the layer, whole
    …/layer/0/ledger/record/NAME.json            each change of it: who, when, old and new

A version that replaces another takes its notes along.

A change is noted before it is made, so that none is without its note, and the note is confirmed
after it. A note of a change that was never made says nothing. What is said of a dataset is written
into each of its layers, and into those that come: a layer tells all by itself.
"""

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from microtome_core.errors import (
    Conflict,
    InputError,
    MicrotomeError,
    NotFound,
    PreconditionFailed,
    StorageError,
)
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import ensure_groups, find_layer, label_names
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store
from microtome_core.store.record import SCHEMAS
from microtome_core.store.record_arrays import Arrays, arrays_for
from microtome_core.store.record_given import RecordRefused, check_given, merge, with_given
from microtome_core.store.recordings import is_recording
from microtome_core.store.versions import record_version

DATASET_SCHEMA = "microtome-dataset/1"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a record.

    Parameters
    ----------
    version : str
        Of the layer's metadata now, which is its `record_version`.
    changes : dict
        (old, new) by the path of each field that differs; None where there is none.
    """

    version: str
    changes: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class _Note:
    """What is noted of a change, in which folder, by which name."""

    folder: str
    name: str
    told: Mapping[str, Any]


class _Refused(Exception):
    """What is raised within an update, and is no failure of storage."""


def change_record(
    store: Store,
    layer_id: LayerId,
    given: Mapping[str, Any],
    who: Mapping[str, Any],
    versions: Iterable[str] | None = None,
) -> Change:
    """Lay what is given over the record of a layer. Of several at once none is lost.

    Parameters
    ----------
    given : dict
        As `with_given` takes it.
    who : dict
        JSON; noted with the change.
    versions : iterable of str, optional
        The layer's metadata must have one of these.

    Raises
    ------
    RecordRefused
        Nothing was written.
    NotFound
        No such layer.
    Conflict
        It was written by other software and has no record.
    PreconditionFailed
        The layer's metadata have another version.
    StorageError
    """
    path = _found(store, layer_id)
    allowed = None if versions is None else set(versions)
    arrays = arrays_for(store, layer_id, given)
    made = Change("", {})
    notes: list[_Note] = []

    def update(old: bytes | None) -> bytes:
        nonlocal made
        document = _document(store, path, layer_id, old)
        before = record_version(old or b"")
        if allowed is not None and before not in allowed:
            raise _Refused(PreconditionFailed(f"the record of {layer_id} has version {before} now"))
        data, changes = _changed(document, given, arrays)
        if not changes:
            made = Change(before, {})
            return old or b""
        made = Change(record_version(data), changes)
        facts = {**who, "before": before, "given": given}
        notes.append(_note(store, path, document, facts, made))
        return data

    try:
        store.update(f"{path}/zarr.json", update)
    except _Refused as refused:
        raise refused.args[0] from None
    finally:
        if notes:
            _settle(store, path, notes)
    return made


def change_dataset(
    store: Store, dataset: DatasetId, given: Mapping[str, Any], who: Mapping[str, Any]
) -> dict[LayerId, Change]:
    """Say something of all layers of a dataset, those to come included.

    Raises
    ------
    RecordRefused
        What is given cannot be said of a dataset, or of one of its layers; nothing was written.
    NotFound
        No such dataset.
    StorageError, Conflict
        Some layers may have been changed; the same may be said again.
    """
    told = check_given(given)
    if dataset.dataset not in store.children(dataset.collection):
        raise NotFound(f"no dataset {dataset}")
    found = [layer for layer in layers_of(store, dataset) if _has_record(store, layer)]
    for layer in found:
        _check(store, layer, told)
    ensure_groups(store, dataset)

    def update(old: bytes | None) -> bytes:
        document = json.loads(old or b"{}")
        kept = document.setdefault("attributes", {})
        kept["nwb"] = {**merge(kept.get("nwb", {}), told), "schema_id": DATASET_SCHEMA}
        return _dumped(document)

    store.update(f"{dataset}/zarr.json", update)
    return {layer: change_record(store, layer, told, who) for layer in found}


def dataset_given(store: Store, dataset: DatasetId) -> dict[str, Any]:
    """Return what was said of all layers of a dataset; empty if nothing was.

    Raises
    ------
    StorageError
    """
    path = f"{dataset}/zarr.json"
    try:
        told = json.loads(store.read(path) or b"{}").get("attributes", {}).get("nwb", {})
        own = told.get("schema_id") == DATASET_SCHEMA
        return {key: value for key, value in told.items() if key != "schema_id"} if own else {}
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{store.url}/{path}: {error}") from error


def layers_of(store: Store, dataset: DatasetId) -> list[LayerId]:
    """Return the layers of a dataset, labels and recordings included, sorted."""
    names = store.children(str(dataset))
    found = {*names, *(str(n) for name in names for n in label_names(store, f"{dataset}/{name}"))}
    ids = (_layer_id(dataset, name) for name in sorted(found))
    return [one for one in ids if one is not None and _find(store, one) is not None]


def history(store: Store, layer_id: LayerId) -> list[dict[str, Any]]:
    """Return every change of a layer's record, in order, with ``at``, ``who`` and ``changes``.

    Raises
    ------
    NotFound
        No such layer.
    StorageError
        Storage failed, or a note is damaged.
    """
    path = _found(store, layer_id)
    content = store.read(f"{path}/zarr.json") or b"{}"
    notes = _notes(store, _folder(path, json.loads(content)))
    return [_told(note) for note in _made(notes.values(), record_version(content))]


def replayed(store: Store, folder: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record anew as it was after all changes that were made to a layer's version.

    What was said of the version before, and carried into the record that is given, is left out.
    """
    for note in _made(_notes(store, _records(folder)).values()):
        if not note.get("carried"):
            record = with_given(record, note.get("given", {})).to_json()
    return record


def said_since(store: Store, path: str, folder: str) -> dict[str, Mapping[str, Any]]:
    """Return what each change gave that was made to a version since it was written, in order.

    Parameters
    ----------
    path, folder : str
        Of the layer and of the version.

    Returns
    -------
    dict
        By the name of its note.
    """
    found = _kept(store, path, folder)
    return {name: note.get("given", {}) for name, note in found.items() if not note.get("carried")}


def carry(store: Store, path: str, old: str, new: str, said: Iterable[str]) -> None:
    """Copy the history of a layer to the version that is to replace the one it has.

    Parameters
    ----------
    path, old, new : str
        Of the layer and of the two versions.
    said : iterable of str
        Names of the notes whose changes the new record has without being replayed.
    """
    names = set(said)
    for name, note in _kept(store, path, old).items():
        carried = {"carried": True} if name in names or note.get("carried") else {}
        store.write(f"{_records(new)}/{name}", _dumped({**_told(note), **carried}))


def _find(store: Store, layer_id: LayerId) -> str | None:
    """Return the folder of a layer or recording, or None."""
    path = find_layer(store, layer_id)
    return str(layer_id) if path is None and is_recording(store, layer_id) else path


def _found(store: Store, layer_id: LayerId) -> str:
    path = _find(store, layer_id)
    if path is None:
        raise NotFound(f"no layer {layer_id}")
    return path


def _document(store: Store, path: str, layer_id: LayerId, old: bytes | None) -> dict[str, Any]:
    if old is None:
        raise _Refused(NotFound(f"no layer {layer_id}"))
    try:
        document = json.loads(old)
        own = document["attributes"]["nwb"]["schema_id"] in SCHEMAS
    except (LookupError, TypeError):
        own = False
    except ValueError as error:
        raise StorageError(f"{store.url}/{path}/zarr.json: {error}") from error
    if not own:
        words = "was written by other software and has no record: ingest it to give it one"
        raise _Refused(Conflict(f"layer {layer_id} {words}"))
    return document  # type: ignore[no-any-return]


def _changed(
    document: dict[str, Any], given: Mapping[str, Any], arrays: Arrays | None
) -> tuple[bytes, dict[str, tuple[Any, Any]]]:
    """Return the new ``zarr.json``, and what is different in it."""
    old = document["attributes"]["nwb"]
    try:
        new = with_given(old, given, arrays).to_json()
    except MicrotomeError as error:
        raise _Refused(error) from error
    changes = differences(old, new)
    attributes = {**document["attributes"], "nwb": new}
    return _dumped({**document, "attributes": attributes}), changes


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Return (old, new) of each field that differs, by its path.

    >>> differences({"subject": {"age": "P1D"}, "lab": "A"}, {"subject": {"age": "P2D"}})
    {'subject.age': ('P1D', 'P2D'), 'lab': ('A', None)}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found |= differences(one, other, f"{path}{key}.")
        elif one != other and f"{path}{key}" != "schema_id":
            found[f"{path}{key}"] = one, other
    return found


def _note(
    store: Store, path: str, document: Mapping[str, Any], facts: Mapping[str, Any], made: Change
) -> _Note:
    """Note durably that a change is about to be made."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    told = {"at": at, **facts, "after": made.version, "changes": made.changes}
    folder = _folder(path, document)
    note = _Note(folder, f"{folder}/{time.time_ns():020d}-{secrets.token_hex(4)}.json", told)
    store.write(note.name, _dumped({**told, "made": False}))
    return note


def _settle(store: Store, path: str, notes: Iterable[_Note]) -> None:
    """Confirm the notes of changes that were made, and remove those of others.

    Where storage fails, they stay as they are: what follows tells which were made.
    """
    with suppress(StorageError):
        current = record_version(store.read(f"{path}/zarr.json") or b"")
        for note in notes:
            there = _notes(store, note.folder)
            if any(one is there.get(note.name) for one in _made(there.values(), current)):
                store.write(note.name, _dumped(note.told))
            else:
                store.remove(note.name)


def _notes(store: Store, folder: str) -> dict[str, dict[str, Any]]:
    """Return the notes in a folder by name, in order."""
    names = sorted(key for key, _ in store.sizes(folder) if key.endswith(".json"))
    try:
        return {name: json.loads(store.read(name) or b"{}") for name in names}
    except ValueError as error:
        raise StorageError(f"{store.url}/{folder}: a note is damaged: {error}") from error


def _made(notes: Iterable[dict[str, Any]], current: str = "") -> list[dict[str, Any]]:
    """Return the notes of changes that were made: confirmed, followed by another, or the last.

    Parameters
    ----------
    current : str
        Version of the metadata now; empty where they are lost.
    """
    listed = list(notes)
    known = {current, *(note.get("before") for note in listed)}
    return [note for note in listed if note.get("made", True) or note.get("after") in known]


def _kept(store: Store, path: str, folder: str) -> dict[str, dict[str, Any]]:
    """Return the notes of changes that were made to a version that is visible, by name alone."""
    notes = _notes(store, _records(folder))
    made = _made(notes.values(), record_version(store.read(f"{path}/zarr.json") or b""))
    kept = {id(note) for note in made}
    return {key.rpartition("/")[2]: note for key, note in notes.items() if id(note) in kept}


def _told(note: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in note.items() if key not in ("made", "carried")}


def _folder(path: str, document: Mapping[str, Any]) -> str:
    version = document.get("attributes", {}).get("microtome", {}).get("version", "")
    return _records(f"{path}/{version}".rstrip("/"))


def _records(folder: str) -> str:
    """Return where the notes of a version lie."""
    return f"{folder}/{FOLDER}/record"


def _check(store: Store, layer: LayerId, given: Mapping[str, Any]) -> None:
    """Return if something may be said of a layer; raises RecordRefused, which names the layer."""
    document = json.loads(store.read(f"{_found(store, layer)}/zarr.json") or b"{}")
    try:
        with_given(document["attributes"]["nwb"], given, arrays_for(store, layer, given))
    except RecordRefused as refused:
        raise RecordRefused([f"{layer}: {fault}" for fault in refused.faults]) from refused


def _has_record(store: Store, layer: LayerId) -> bool:
    document = json.loads(store.read(f"{_find(store, layer)}/zarr.json") or b"{}")
    record = document.get("attributes", {}).get("nwb")
    return isinstance(record, dict) and record.get("schema_id") in SCHEMAS


def _layer_id(dataset: DatasetId, name: str) -> LayerId | None:
    try:
        return LayerId(dataset.collection, dataset.dataset, name)
    except InputError:
        return None


def _dumped(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode()
