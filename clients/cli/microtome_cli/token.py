"""``microtome token create``, ``list`` and ``revoke``: API keys."""

import argparse
import sys
from datetime import UTC, datetime

from microtome_cli.database_options import add_database_arguments, current, existing
from microtome_core.errors import InputError
from microtome_core.names import check_name
from microtome_service.auth import records
from microtome_service.auth.keys import Key, parse_duration
from microtome_service.auth.roles import EVERYWHERE, Role, parse_place

_SCOPES = {"read": Role.READER, "write": Role.WRITER, "admin": Role.ADMIN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_create(actions.add_parser("create", help="make a key; it is shown once"))
    below = actions.add_parser("list", help="list the keys, without their secrets")
    below.set_defaults(action=_list)
    add_database_arguments(below)
    below = actions.add_parser("revoke", help="end a key for good")
    below.add_argument("id", help="its public part: mt_… up to the second stroke")
    below.set_defaults(action=_revoke)
    add_database_arguments(below)


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="whose it is or what it is for; goes to logs")
    parser.add_argument(
        "--scope", choices=_SCOPES, required=True, help="each includes those before it"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--dataset", metavar="COLLECTION/DATASET", help="good there alone")
    place.add_argument("--collection", help="good there alone; else in all collections")
    parser.add_argument("--expires", metavar="TIME", help="12h, 30d, 1y from now; else never")
    parser.set_defaults(action=_create)
    add_database_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    code: int = arguments.action(arguments)
    return code


def _create(arguments: argparse.Namespace) -> int:
    role, place = _SCOPES[arguments.scope], _place(arguments)
    seconds = parse_duration(arguments.expires) if arguments.expires else None
    with current(arguments) as database, database.write() as connection:
        key, text = records.create_key(connection, arguments.name, role, place, seconds)
    where = "everywhere" if place == EVERYWHERE else place
    ends = f"until {_time(key.expires)}" if key.expires else "until it is revoked"
    print(f"{role.word} {where}, {ends}; this is shown once:", file=sys.stderr, flush=True)
    print(text)
    return 0


def _place(arguments: argparse.Namespace) -> str:
    if arguments.collection is not None:
        return check_name(arguments.collection)
    if arguments.dataset is None:
        return EVERYWHERE
    place = parse_place(arguments.dataset)
    if "/" not in place:
        raise InputError(f"dataset {place!r}: expected COLLECTION/DATASET")
    return place


def _list(arguments: argparse.Namespace) -> int:
    keys = _keys(arguments)
    print(f"{'KEY':<15}  {'SCOPE':<6}  {'WHERE':<24}  {'ENDS':<16}  {'LAST USED':<16}  NAME")
    for key in keys.values():
        scope = next(word for word, role in _SCOPES.items() if role is key.role)
        used = _time(key.used) if key.used else "never"
        print(f"mt_{key.id}  {scope:<6}  {key.place:<24}  {_end(key):<16}  {used:<16}  {key.name}")
    return 0


def _keys(arguments: argparse.Namespace) -> dict[str, Key]:
    with existing(arguments) as database:
        if database is None:
            return {}
        with database.read() as connection:
            return records.read_keys(connection, ended=True)


def _end(key: Key) -> str:
    if key.revoked is not None:
        return "revoked"
    return _time(key.expires) if key.expires else "never"


def _revoke(arguments: argparse.Namespace) -> int:
    key_id = arguments.id.removeprefix("mt_").partition("_")[0]
    with current(arguments) as database, database.write() as connection:
        records.revoke_key(connection, key_id)
    print(f"revoked mt_{key_id}; services refuse it within 5 seconds")
    return 0


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")
