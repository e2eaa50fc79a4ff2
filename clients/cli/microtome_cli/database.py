"""``microtome database upgrade``, ``status`` and ``reindex``: the tables of the service."""

import argparse
import os
import sys

from microtome_cli.database_options import add_database_arguments, current, opened
from microtome_core.errors import StorageError
from microtome_core.store.location import StorageOptions, Store
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
    for below, action in ((upgrade, _upgrade), (status, _status)):
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
        before, after = database.upgrade()
        print(f"{database}: version {after}, was {before or 'empty'}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    with opened(arguments) as database:
        if not database.exists():
            print(f"{database}: not there; everything has the default visibility")
            return 0
        database.check()
        print(f"{database}: up to date")
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
