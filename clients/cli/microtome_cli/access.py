"""``microtome access set``, ``grant``, ``revoke`` and ``list``: who may see and change what."""

import argparse
import os
import sys
from collections.abc import Mapping

from microtome_cli.database_options import add_database_arguments, current, existing, root_of
from microtome_core.store.layer import list_datasets
from microtome_core.store.location import StorageOptions, Store
from microtome_service.auth import records
from microtome_service.auth.roles import EVERYWHERE, Role, parse_place, places_of
from microtome_service.auth.rules import SIGNED_IN, Subject

_PLACE = "COLLECTION, COLLECTION/DATASET"
_VISIBILITIES = {"public": True, "private": False, "default": None}
_ROLES = {role.word: role for role in Role if role}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    below = actions.add_parser("set", help="say whether anyone may read there")
    below.add_argument("place", help=f"{_PLACE} or '*' for everything of which nothing is said")
    below.add_argument(
        "visibility",
        choices=_VISIBILITIES,
        help="default: as its collection, as '*', or as the service's settings say",
    )
    _finish(below, _set)
    below = actions.add_parser("grant", help="give somebody a role")
    below.add_argument("place", help=f"{_PLACE} or '*' for everything")
    below.add_argument("role", choices=_ROLES, help="each includes those before it")
    _add_subject(below)
    _finish(below, _grant)
    below = actions.add_parser("revoke", help="take a role away")
    below.add_argument("place", help=f"{_PLACE} or '*', as it was granted")
    _add_subject(below)
    _finish(below, _revoke)
    _finish(actions.add_parser("list", help="list what is set and granted"), _list)


def _add_subject(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--user", metavar="NAME", help="as the issuer of sign-ins calls them")
    subject.add_argument("--group", metavar="NAME", help="as the issuer of sign-ins calls it")
    subject.add_argument(
        "--authenticated", action="store_true", help="everyone for whom the issuer vouches"
    )


def _finish(parser: argparse.ArgumentParser, action: object) -> None:
    parser.set_defaults(action=action)
    add_database_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    code: int = arguments.action(arguments)
    return code


def _set(arguments: argparse.Namespace) -> int:
    place = parse_place(arguments.place)
    with current(arguments) as database, database.write() as connection:
        records.set_visibility(connection, place, _VISIBILITIES[arguments.visibility])
        said = records.read_rules(connection, default_public=True).public
    print(f"{place} is {_as_set(arguments.visibility)}; services know within 5 seconds")
    if place == EVERYWHERE:
        _tell_others(said, arguments.visibility)
    else:
        _tell_absent(arguments, place)
    return 0


def _tell_others(said: Mapping[str, bool], word: str) -> None:
    """Name the places of which something else is said than of everything."""
    asked = _VISIBILITIES[word]
    others = sorted(place for place, public in said.items() if public is not asked)
    if asked is not None and others:
        print(
            f"microtome: note: {', '.join(others)} stay {'private' if asked else 'public'}, as is "
            "said of them",
            file=sys.stderr,
        )


def _as_set(word: str) -> str:
    return "as by default" if word == "default" else word


def _grant(arguments: argparse.Namespace) -> int:
    place, subject = parse_place(arguments.place), _subject(arguments)
    with current(arguments) as database, database.write() as connection:
        records.grant(connection, place, subject, _ROLES[arguments.role])
    print(f"{subject} is {arguments.role} of {place}; services know within 5 seconds")
    _tell_absent(arguments, place)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    place, subject = parse_place(arguments.place), _subject(arguments)
    with current(arguments) as database, database.write() as connection:
        records.revoke(connection, place, subject)
    print(f"{subject} has no role of {place} any more; services know within 5 seconds")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with existing(arguments) as database:
        if database is None:
            return 0
        with database.read() as connection:
            rules = records.read_rules(connection, default_public=True)
            everywhere = records.read_everywhere(connection)
    said = rules.public if everywhere is None else {EVERYWHERE: everywhere, **rules.public}
    for place, public in sorted(said.items()):
        print(f"{place:<24}  {'public' if public else 'private'}")
    for subject, roles in sorted(rules.grants.items()):
        for place, role in sorted(roles.items()):
            print(f"{place:<24}  {role.word:<8}  {subject}")
    return 0


def _subject(arguments: argparse.Namespace) -> Subject:
    if arguments.authenticated:
        return SIGNED_IN
    return Subject("user", arguments.user) if arguments.user else Subject("group", arguments.group)


def _tell_absent(arguments: argparse.Namespace, place: str) -> None:
    """Say so if nothing lies at a place: its name may be misspelt."""
    root = root_of(arguments)
    if root is None:
        return
    store = Store(root, StorageOptions.from_environment(os.environ))
    if not any(place in places_of(dataset) for dataset in list_datasets(store)):
        print(f"microtome: note: nothing lies at {place} of {root} yet", file=sys.stderr)
