"""``microtome ingest-table TABLE.csv ROOT``: every source of a table, gone on with as a whole."""

import argparse
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

from microtome_cli.collection import (
    LAYER,
    OPTIONS,
    SOURCE,
    Row,
    image_of,
    names,
    order,
    read_table,
)
from microtome_cli.collection_report import Report, Result, State, check_ending
from microtome_cli.convert import Made, check, convert
from microtome_cli.engines import (
    add_cluster_arguments,
    add_grace_argument,
    add_work_arguments,
    parse_part,
    stoppable,
)
from microtome_cli.main import BAD_INPUT, NO_PERMISSION, TRY_AGAIN, code_of
from microtome_cli.options import add_host_argument, storage_options
from microtome_core.addresses import without_secrets
from microtome_core.errors import InputError, MicrotomeError
from microtome_core.store.location import Store

BUG = 1
# Whether the same command may help is what matters first.
_WORST = (TRY_AGAIN, BUG, NO_PERMISSION, BAD_INPUT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "table",
        help=f"CSV, or .tsv, with the columns {SOURCE} and {LAYER} and any of {', '.join(OPTIONS)}",
    )
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… to write below")
    parser.add_argument(
        "--report", metavar="FILE", help=".csv or .json: what became of each row, after every row"
    )
    parser.add_argument("--check", action="store_true", help="look at every row, and write nothing")
    parser.add_argument(
        "--restart", action="store_true", help="replace layers of other sources or settings"
    )
    add_grace_argument(parser)
    add_host_argument(parser)
    add_work_arguments(parser)
    group = add_cluster_arguments(parser)
    group.add_argument(
        "--array-index",
        metavar="I/N",
        help="only every N-th row from I on, 0 to N-1, labels with their image",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look at all rows, then make the layers, whatever becomes of the others."""
    with stoppable():
        check_ending(arguments.report)
        rows = read_table(arguments.table, storage_options(arguments))
        orders, wrong = _orders(rows, arguments)
        orders = _mine(orders, arguments.array_index)
        _refuse({**wrong, **_wrong(orders, arguments)}, arguments.table, len(rows))
        if arguments.check:
            print(f"{arguments.table}: {len(orders)} rows can be ingested")
            return 0
        report = Report([_waiting(line, one) for line, one in orders], arguments.report)
        try:
            for line, one in _images_first(orders):
                report.add(_done(_waiting(line, one), one))
        finally:
            _tell(report, arguments)
    return _code([result.code for result in report.results])


Order = tuple[int, argparse.Namespace]


def _orders(
    rows: Sequence[Row], arguments: argparse.Namespace
) -> tuple[list[Order], dict[int, str]]:
    """Return the arguments of each row by its line, and what is wrong with the others."""
    common = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k not in _OWN})
    found, wrong, seen = [], {}, dict[str, int]()
    for row in rows:
        try:
            one = order(row, arguments.table, common)
            first = seen.setdefault(names(one), row.line)
        except InputError as error:
            wrong[row.line] = str(error)
            continue
        if first == row.line:
            found.append((row.line, one))
        else:
            wrong[row.line] = f"layer {names(one)} stands in line {first}, too"
    return found, wrong


_OWN = ("table", "report", "check", "array_index", "command")


def _mine(orders: list[Order], text: str | None) -> list[Order]:
    """Return every N-th image from the I-th on, each with the labels that belong to it."""
    part = parse_part(text)
    groups: dict[str, int] = {}
    return [
        (line, one)
        for line, one in orders
        if groups.setdefault(image_of(one) or names(one), len(groups)) % part.count == part.index
    ]


def _wrong(orders: Sequence[Order], arguments: argparse.Namespace) -> dict[int, str]:
    """Look at every source, and return what is wrong with the rows that cannot be ingested."""
    Store(arguments.root, storage_options(arguments))
    coming = {names(one) for _, one in orders}
    wrong = {}
    for line, one in orders:
        try:
            check(one, alone=image_of(one) not in coming)
        except MicrotomeError as error:
            if code_of(error) == TRY_AGAIN:
                # It may be over when its turn comes; if not, that row fails.
                print(f"microtome: line {line}: {error}", file=sys.stderr)
            else:
                wrong[line] = str(error)
    return wrong


def _refuse(wrong: Mapping[int, str], table: str, count: int) -> None:
    """Raise one error for all rows that are wrong."""
    if wrong:
        told = "\n".join(f"  line {line}: {reason}" for line, reason in sorted(wrong.items()))
        raise InputError(f"{table}: {len(wrong)} of {count} rows cannot be ingested:\n{told}")


def _images_first(orders: Sequence[Order]) -> list[Order]:
    """Return all, labels after the images to which they belong."""
    return sorted(orders, key=lambda one: image_of(one[1]) is not None)


def _waiting(line: int, one: argparse.Namespace) -> Result:
    return Result(line, without_secrets(one.source), names(one))


def _done(result: Result, one: argparse.Namespace) -> Result:
    """Make what a row asks for; whatever goes wrong is this row's alone."""
    began = monotonic()
    try:
        made = convert(one)
    except MicrotomeError as error:
        found = replace(result, state="failed", code=code_of(error), what=str(error))
    except Exception as error:  # noqa: BLE001 - a bug met by one file stops no others
        traceback.print_exc()
        found = replace(result, state="failed", code=BUG, what=f"a bug: {error!r}")
    else:
        found = _made(result, made)
    if found.code:
        print(f"microtome: line {result.line}: {found.what}", file=sys.stderr, flush=True)
    return replace(found, seconds=round(monotonic() - began, 3))


def _made(result: Result, made: Sequence[Made]) -> Result:
    what = made[0].what if len(made) == 1 else f"{len(made)} layers"
    nbytes = sum(one.nbytes for one in made)
    state: State = "wrote" if any(one.written for one in made) else "same"
    return replace(result, state=state, nbytes=nbytes, what=what)


def _tell(report: Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"event": "table", "table": arguments.table, **report.to_json()}))
    else:
        print(report.text())
    sys.stdout.flush()


def _code(codes: Sequence[int]) -> int:
    """Return the code that says what helps: the same again, if it does for any row."""
    return next((code for code in _WORST if code in codes), 0)
