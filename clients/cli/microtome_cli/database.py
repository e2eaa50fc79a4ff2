"""``microtome database upgrade`` and ``status``: the tables of keys and grants."""

import argparse

from microtome_cli.database_options import add_database_arguments, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    upgrade = actions.add_parser("upgrade", help="make the tables, or bring them up to date")
    status = actions.add_parser("status", help="say whether this version can use them")
    for below, action in ((upgrade, _upgrade), (status, _status)):
        add_database_arguments(below)
        below.set_defaults(action=action)


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
