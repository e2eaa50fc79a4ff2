"""A search as SQL: one page, how many there are, and how often each value occurs."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, collate, false, func, or_, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from microtome_core.names import DatasetId
from microtome_service.auth.rules import Rules
from microtome_service.principal import Principal
from microtome_service.search.asked import SORTS, Asked, write_cursor
from microtome_service.search.facts import FIELDS
from microtome_service.search.tables import DATASETS, LAYERS, TERMS, has_words, is_sqlite
from microtome_service.search.visible import visible
from microtome_service.search.words import words

# What may stand in a name; a word with anything else is in none.
_IN_NAMES = re.compile(r"[a-z0-9._/-]+")
_MOST_VALUES = 100

Counts = dict[str, tuple[tuple[str, int], ...]]


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
    connection: Connection, root: str, asked: Asked, rules: Rules, principal: Principal
) -> Found:
    """Return what of the store `root` fits, and `principal` may see."""
    sqlite = is_sqlite(connection)
    fits = and_(
        DATASETS.c.root == root, visible(rules, principal, sqlite), *_conditions(asked, sqlite)
    )
    total = connection.execute(select(func.count()).select_from(DATASETS).where(fits)).scalar_one()
    order = _order(asked.sort, sqlite)
    columns = (DATASETS.c.key, DATASETS.c.annotations, *(column for column, _ in order))
    page = select(*columns).where(fits, *_after(order, asked.after))
    page = page.order_by(*(c.desc() if falling else c for c, falling in order))
    rows = connection.execute(page.limit(asked.limit + 1).offset(asked.offset)).all()
    more, rows = len(rows) > asked.limit, rows[: asked.limit]
    cursor = write_cursor(asked.sort, list(rows[-1][2:])) if more else None
    facets = _facets(connection, fits) if asked.facets else None
    return Found(tuple(_hits(connection, rows)), total, cursor, facets)


def _conditions(asked: Asked, sqlite: bool) -> Iterable[ColumnElement[bool]]:
    if asked.collection:
        yield DATASETS.c.collection == asked.collection
    for word in asked.words:
        yield _has_word(word, sqlite)
    if asked.of_layers:
        yield DATASETS.c.key.in_(select(LAYERS.c.dataset).where(*_of_layer(asked)))


def _has_word(word: str, sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a word is in a dataset's name, or begins words of its records."""
    parts = words(word)
    named = bool(_IN_NAMES.fullmatch(word))
    within = [DATASETS.c.place.contains(word, autoescape=True)] if named else []
    recorded = [has_words(sqlite, parts)] if parts else []
    return or_(false(), *within, *recorded)


def _of_layer(asked: Asked) -> Iterable[ColumnElement[bool]]:
    if asked.kind:
        yield LAYERS.c.kind == asked.kind
    if asked.min_size is not None:
        yield LAYERS.c.nbytes >= asked.min_size
    if asked.max_size is not None:
        yield LAYERS.c.nbytes <= asked.max_size
    for field, term in asked.terms.items():
        having = select(TERMS.c.dataset, TERMS.c.number).where(
            TERMS.c.field == field, TERMS.c.term == term
        )
        yield tuple_(LAYERS.c.dataset, LAYERS.c.number).in_(having)


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
    if not values:
        return
    choices: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for (column, falling), value in zip(order, values, strict=True):
        choices.append(and_(*equal, column < value if falling else column > value))
        equal.append(column == value)
    yield or_(*choices)


def _hits(connection: Connection, rows: Sequence[Row[Any]]) -> Iterable[Hit]:
    keys = [row.key for row in rows]
    asked = select(LAYERS.c.dataset, LAYERS.c.summary).where(LAYERS.c.dataset.in_(keys))
    layers: dict[int, list[str]] = {key: [] for key in keys}
    for layer in connection.execute(asked.order_by(LAYERS.c.dataset, LAYERS.c.number)):
        layers[layer.dataset].append(layer.summary)
    for row in rows:
        values: list[Any] = list(row)
        dataset = DatasetId(values[-2], values[-1])
        yield Hit(dataset, tuple(layers[row.key]), tuple(json.loads(row.annotations)))


def _facets(connection: Connection, fits: ColumnElement[bool]) -> Counts:
    count = func.count(TERMS.c.dataset.distinct())
    asked = (
        select(TERMS.c.field, func.min(TERMS.c.label).label("label"), count.label("datasets"))
        .where(TERMS.c.dataset.in_(select(DATASETS.c.key).where(fits)))
        .group_by(TERMS.c.field, TERMS.c.term)
        .order_by(count.desc(), TERMS.c.term)
    )
    found: dict[str, list[tuple[str, int]]] = {field: [] for field in FIELDS}
    for row in connection.execute(asked):
        if row.field in found and len(found[row.field]) < _MOST_VALUES:
            found[row.field].append((row.label, row.datasets))
    return {field: tuple(values) for field, values in found.items()}
