"""``microtome ingest-table TABLE.csv ROOT``: every source of a table, gone on with as a whole."""

import argparse
import json
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from time import monotonic

from microtome_cli.collection import (
    LAYER,
    OPTIONS,
    SOURCE,
    Order,
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
from microtome_core.errors import InputError, MicrotomeError, MissingMetadata
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
    parser.add_argument(
        "--local-files",
        action="store_true",
        help="a table that is read from an address may name files of this machine",
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
        orders = _orders(rows, arguments)
        mine = _mine(orders, arguments.array_index)
        _refuse(_wrong(orders, mine, arguments), arguments.table, len(rows))
        if arguments.check:
            print(f"{arguments.table}: {len(mine)} rows can be ingested")
            return 0
        report = Report([_waiting(one) for one in mine], arguments.report)
        try:
            for one in _images_first(mine):
                report.add(_done(_waiting(one), one.arguments))
        finally:
            _tell(report, arguments)
    return _code([result.code for result in report.results])


def _orders(rows: Sequence[Row], arguments: argparse.Namespace) -> list[Order]:
    """Return what is to be done for each row, with what is wrong with its cells."""
    common = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if k not in _OWN})
    found, seen = [], dict[str, int]()
    for row in rows:
        one = order(row, arguments.table, common)
        found.append(one)
        if LAYER not in one.faults:
            name = names(one.arguments)
            if (first := seen.setdefault(name, row.line)) != row.line:
                one.faults[LAYER] = f"layer {name} stands in line {first}, too"
    return found


_OWN = ("table", "report", "check", "array_index", "command")


def _mine(orders: Sequence[Order], text: str | None) -> list[Order]:
    """Return every N-th image from the I-th on, each with the labels that belong to it."""
    part = parse_part(text)
    groups: dict[str, int] = {}
    return [
        one
        for one in orders
        if groups.setdefault(image_of(one.arguments) or names(one.arguments), len(groups))
        % part.count
        == part.index
    ]


def _wrong(
    orders: Sequence[Order], mine: Sequence[Order], arguments: argparse.Namespace
) -> dict[int, list[str]]:
    """Look at every source, and return what is wrong with the rows that cannot be ingested."""
    Store(arguments.root, storage_options(arguments))
    wrong = {one.line: list(one.faults.values()) for one in orders if one.faults}
    coming = {names(one.arguments) for one in orders if LAYER not in one.faults}
    for number, one in enumerate(mine, 1):
        if told := _source_fault(one, coming):
            wrong.setdefault(one.line, []).append(told)
        _say_looked(number, len(mine))
    return wrong


def _say_looked(done: int, count: int) -> None:
    """Show whoever watches that far sources take their time."""
    if sys.stderr.isatty():
        end = "\n" if done == count else ""
        print(f"\r{done} of {count} rows looked at", end=end, file=sys.stderr, flush=True)


def _source_fault(one: Order, coming: Collection[str]) -> str:
    """Return what is wrong with a row's source, by those of its cells that can be read."""
    if SOURCE in one.faults:
        return ""
    try:
        check(one.arguments, alone=not one.faults and image_of(one.arguments) not in coming)
    except MicrotomeError as error:
        if code_of(error) == TRY_AGAIN:
            # It may be over when its turn comes; if not, that row fails.
            print(f"microtome: line {one.line}: {error}", file=sys.stderr)
        # What a cell that cannot be read was to say is no second fault.
        elif not (isinstance(error, MissingMetadata) and one.faults):
            return str(error)
    return ""


def _refuse(wrong: Mapping[int, Sequence[str]], table: str, count: int) -> None:
    """Raise one error for all rows that are wrong."""
    if wrong:
        told = "\n".join(
            f"  line {line}: {reason}"
            for line, faults in sorted(wrong.items())
            for reason in faults
        )
        raise InputError(f"{table}: {len(wrong)} of {count} rows cannot be ingested:\n{told}")


def _images_first(orders: Sequence[Order]) -> list[Order]:
    """Return all, labels after the images to which they belong."""
    return sorted(orders, key=lambda one: image_of(one.arguments) is not None)


def _waiting(one: Order) -> Result:
    return Result(one.line, without_secrets(one.arguments.source), names(one.arguments))


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
