"""The options that commands of keys, grants and their database have in common."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from microtome_core.errors import InputError
from microtome_core.store.location import StorageOptions, Store
from microtome_service.auth.database import Database, default_url
from microtome_service.location import check_folder


def add_database_arguments(parser: argparse.ArgumentParser, *, with_root: bool = True) -> None:
    """Describe where keys and grants lie."""
    if with_root:
        parser.add_argument(
            "--root",
            help="root whose keys and grants are meant: they lie in a file beside that folder "
            "(default: MICROTOME_ROOT)",
        )
    parser.add_argument(
        "--database",
        metavar="URL",
        help="sqlite:////absolute/file or postgresql+psycopg://user:password@host/name "
        "(default: MICROTOME_DATABASE_URL, else the file beside the root)",
    )


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Database]:
    """Yield the database that the arguments or the environment name.

    Raises
    ------
    InputError
        None is named, or the root is a folder that is not there: beside a misspelt one a file would
        be made that no service reads.
    """
    root = root_of(arguments)
    if root:
        check_folder(_store(root))
    url = arguments.database or os.environ.get("MICROTOME_DATABASE_URL")
    if not url and root:
        url = default_url(_store(root).url)
    if not url:
        raise InputError(
            "no database is named: give --root FOLDER, or --database URL for other stores "
            "(or set MICROTOME_ROOT or MICROTOME_DATABASE_URL)"
        )
    with Database(url) as database:
        yield database


@contextmanager
def current(arguments: argparse.Namespace) -> Iterator[Database]:
    """Yield the same; a file is made, or brought up to this version, where need be."""
    with opened(arguments) as database:
        if database.file is not None:
            database.upgrade()
        yield database


@contextmanager
def existing(arguments: argparse.Namespace) -> Iterator[Database | None]:
    """Yield the same to who only reads; None where there is no file, and none is made."""
    with opened(arguments) as database:
        if not database.exists():
            yield None
            return
        if database.file is not None:
            database.upgrade()
        yield database


def root_of(arguments: argparse.Namespace) -> str | None:
    """Return the root that is named, if any."""
    return arguments.root or os.environ.get("MICROTOME_ROOT") or None


def _store(root: str) -> Store:
    return Store(root, StorageOptions.from_environment(os.environ))
