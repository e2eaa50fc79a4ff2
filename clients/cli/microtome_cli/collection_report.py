"""What became of each row of a table: a report that is true at any moment, and a table to read."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from microtome_core.errors import InputError, StorageError
from microtome_core.units import bytes_text

State = Literal["wrote", "same", "failed", "waits"]
ENDINGS = (".csv", ".json")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a row.

    Parameters
    ----------
    line : int
        Of the table.
    source, layer : str
    state : str
        ``wrote``, ``same`` (it was there), ``failed``, or ``waits`` for its turn.
    code : int
        What ``microtome ingest`` would have ended with.
    seconds : float
    nbytes : int
        Of voxels.
    what : str
        Of a layer what it is, of a failure what is wrong.
    """

    line: int
    source: str
    layer: str
    state: State = "waits"
    code: int = 0
    seconds: float = 0.0
    nbytes: int = 0
    what: str = ""


class Report:
    """The rows of a table and what became of them, in a file, if one is asked for.

    Parameters
    ----------
    results : sequence of Result
        One a row, in the table's order.
    path : str, optional
        ``.csv`` or ``.json``; written anew, whole, after every row.
    """

    def __init__(self, results: Sequence[Result], path: str | None = None) -> None:
        self._results = {result.line: result for result in results}
        self._path = None if path is None else Path(path)
        self._write()

    @property
    def results(self) -> list[Result]:
        """In the order of the table."""
        return list(self._results.values())

    def add(self, result: Result) -> None:
        """Note what became of a row."""
        self._results[result.line] = result
        self._write()

    def counts(self) -> dict[str, int]:
        """Return how many rows are in each state that occurs."""
        return dict(Counter(result.state for result in self.results))

    def text(self) -> str:
        """Return a table for people, and a line that sums it up."""
        rows = [("line", "state", "layer", "size", "time", "what"), *map(_cells, self.results)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        total = ", ".join(f"{count} {state}" for state, count in self.counts().items())
        return "\n".join([*lines, f"{len(self.results)} rows: {total or 'nothing to do'}"])

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {"counts": self.counts(), "rows": [asdict(result) for result in self.results]}

    def _write(self) -> None:
        if self._path is None:
            return
        forms: dict[str, Callable[[], str]] = {".json": self._json, ".csv": self._csv}
        text = forms[self._path.suffix.lower()]()
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise StorageError(f"--report {self._path}: {error.strerror or error}") from error

    def _json(self) -> str:
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"

    def _csv(self) -> str:
        out = StringIO(newline="")
        writer = csv.DictWriter(out, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(result) for result in self.results)
        return out.getvalue()


def check_ending(path: str | None) -> None:
    """Raise InputError for a report's name of which nobody knows the form."""
    if path is not None and Path(path).suffix.lower() not in ENDINGS:
        raise InputError(f"--report {path}: expected a name that ends in .csv or .json")


def _cells(result: Result) -> tuple[str, str, str, str, str, str]:
    size = bytes_text(result.nbytes) if result.nbytes else ""
    seconds = f"{result.seconds:.1f} s" if result.seconds else ""
    return str(result.line), result.state, result.layer, size, seconds, result.what
