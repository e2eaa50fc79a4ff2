"""Keys, visibility, grants, sessions and links from one database to another, of whatever kind."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, func, select

from microtome_core.errors import Conflict, StorageError
from microtome_service.auth.database import Database
from microtome_service.auth.models import GRANTS, KEYS, LINKS, SESSIONS, VISIBILITY

# What is said by people. The index of search is made anew from the stores.
TABLES = (KEYS, VISIBILITY, GRANTS, SESSIONS, LINKS)
_AT_ONCE = 500


def copy(old: Database, new: Database) -> dict[str, int]:
    """Copy all that is said in one database into another one; return the rows by table.

    Both are of this version. The old one is read as it is at one moment and left as it is; the new
    one gets all of it or nothing.

    Raises
    ------
    Conflict
        The new one holds something already.
    StorageError
        Either cannot be reached, is of another version, or the new one does not hold what was
        written.
    """
    with old.snapshot() as source, new.write() as target:
        if taken := [table.name for table in TABLES if _count(target, table)]:
            raise Conflict(f"{new}: {', '.join(taken)} hold something: copy into an empty database")
        counts = {table.name: _copy(source, target, table) for table in TABLES}
        for table in TABLES:
            if (found := _count(target, table)) != counts[table.name]:
                raise StorageError(f"{new}: {table.name} has {found} of {counts[table.name]} rows")
    return counts


def _copy(source: Connection, target: Connection, table: Table) -> int:
    count = 0
    for rows in _batches(source, table):
        target.execute(table.insert(), rows)
        count += len(rows)
    return count


def _batches(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    found = source.execution_options(yield_per=_AT_ONCE).execute(select(table))
    for rows in found.mappings().partitions():
        yield [dict(row) for row in rows]


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
