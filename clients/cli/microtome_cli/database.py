"""``microtome database``: the tables of the service, made, renewed, moved and taken back."""

import argparse
import os
import sys

from microtome_cli.database_options import (
    add_database_arguments,
    current,
    existing,
    opened,
)
from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.store.location import StorageOptions, Store
from microtome_service.auth.database import Database, UnknownSchema
from microtome_service.auth.moving import copy
from microtome_service.catalog import Catalog
from microtome_service.errors import Unreadable
from microtome_service.search.index import Index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    upgrade = actions.add_parser("upgrade", help="make the tables, or bring them up to date")
    status = actions.add_parser("status", help="say whether this version can use them")
    reindex = actions.add_parser(
        "reindex", help="look at every record of a root anew, for search, and keep what is found"
    )
    reindex.add_argument("root", metavar="ROOT", help="folder, file:///… or s3://bucket/…")
    moved = actions.add_parser(
        "copy", help="copy keys, visibility, grants, sessions and links into an empty database"
    )
    moved.add_argument("to", metavar="URL", help="postgresql+psycopg://… or sqlite:////…")
    downgrade = actions.add_parser(
        "downgrade", help="make the tables what an older version of microtome needs"
    )
    downgrade.add_argument("version", help="of the tables, such as 0003")
    known = (upgrade, _upgrade), (status, _status), (moved, _copy), (downgrade, _downgrade)
    for below, action in known:
        add_database_arguments(below)
        below.set_defaults(action=action)
    add_database_arguments(reindex, with_root=False)
    reindex.set_defaults(action=_reindex)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    code: int = arguments.action(arguments)
    return code


def _upgrade(arguments: argparse.Namespace) -> int:
    with opened(arguments) as database:
        try:
            before, after = database.upgrade()
        except UnknownSchema as error:
            # To try again, as a Job does after storage failed, would not help.
            raise InputError(f"{error}; run that one, or its `microtome database downgrade`") from (
                error
            )
        print(f"{database}: version {after}, was {before or 'empty'}")
    return 0


def _copy(arguments: argparse.Namespace) -> int:
    with existing(arguments) as old, Database(arguments.to) as new:
        if old is None:
            raise NotFound("no such database: nothing to copy")
        new.upgrade()
        counts = copy(old, new)
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"{new}: {told}")
        print(
            "name it to the service as MICROTOME_DATABASE_URL; what is said by then in the old one "
            "is not copied",
            file=sys.stderr,
        )
    return 0


def _downgrade(arguments: argparse.Namespace) -> int:
    with opened(arguments) as database:
        if not database.exists():
            raise NotFound(f"{database}: not there")
        before = database.downgrade(arguments.version)
        print(f"{database}: version {arguments.version}, was {before}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    with opened(arguments) as database:
        if not database.exists():
            print(f"{database}: not there; everything has the default visibility")
            return 0
        database.check()
        print(f"{database}: up to date, version {database.needed}")
    return 0


def _reindex(arguments: argparse.Namespace) -> int:
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    with current(arguments) as database:
        catalog = Catalog(store, 0.0)
        index = Index(store, catalog, database, 0.0, 1.0)
        try:
            looked = index.rebuild(_say_progress if sys.stderr.isatty() else _say_nothing)
        except Unreadable as error:
            # Its own words are for strangers; here is who runs the store.
            raise StorageError(f"{error}: {error.__cause__ or store.url}") from error
        finally:
            index.close()
            catalog.close()
        print(f"{database}: {looked.datasets} datasets of {store.url} in {looked.seconds:.1f} s")
    return 0


def _say_progress(done: int, count: int) -> None:
    print(f"\r{done} of {count} datasets", end="\n" if done == count else "", file=sys.stderr)


def _say_nothing(_: int, __: int) -> None:
    pass
