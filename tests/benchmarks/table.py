"""Rows of measurements, and how they are printed."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Parameters
    ----------
    what : str
        What was measured.
    rate : float
        MB/s, 10⁶ bytes of voxels.
    beside : str
        The other engine, on the same data in the same run.
    other : float
        Its rate in MB/s.
    aim : float or None
        The ratio that is aimed at.
    note : str
    """

    what: str
    rate: float
    beside: str
    other: float
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.rate / self.other


def print_table(rows: Sequence[Row]) -> None:
    """Print the table, widest column first."""
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    head = ("what", "MB/s", "beside", "MB/s", "ratio", "aim", "")
    body = [
        (
            row.what,
            f"{row.rate:.0f}",
            row.beside,
            f"{row.other:.0f}",
            f"{row.ratio:.2f}",
            "" if row.aim is None else f"{row.aim:.2f}",
            row.note,
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    for line in (head, tuple("-" * width for width in widths), *body):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
