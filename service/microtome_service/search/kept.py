"""Reading and writing the index of one store over a connection."""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection, bindparam, delete, insert, select, text, update

from microtome_service.search.facts import asked_term
from microtome_service.search.look import DatasetEntry
from microtome_service.search.tables import (
    DATASETS,
    GENERATIONS,
    LAYERS,
    STATE,
    TERMS,
    drop_words,
    is_sqlite,
    put_words,
)
from microtome_service.search.words import gathered

# Any number, the same in every version: writers of the index wait for each other.
_LOCK = 7_214_530_882
_AT_ONCE = 500
# What a column of whole numbers holds; a layer of few chunks may claim to be larger.
_MOST = 2**63 - 1
# Put together once: every search asks.
_GENERATION = select(GENERATIONS.c.generation).where(GENERATIONS.c.root == bindparam("root"))


@dataclass(frozen=True, slots=True)
class Looked:
    """The last time that every dataset of a store was looked at.

    Parameters
    ----------
    at : float
        When that began, in seconds since 1970.
    seconds : float
        How long it took.
    datasets : int
        How many there were.
    """

    at: float
    seconds: float
    datasets: int


def root_key(url: str) -> str:
    """Return by what the rows of a store are known: one database may hold several stores."""
    return sha256(url.encode("utf-8", "surrogateescape")).hexdigest()


def read_digests(connection: Connection, root: str) -> dict[str, str]:
    """Return the digest of every dataset that is kept, by ``collection/dataset``."""
    rows = connection.execute(select(DATASETS.c.place, DATASETS.c.digest).filter_by(root=root))
    return {row.place: row.digest for row in rows}


def read_looked(connection: Connection, root: str) -> Looked | None:
    """Return when all datasets were last looked at, or None if that never came to its end."""
    row = connection.execute(select(STATE).where(STATE.c.root == root)).first()
    return None if row is None else Looked(row.looked, row.seconds, row.datasets)


def read_generation(connection: Connection, root: str) -> str:
    """Return a word that is another one whenever rows have changed; empty if nobody wrote one."""
    return str(connection.execute(_GENERATION, {"root": root}).scalar() or "")


def note_looked(connection: Connection, root: str, looked: Looked) -> None:
    """Keep when all datasets were looked at."""
    _lock(connection)
    connection.execute(delete(STATE).where(STATE.c.root == root))
    row = insert(STATE).values(
        root=root, looked=looked.at, seconds=looked.seconds, datasets=looked.datasets
    )
    connection.execute(row)


def forget_looked(connection: Connection, root: str) -> None:
    """Let every dataset be looked at anew, whatever its digest."""
    _lock(connection)
    connection.execute(update(DATASETS).where(DATASETS.c.root == root).values(digest=""))
    connection.execute(delete(STATE).where(STATE.c.root == root))


def put(connection: Connection, root: str, entries: Sequence[DatasetEntry]) -> None:
    """Keep datasets as they are now, in place of what was kept of them."""
    if not entries:
        return
    drop(connection, root, [str(entry.id) for entry in entries])
    connection.execute(insert(DATASETS), [_row(root, entry) for entry in entries])
    places = [str(entry.id) for entry in entries]
    asked = select(DATASETS.c.place, DATASETS.c.key).filter_by(root=root)
    keys = {r.place: r.key for r in connection.execute(asked.where(DATASETS.c.place.in_(places)))}
    layers = [row for entry in entries for row in _layers(keys[str(entry.id)], entry)]
    terms = [row for entry in entries for row in _terms(keys[str(entry.id)], entry)]
    for table, rows in ((LAYERS, layers), (TERMS, terms)):
        if rows:
            connection.execute(insert(table), rows)
    put_words(connection, [{"key": keys[str(e.id)], "words": _words(e)} for e in entries])


def drop(connection: Connection, root: str, places: Iterable[str]) -> None:
    """Forget datasets."""
    if not (listed := list(places)):
        return
    _lock(connection)
    _renew(connection, root)
    for first in range(0, len(listed), _AT_ONCE):
        some = DATASETS.c.place.in_(listed[first : first + _AT_ONCE])
        asked = select(DATASETS.c.key).where(DATASETS.c.root == root, some)
        keys = list(connection.execute(asked).scalars())
        for table in (LAYERS, TERMS):
            connection.execute(delete(table).where(table.c.dataset.in_(keys)))
        drop_words(connection, keys)
        connection.execute(delete(DATASETS).where(DATASETS.c.key.in_(keys)))


def _renew(connection: Connection, root: str) -> None:
    """Let nobody take what they know of the rows for what is there now."""
    connection.execute(delete(GENERATIONS).where(GENERATIONS.c.root == root))
    row = {"root": root, "generation": secrets.token_hex(16)}
    connection.execute(insert(GENERATIONS).values(row))


def _lock(connection: Connection) -> None:
    """Wait until no other process writes; in SQLite the transaction itself does."""
    if not is_sqlite(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _row(root: str, entry: DatasetEntry) -> dict[str, object]:
    return {
        "root": root,
        "collection": entry.id.collection,
        "name": entry.id.dataset,
        "place": str(entry.id),
        "digest": entry.digest,
        "nbytes": min(_MOST, sum(layer.nbytes for layer in entry.layers)),
        "changed": max((layer.facts.changed for layer in entry.layers), default=""),
        "annotations": json.dumps(entry.annotations),
        "facets": json.dumps(_facets(entry)),
    }


def _layers(key: int, entry: DatasetEntry) -> Iterable[dict[str, object]]:
    for number, layer in enumerate(entry.layers):
        yield {
            "dataset": key,
            "number": number,
            "kind": layer.kind,
            "nbytes": min(_MOST, layer.nbytes),
            "summary": layer.summary,
        }


def _terms(key: int, entry: DatasetEntry) -> Iterable[dict[str, object]]:
    for number, layer in enumerate(entry.layers):
        for field, labels in layer.facts.values.items():
            for term in {asked_term(field, label) for label in labels}:
                yield {"dataset": key, "number": number, "field": field, "term": term}


def _facets(entry: DatasetEntry) -> list[tuple[str, str, str]]:
    """Return field, term and label of each value of a dataset; of a layer's labels the first."""
    found = set()
    for layer in entry.layers:
        for field, labels in layer.facts.values.items():
            named = {asked_term(field, label): label for label in reversed(labels)}
            found |= {(field, term, label) for term, label in named.items()}
    return sorted(found)


def _words(entry: DatasetEntry) -> str:
    return gathered(layer.facts.words for layer in entry.layers)
