"""``microtome formats``."""

import argparse
import json
from typing import Any

from microtome_ingest.format import Format
from microtome_ingest.formats import all_formats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Print every format: what it is called, its usual endings, who reads it, and its state."""
    rows = [_facts(row) for row in all_formats()]
    print(json.dumps(rows, indent=2) if arguments.json else _text(rows))
    return 0


def _facts(row: Format) -> dict[str, Any]:
    return {
        "name": row.name,
        "endings": list(row.endings),
        "reader": row.reader,
        "extra": row.extra,
        "ready": not row.missing,
        "missing": list(row.missing),
        "isolated": row.isolated,
    }


def _text(rows: list[dict[str, Any]]) -> str:
    lines = [
        (row["name"], " ".join(row["endings"]), row["reader"], row["extra"], _state(row))
        for row in rows
    ]
    table = [("FORMAT", "ENDINGS", "READER", "EXTRA", "STATE"), *lines]
    widths = [max(len(line[i]) for line in table) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(n) for cell, n in zip(line, widths, strict=False)), line[4]])
        for line in table
    )


def _state(row: dict[str, Any]) -> str:
    if row["ready"]:
        return "ready"
    return f"install the extra '{row['extra']}' of microtome"
