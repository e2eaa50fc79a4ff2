"""A search: one page, how many there are, and how often each value occurs.

The database tells which datasets meet a condition, those of each condition once for as long as the
index stays as it is; what several conditions leave, and what of it is one page, is arithmetic of
masks with an entry a dataset. What a caller may see is a condition like any other, remembered by
what the rules say and never by who asks.
"""

import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, and_, bindparam, collate, func, or_, select
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.selectable import TextualSelect

from microtome_core.names import DatasetId
from microtome_service.auth.rules import Rules
from microtome_service.principal import Principal
from microtome_service.search.asked import SORTS, Asked, write_cursor
from microtome_service.search.counted import Counts, Terms, count, read_terms
from microtome_service.search.held import Held, Mask, Numbers
from microtome_service.search.kept import read_generation
from microtome_service.search.tables import DATASETS, LAYERS, TERMS, having_words, is_sqlite
from microtome_service.search.visible import digest_of, rights, visible
from microtome_service.search.words import words

# What may stand in a name; a word with anything else is in none.
_IN_NAMES = re.compile(r"[a-z0-9._/-]+")

Question = Select[Any] | TextualSelect

# Put together once: that takes longer than to run them.
_KEYS: BindParameter[int] = bindparam("keys", expanding=True)
_ROWS = select(
    DATASETS.c.key, DATASETS.c.annotations, DATASETS.c.collection, DATASETS.c.name,
    DATASETS.c.nbytes, DATASETS.c.changed,
).where(DATASETS.c.key.in_(_KEYS))  # fmt: skip
_SUMMARIES = (
    select(LAYERS.c.dataset, LAYERS.c.summary)
    .where(LAYERS.c.dataset.in_(_KEYS))
    .order_by(LAYERS.c.dataset, LAYERS.c.number)
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A dataset that was found.

    Parameters
    ----------
    id : DatasetId
    layers : tuple of str
        JSON, as `documents.short` made it.
    annotations : tuple of str
    """

    id: DatasetId
    layers: tuple[str, ...]
    annotations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found.

    Parameters
    ----------
    hits : tuple of Hit
    total : int
        All pages together.
    next : str or None
        Cursor of the page that follows.
    facets : dict, optional
        By field, values and how many of the datasets found have them, the most frequent first.
    """

    hits: tuple[Hit, ...]
    total: int
    next: str | None
    facets: Counts | None = None


def search(
    connection: Connection,
    root: str,
    asked: Asked,
    rules: Rules,
    principal: Principal,
    held: Held | None = None,
) -> Found:
    """Return what of the store `root` fits, and `principal` may see.

    Parameters
    ----------
    connection : Connection
        It shows the database as it was at one time.
    root : str
    asked : Asked
    rules : Rules
    principal : Principal
    held : Held, optional
        What this process remembers of that index.
    """
    index = _Index(connection, root, held or Held())
    fits = index.visible(rules, principal)
    for condition in index.conditions(asked):
        fits = fits & condition
    order = index.order(asked.sort)[index.start(asked) :]
    rows = order[fits[order]][asked.offset : asked.offset + asked.limit + 1]
    more, rows = len(rows) > asked.limit, rows[: asked.limit]
    hits, last = index.hits(rows, asked.sort)
    cursor = write_cursor(asked.sort, last) if more else None
    facets = count(index.terms(), fits) if asked.facets else None
    return Found(hits, int(fits.sum()), cursor, facets)


def prepare(connection: Connection, root: str, held: Held) -> None:
    """Read what the next question needs: of facets, if any were asked for of the index before."""
    counted = held.holds("terms")
    index = _Index(connection, root, held)
    index.order("name")
    if counted:
        index.terms()


class _Index:
    """The rows of one store, as masks and places in the order of their keys."""

    def __init__(self, connection: Connection, root: str, held: Held) -> None:
        self._connection, self._root, self._held = connection, root, held
        self._sqlite = is_sqlite(connection)
        self._generation = read_generation(connection, root)
        self._keys = self._array("keys", lambda: np.sort(self._ordered("name")))

    def visible(self, rules: Rules, principal: Principal) -> Mask:
        """Return which datasets a caller may see."""
        key = rights(self._held.digest(rules, digest_of), rules, principal)
        return self._mask(
            ("rights", *key), lambda: self._among(visible(rules, principal, self._sqlite))
        )

    def conditions(self, asked: Asked) -> Iterable[Mask]:
        """Yield for each condition which datasets meet it."""
        if asked.collection:
            own = DATASETS.c.collection == asked.collection
            yield self._mask(("collection", asked.collection), lambda: self._among(own))
        for word in asked.words:
            yield self._with_word(word)
        if asked.of_layers:
            sizes = asked.min_size, asked.max_size
            key = ("layers", tuple(sorted(asked.terms.items())), asked.kind, *sizes)
            yield self._mask(key, lambda: _having_layer(asked))

    def order(self, sort: str) -> Numbers:
        """Return the places of all datasets in an order."""
        return self._array(("order", sort), lambda: self._places(self._ordered(sort)))

    def start(self, asked: Asked) -> int:
        """Return how many datasets come no later than the cursor."""
        if not asked.after:
            return 0
        later = and_(*_after(_order(asked.sort, self._sqlite), asked.after))
        counted = select(func.count()).select_from(DATASETS).where(self._own(), later)
        return len(self._keys) - int(self._connection.execute(counted).scalar_one())

    def hits(self, places: Numbers, sort: str) -> tuple[tuple[Hit, ...], list[str | int]]:
        """Return the datasets at some places, and what the last of them is sorted by."""
        keys = self._keys[places].tolist()
        if not keys:
            return (), []
        rows = {row.key: row for row in self._connection.execute(_ROWS, {"keys": keys})}
        layers: dict[int, list[str]] = {key: [] for key in keys}
        for dataset, summary in self._connection.execute(_SUMMARIES, {"keys": keys}):
            layers[dataset].append(summary)
        last = rows[keys[-1]]
        first = [getattr(last, SORTS[sort][0])] if SORTS[sort][0] else []
        found = tuple(_hit(rows[key], layers[key]) for key in keys)
        return found, [*first, last.collection, last.name]

    def terms(self) -> Terms:
        """Return which datasets have which values."""
        return self._held.get(
            self._generation,
            "terms",
            lambda: read_terms(self._connection, self._root, self._places),
            lambda terms: terms.nbytes,
        )

    def _with_word(self, word: str) -> Mask:
        """Return which datasets have a word in their names, or that begins words of records."""
        parts = words(word)
        found = np.zeros(len(self._keys), bool)
        if _IN_NAMES.fullmatch(word):
            named = DATASETS.c.place.contains(word, autoescape=True)
            found = found | self._mask(("named", word), lambda: self._among(named))
        if parts:
            recorded = partial(having_words, self._sqlite, parts)
            found = found | self._mask(("words", *parts), recorded)
        return found

    def _own(self) -> ColumnElement[bool]:
        return DATASETS.c.root == self._root

    def _among(self, condition: ColumnElement[bool]) -> Select[Any]:
        return select(DATASETS.c.key).where(self._own(), condition)

    def _ordered(self, sort: str) -> Numbers:
        """Return the keys of all datasets in an order."""
        order = (c.desc() if falling else c for c, falling in _order(sort, self._sqlite))
        return self._column(select(DATASETS.c.key).where(self._own()).order_by(*order))

    def _mask(self, key: Hashable, asked: Callable[[], Question]) -> Mask:
        """Return which datasets are among the keys that a question finds, of whichever root."""
        return self._held.get(self._generation, key, lambda: self._found(asked()), _nbytes)

    def _found(self, asked: Question) -> Mask:
        mask = np.zeros(len(self._keys), bool)
        keys = self._column(asked)
        places = np.minimum(self._places(keys), len(mask) - 1) if len(mask) else keys[:0]
        mask[places[self._keys[places] == keys[: len(places)]]] = True
        return mask

    def _places(self, keys: Numbers) -> Numbers:
        return np.searchsorted(self._keys, keys)

    def _array(self, key: Hashable, make: Callable[[], Numbers]) -> Numbers:
        return self._held.get(self._generation, key, make, _nbytes)

    def _column(self, asked: Question) -> Numbers:
        rows = self._connection.execute(asked).all()
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def _nbytes(array: Mask | Numbers) -> int:
    return array.nbytes


def _hit(row: Row[*tuple[Any, ...]], layers: Iterable[str]) -> Hit:
    annotations = tuple(json.loads(row.annotations))
    return Hit(DatasetId(row.collection, row.name), tuple(layers), annotations)


def _having_layer(asked: Asked) -> Select[Any]:
    """Return a question for the keys of datasets of which one layer meets everything; of all roots.

    Each term is looked up by its own index, and those after the first by the key of a layer.
    """
    terms = [(TERMS.alias(), *term) for term in sorted(asked.terms.items())]
    tables = [table for table, _, _ in terms]
    if not terms or asked.kind or asked.min_size is not None or asked.max_size is not None:
        tables.append(LAYERS)
    question = select(tables[0].c.dataset)
    for table in tables[1:]:
        same = (table.c.dataset == tables[0].c.dataset, table.c.number == tables[0].c.number)
        question = question.where(*same)
    for table, field, term in terms:
        question = question.where(table.c.field == field, table.c.term == term)
    return question.where(*_of_layer(asked))


def _of_layer(asked: Asked) -> Iterable[ColumnElement[bool]]:
    if asked.kind:
        yield LAYERS.c.kind == asked.kind
    if asked.min_size is not None:
        yield LAYERS.c.nbytes >= asked.min_size
    if asked.max_size is not None:
        yield LAYERS.c.nbytes <= asked.max_size


def _order(sort: str, sqlite: bool) -> list[tuple[ColumnElement[Any], bool]]:
    """Return the columns that datasets are sorted by, and which of them fall."""
    column, falling = SORTS[sort]
    # Letter by letter, as Python does, whatever the language of the database.
    names = [c if sqlite else collate(c, "C") for c in (DATASETS.c.collection, DATASETS.c.name)]
    if not column:
        return [(name, falling) for name in names]
    first = DATASETS.c[column]
    own = first if sqlite or column == "nbytes" else collate(first, "C")
    return [(own, falling), *((name, False) for name in names)]


def _after(
    order: Sequence[tuple[ColumnElement[Any], bool]], values: Sequence[str | int]
) -> Iterable[ColumnElement[bool]]:
    """Return the condition to come after a dataset with these values."""
    choices: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for (column, falling), value in zip(order, values, strict=True):
        choices.append(and_(*equal, column < value if falling else column > value))
        equal.append(column == value)
    yield or_(*choices)
