"""Changing what is written down of resources: each change is one atomic write of one object.

What describes a resource is bounded: it lies in the ``zarr.json`` that every reader opens.
"""

import json
from collections.abc import Callable
from typing import Any

from microtome_core.errors import Conflict, MicrotomeError, NotFound, TooLarge
from microtome_core.names import DatasetId
from microtome_core.store.layer import ensure_group, ensure_groups
from microtome_core.store.location import Store
from microtome_service.bossdb.records import (
    KEY,
    ChannelRecord,
    ExperimentRecord,
    FrameRecord,
    ResourceRecord,
    attributes,
    frame_path,
    parsed,
    validated,
)

MOST_BYTES = 1 << 20
MOST_KEYS = 1000
Change = Callable[[ResourceRecord | None], ResourceRecord | None]


class _Refused(Exception):
    """Carries an error through what would take it for one of storage."""


def create_collection(store: Store, name: str, record: ResourceRecord) -> None:
    """Write a new collection down; Conflict where there is one. Blocks."""
    ensure_group(store, "")
    _change(store, name, ResourceRecord, _new(record, f"collection {name}"))


def create_experiment(store: Store, dataset: DatasetId, record: ExperimentRecord) -> None:
    """Write a new experiment down; Conflict where there is one. Blocks."""
    ensure_groups(store, dataset)
    _change(store, str(dataset), ExperimentRecord, _new(record, f"experiment {dataset}"))


def create_frame(store: Store, name: str, record: FrameRecord) -> None:
    """Write a new coordinate frame down; Conflict where there is another. Blocks."""
    if not store.create(frame_path(name), _dumped(record.model_dump(mode="json"))):
        raise Conflict(f"coordinate frame {name} exists")


def update_frame(store: Store, name: str, values: Callable[[FrameRecord], dict[str, Any]]) -> None:
    """Change fields of a frame that somebody created; NotFound if nobody did. Blocks."""
    path = frame_path(name)

    def change(old: bytes | None) -> bytes:
        if old is None:
            raise _Refused(NotFound(f"no coordinate frame {name} that was created"))
        record = validated(FrameRecord, parsed(old, path), path)
        kept = record.model_copy(update=values(record))
        return _dumped(kept.model_dump(mode="json"))

    _apply(store, path, change)


def delete_frame(store: Store, name: str) -> None:
    """Remove a frame that somebody created. Blocks."""
    store.remove(frame_path(name))


def update_resource(
    store: Store, collection: str, dataset: str | None, values: dict[str, Any]
) -> None:
    """Change fields of what is written down of a collection or a dataset. Blocks."""
    path = collection if dataset is None else f"{collection}/{dataset}"
    model = ResourceRecord if dataset is None else ExperimentRecord

    def change(record: ResourceRecord | None) -> ResourceRecord:
        return (record or model()).model_copy(update=values)

    _change(store, path, model, change)


def update_channel(
    store: Store, dataset: DatasetId, name: str, values: dict[str, Any] | None
) -> None:
    """Change fields of what is written down of a channel; None forgets it. Blocks."""

    def change(record: ResourceRecord | None) -> ResourceRecord:
        found = record if isinstance(record, ExperimentRecord) else ExperimentRecord()
        channels = dict(found.channels)
        old = channels.pop(name, None) or ChannelRecord()
        if values is not None:
            channels[name] = old.model_copy(update=values)
        return found.model_copy(update={"channels": channels})

    _change(store, str(dataset), ExperimentRecord, change)


def delete_resource(store: Store, path: str) -> None:
    """Remove a collection or a dataset in which nothing lies. Blocks.

    Raises
    ------
    Conflict
        Something lies in it.
    """
    if store.children(path):
        raise Conflict(f"{path} is not empty")
    store.remove(f"{path}/zarr.json")
    store.remove_empty(path)


def change_pairs(
    store: Store, place: tuple[str, ...], change: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    """Change the key-value pairs of a collection, a dataset or one of its channels. Blocks.

    Parameters
    ----------
    place : tuple of str
        Collection, dataset and channel, as many as there are.
    change : callable
        Returns the new pairs; what it raises goes to the caller.

    Raises
    ------
    TooLarge
        More than are kept.
    """

    def resource(record: ResourceRecord) -> ResourceRecord:
        pairs = change(dict(record.metadata))
        if len(pairs) > MOST_KEYS:
            raise _Refused(TooLarge(f"{len(pairs)} keys: a resource has {MOST_KEYS} at most"))
        return record.model_copy(update={"metadata": pairs})

    def dataset(record: ResourceRecord | None) -> ResourceRecord:
        found = record if isinstance(record, ExperimentRecord) else ExperimentRecord()
        if len(place) == 2:
            return resource(found)
        channels = dict(found.channels)
        old = channels.get(place[2], ChannelRecord())
        new = resource(old)
        channels[place[2]] = new if isinstance(new, ChannelRecord) else old
        return found.model_copy(update={"channels": channels})

    if len(place) == 1:
        _change(store, place[0], ResourceRecord, lambda old: resource(old or ResourceRecord()))
    else:
        _change(store, "/".join(place[:2]), ExperimentRecord, dataset)


def refused(error: MicrotomeError) -> Exception:
    """Return what `change` of `change_pairs` raises so that `error` reaches the caller."""
    return _Refused(error)


def _new(record: ResourceRecord, what: str) -> Change:
    def change(old: ResourceRecord | None) -> ResourceRecord:
        # The same again may be the repetition of a write whose answer was lost.
        if old not in (None, record):
            raise _Refused(Conflict(f"{what} exists"))
        return record

    return change


def _change(store: Store, path: str, model: type[ResourceRecord], change: Change) -> None:
    """Change the record in the ``zarr.json`` of a folder."""

    def update(old: bytes | None) -> bytes:
        document = parsed(old, path) if old else {"zarr_format": 3, "node_type": "group"}
        kept = attributes(old, path)
        record = validated(model, kept[KEY], path) if KEY in kept else None
        new = change(record)
        said = new.model_dump(mode="json", exclude_defaults=True) if new else {}
        if len(json.dumps(said)) > MOST_BYTES:
            raise _Refused(TooLarge(f"{path}: more than {MOST_BYTES} bytes of description"))
        return _dumped({**document, "attributes": {**kept, KEY: said}})

    _apply(store, f"{path}/zarr.json", update)


def _apply(store: Store, path: str, change: Callable[[bytes | None], bytes]) -> None:
    try:
        store.update(path, change)
    except _Refused as error:
        raise error.args[0] from None


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def reserve(
    store: Store, dataset: DatasetId, name: str, count: int, used: int, largest: int, token: str
) -> int:
    """Take `count` ids of a channel that nobody was given before, and return the first. Blocks.

    Parameters
    ----------
    used : int
        The largest id that is known to be in use.
    largest : int
        That the channel can hold.
    token : str
        Of the caller alone: two who ask at one time must not write the same.

    Raises
    ------
    Conflict
        There are not so many left.
    """
    first = [0]

    def change(record: ResourceRecord | None) -> ResourceRecord:
        found = record if isinstance(record, ExperimentRecord) else ExperimentRecord()
        old = found.channels.get(name, ChannelRecord())
        start = max(old.next_id, used + 1)
        if start + count - 1 > largest:
            raise _Refused(Conflict(f"{count} ids from {start} on: {largest} is the largest"))
        first[0] = start
        new = old.model_copy(update={"next_id": start + count, "reserved_by": token})
        return found.model_copy(update={"channels": {**found.channels, name: new}})

    _change(store, str(dataset), ExperimentRecord, change)
    return first[0]


def note_id(store: Store, dataset: DatasetId, name: str, used: int) -> None:
    """Reserve from beyond an id that is in use. Blocks."""

    def change(record: ResourceRecord | None) -> ResourceRecord:
        found = record if isinstance(record, ExperimentRecord) else ExperimentRecord()
        old = found.channels.get(name, ChannelRecord())
        new = old.model_copy(update={"next_id": max(old.next_id, used + 1)})
        return found.model_copy(update={"channels": {**found.channels, name: new}})

    _change(store, str(dataset), ExperimentRecord, change)
