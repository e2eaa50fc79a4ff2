"""What every sample file must read as, or be refused for: the table ``expected.toml``."""

import os
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES_VARIABLE

_TABLE = Path(__file__).with_name("expected.toml")
_LARGE = 64 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a source, in the words of `Description`."""

    axes: str
    shape: list[int]
    dtype: str
    voxel_size: dict[str, float] = field(default_factory=dict)
    unit: str | None = None
    time_step: float | None = None
    channels: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a source must read as.

    Parameters
    ----------
    format : str
    judge : str
        Which independent reader has the last word, a key of `JUDGES`.
    images : list of Image
    refused : str
        Instead of all that: a pattern of what is said of it.
    unreadable : str
        The same of its voxels, where only they are damaged or missing.
    beside : list of str
        Files in the same folder that belong to it.
    """

    format: str = ""
    judge: str = ""
    images: list[Image] = field(default_factory=list)
    refused: str = ""
    unreadable: str = ""
    beside: list[str] = field(default_factory=list)

    @property
    def large(self) -> bool:
        """Whether it has so many voxels that all of them take long."""
        return any(prod(image.shape) > _LARGE for image in self.images)

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Expected":
        """Read a row of the table."""
        return cls(**{**row, "images": [Image(**image) for image in row.get("images", [])]})


def folder() -> Path | None:
    """Return where the samples lie."""
    found = os.environ.get(SAMPLES_VARIABLE)
    return Path(found) if found else None


@cache
def manifest() -> dict[str, str]:
    """Return what was verified of every file, by its name."""
    root = folder()
    if root is None:
        return {}
    lines = (root / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {cells[0]: cells[5] for cells in (line.split("\t") for line in lines)}


@cache
def table() -> dict[str, Expected]:
    """Return the rows of the table by name, or by a pattern of names."""
    rows = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: Expected.of(row) for name, row in rows.items()}


@cache
def sources() -> dict[str, Expected]:
    """Return every source that the samples hold: files, and folders that are one."""
    found = {name: row for name, row in table().items() if "*" not in name}
    for pattern, row in table().items():
        found |= {n: row for n in manifest() if fnmatchcase(n, pattern) and n not in found}
    return dict(sorted(found.items()))


def parametrized(*, readable: bool | None = None, large: str = "") -> list[Any]:
    """Return every source as a parameter, or those that are read, or refused.

    Parameters
    ----------
    readable : bool, optional
    large : str
        A mark for those that take long because of their size.
    """
    if folder() is None:
        return [pytest.param("", Expected(), id="no-samples")]
    return [
        pytest.param(
            name, row, id=name, marks=[getattr(pytest.mark, large)] if large and row.large else []
        )
        for name, row in sources().items()
        if readable is None or bool(row.images) == readable
    ]
