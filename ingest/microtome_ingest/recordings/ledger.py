"""What is done of a recording, and every object that it must have.

::

    layer/0/ledger/job.json         what is made of what, since before the first shard
    layer/0/ledger/units.json       how many units there are, for those who look on
    layer/0/ledger/done/NAME.json   while it is made: a unit that is done, its objects and facts
    layer/0/ledger/objects.json     once it is whole: all objects, their lengths and digests
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import xxhash

from microtome_core.errors import StorageError
from microtome_core.region import Region
from microtome_core.store.array import ArraySpec
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store
from microtome_core.store.shards import check_shard, digest

MANIFEST = f"{FOLDER}/job.json"
SEALED = f"{FOLDER}/objects.json"
_DONE = f"{FOLDER}/done"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object below the folder of a version.

    Parameters
    ----------
    key : str
    length : int
        Bytes.
    xxh3 : str
        Of 128 bits, in hexadecimal digits.
    """

    key: str
    length: int
    xxh3: str


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that was written.

    Parameters
    ----------
    name : str
    objects : tuple of Stored
    facts : dict
        JSON; what was learnt while it was written.
    """

    name: str
    objects: tuple[Stored, ...]
    facts: dict[str, Any]


def sealed_json(value: Any) -> bytes:  # noqa: ANN401 - JSON of any depth
    """Return JSON with its digest, by which damage is told."""
    body = json.dumps(value, allow_nan=False)
    return json.dumps({"xxh3": xxhash.xxh3_128_hexdigest(body.encode()), "body": body}).encode()


def unsealed_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - JSON of any depth
    """Read what `sealed_json` returns.

    Raises
    ------
    StorageError
        It is damaged.
    """
    try:
        told = json.loads(data)
        if xxhash.xxh3_128_hexdigest(told["body"].encode()) == told["xxh3"]:
            return json.loads(told["body"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(f"{where}: damaged: {error}") from error
    raise StorageError(f"{where}: damaged: its digest does not match")


def note_units(store: Store, folder: str, count: int) -> None:
    """Note how many units there are in all."""
    store.write(f"{folder}/{FOLDER}/units.json", json.dumps({"units": count}).encode())


def note(store: Store, folder: str, done: Done) -> None:
    """Note durably that a unit is done."""
    told = {
        "name": done.name,
        "objects": [[o.key, o.length, o.xxh3] for o in done.objects],
        "facts": done.facts,
    }
    store.write(f"{folder}/{_DONE}/{done.name.replace('/', '-')}.json", sealed_json(told))


def load_done(store: Store, folder: str) -> dict[str, Done]:
    """Return the units that are done and whose objects lie there, of the length they were of.

    Raises
    ------
    StorageError
        Storage failed, or a note is damaged.
    """
    there = {key.removeprefix(f"{folder}/"): size for key, size in store.sizes(folder)}
    found = {}
    for key in sorted(key for key in there if key.startswith(f"{_DONE}/") and ".json" in key):
        told = unsealed_json(store.read(f"{folder}/{key}") or b"", f"{store.url}/{folder}/{key}")
        objects = tuple(Stored(*each) for each in told["objects"])
        if all(there.get(each.key) == each.length for each in objects):
            found[told["name"]] = Done(told["name"], objects, told["facts"])
    return found


def forget_done(store: Store, folder: str) -> None:
    """Remove the notes of a recording whose ledger is sealed."""
    store.delete(f"{folder}/{_DONE}")


def seal(store: Store, folder: str, objects: Iterable[Stored]) -> None:
    """Write the finished ledger."""
    rows = sorted([each.key, each.length, each.xxh3] for each in objects)
    store.write(f"{folder}/{SEALED}", sealed_json(rows))


def load_sealed(store: Store, folder: str) -> dict[str, Stored]:
    """Return every object that a recording must have, by its key.

    Raises
    ------
    StorageError
        Storage failed, or the ledger is missing or damaged.
    """
    where = f"{store.url}/{folder}/{SEALED}"
    data = store.read(f"{folder}/{SEALED}")
    if data is None:
        raise StorageError(f"{where}: the ledger is missing")
    return {row[0]: Stored(*row) for row in unsealed_json(data, where)}


def put(store: Store, folder: str, key: str, content: bytes) -> Stored:
    """Write an object below the folder of a version."""
    store.write(f"{folder}/{key}", content)
    return Stored(key, len(content), xxhash.xxh3_128_hexdigest(content))


def shard_done(
    store: Store, folder: str, path: str, spec: ArraySpec, index: tuple[int, ...]
) -> Stored:
    """Read a shard back that was written: every checksum is compared, and it is digested.

    Raises
    ------
    StorageError
        It is not as it should be.
    """
    key = "/".join(map(str, (path, "c", *index)))
    start = tuple(i * edge for i, edge in zip(index, spec.shard, strict=True))
    ends = zip(start, spec.shard, spec.shape, strict=True)
    stop = tuple(min(low + edge, extent) for low, edge, extent in ends)
    chunks = spec.chunks_of(Region(spec.axes, start, stop))
    with store.open(f"{folder}/{key}") as stream:
        try:
            found = check_shard(stream, *chunks)
        except StorageError as error:
            raise StorageError(f"{store.url}/{folder}/{key}: {error}") from error
    return Stored(key, found.length, found.xxh3)


def object_digest(store: Store, path: str) -> tuple[int, str]:
    """Return length and digest of an object."""
    with store.open(path) as stream:
        found = digest(stream)
    return found.length, found.xxh3
