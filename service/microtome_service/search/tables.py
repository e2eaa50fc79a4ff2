"""The tables of the index. They can be made anew from the stores at any time.

The words of datasets lie in ``search_words``, which each kind of database has in its own form: FTS5
of SQLite, ``tsvector`` of PostgreSQL. `words.py` has cut them before.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Float, Index, Integer, String, Table, Text
from sqlalchemy.sql.selectable import TextualSelect

from microtome_service.auth.models import METADATA

# Names have 64 letters at most; of a root its SHA-256.
_NAME = String(64)

DATASETS = Table(
    "search_datasets",
    METADATA,
    Column("key", Integer, primary_key=True),
    Column("root", _NAME, nullable=False),
    Column("collection", _NAME, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("place", String(129), nullable=False),
    Column("digest", _NAME, nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("changed", String(32), nullable=False),
    Column("annotations", Text, nullable=False),
    # JSON: field, term and label of each value of its layers.
    Column("facets", Text, nullable=False, server_default=""),
    Index("search_datasets_place", "root", "collection", "name", unique=True),
)

LAYERS = Table(
    "search_layers",
    METADATA,
    Column("dataset", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("summary", Text, nullable=False),
)

TERMS = Table(
    "search_terms",
    METADATA,
    Column("dataset", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("field", String(16), primary_key=True),
    Column("term", String(200), primary_key=True),
    Index("search_terms_term", "field", "term", "dataset", "number"),
)

STATE = Table(
    "search_state",
    METADATA,
    Column("root", _NAME, primary_key=True),
    Column("looked", Float(53), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("datasets", Integer, nullable=False),
)

# A word that is another one after every change of a root's rows.
GENERATIONS = Table(
    "search_generations",
    METADATA,
    Column("root", _NAME, primary_key=True),
    Column("generation", String(32), nullable=False),
)


def is_sqlite(connection: Connection) -> bool:
    """Tell which form of ``search_words`` there is."""
    return connection.dialect.name == "sqlite"


def put_words(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Keep the words of datasets: ``key``, and ``words`` with one space between."""
    if is_sqlite(connection):
        into = "INSERT INTO search_words (rowid, words) VALUES (:key, :words)"
    else:
        into = (
            "INSERT INTO search_words (key, words) "
            "VALUES (:key, array_to_tsvector(array_remove(string_to_array(:words, ' '), '')))"
        )
    connection.execute(sa.text(into), rows)


def drop_words(connection: Connection, keys: Iterable[int]) -> None:
    """Forget the words of datasets."""
    name = "rowid" if is_sqlite(connection) else "key"
    rows = [{"key": key} for key in keys]
    if rows:
        connection.execute(sa.text(f"DELETE FROM search_words WHERE {name} = :key"), rows)  # noqa: S608 - two names


def having_words(sqlite: bool, words: Iterable[str]) -> TextualSelect:
    """Return a question for the keys of datasets with, for each of `words`, one beginning like it.

    They are of all roots. Words hold letters and digits alone, so that none can say anything else
    in either language.
    """
    if sqlite:
        asked = " AND ".join(f'"{word}"*' for word in words)
        found = sa.text("SELECT rowid FROM search_words WHERE search_words MATCH :asked")
    else:
        asked = " & ".join(f"'{word}':*" for word in words)
        found = sa.text("SELECT key FROM search_words WHERE words @@ CAST(:asked AS tsquery)")
    return found.bindparams(asked=asked).columns(sa.column("key", Integer))
