"""What the ``zarr.json`` of a recording says under ``recording``, beside the record under ``nwb``.

It is read by one request and tells all but the values: the trials, where each of their arrays lies,
the columns of the neurons, the statistics, and the files that were kept as they were.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = "microtome-recording/1"
# What became of the array of a trial: it is stored, there is none, its publisher withholds it, or
# all of it is NaN.
State = Literal["stored", "missing", "withheld", "nan"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow")


class StoredArray(_Model):
    """Arrays of one dtype and of equal extents but for time, one after another in time.

    Parameters
    ----------
    path : str
        Of the Zarr array, below the folder of the version; time is its last axis.
    by_row : str, optional
        Of the same array with chunks that follow time, for one row over all trials.
    dtype : str
        NumPy's name.
    shape : list of int
        Extents but for time.
    slot : int
        Frames of a slot: the array of a trial begins at a multiple of it.
    """

    path: str
    by_row: str | None = None
    dtype: str
    shape: list[int]
    slot: int


class Pieces(_Model):
    """The arrays of one variable, one entry a trial.

    Parameters
    ----------
    state : list of State
    array : list of int
        Which of the variable's stored arrays holds it; -1 where none does.
    offset, stored : list of int
        Its first frame in there, and how many there are.
    length, valid : list of int
        Frames of the source's array, and without those of NaN alone at its end.
    header : list of int
        Which of the recording's headers began the source's file; -1 where there was none.
    tail : list of str or None
        The bytes of one element of what follows the stored frames, in hexadecimal digits.
    size, xxh3 : list
        Bytes of the source's file, and its XXH3 of 128 bits.
    """

    state: list[State]
    array: list[int]
    offset: list[int]
    stored: list[int]
    length: list[int]
    valid: list[int]
    header: list[int]
    tail: list[str | None]
    size: list[int]
    xxh3: list[str | None]

    @model_validator(mode="after")
    def _check(self) -> "Pieces":
        counts = {name: len(getattr(self, name)) for name in Pieces.model_fields}
        if len(set(counts.values())) > 1:
            raise ValueError(f"columns of unequal length: {counts}")
        return self


class VariableFacts(_Model):
    """One variable of all trials.

    Parameters
    ----------
    axes : list of str
        In array order; ``time`` is the last.
    unit : str, optional
        Absent where nobody knows it.
    rate : float, optional
        Frames a second.
    rows : list of str, optional
        What each index of the first axis is, and in which unit, where the format says so.
    """

    axes: list[str]
    unit: str | None = None
    rate: Annotated[float | None, Field(description="Hz")] = None
    rows: list[str] | None = None
    arrays: list[StoredArray]
    pieces: Pieces


class Column(_Model):
    """One column of the table of neurons.

    Parameters
    ----------
    path : str
        Of its Zarr array, below the folder of the version; the first axis is the neurons.
    source : str
        The kept file that it was made of.
    """

    path: str
    source: str
    dtype: str
    shape: list[int]
    unit: str | None = None
    parts: list[str] | None = None


class Statistic(_Model):
    """One statistic of a variable, over the frames of the training tier.

    Parameters
    ----------
    name : str
        ``mean``, ``std``, ``median``, ``min`` or ``max``.
    group : str
        The folder in which the supplied one lies, such as ``all``.
    supplied, computed : str, optional
        Kept files that hold them.
    largest_difference, largest_relative : float, optional
        Between the two, over all elements; relative to the larger magnitude.
    agrees : bool, optional
        Whether they are equal but for rounding; absent where one of them is.
    note : str, optional
        Why there is nothing to compare.
    """

    variable: str
    group: str
    name: str
    supplied: str | None = None
    computed: str | None = None
    largest_difference: float | None = None
    largest_relative: float | None = None
    agrees: bool | None = None
    note: str | None = None


class KeptFile(_Model):
    """A file of the source, kept to the byte below ``files`` in the folder of the version."""

    path: str
    size: int
    xxh3: str


class RecordingFacts(_Model):
    """All of ``recording``.

    Parameters
    ----------
    trials, names, tiers : list
        The number of each trial, the name of its files, and its tier, in the order in which they
        lie in the arrays.
    headers : list of str
        What the source's files began with, in base64: they are returned to the byte.
    computed : list of KeptFile
        Arrays that were made of others; they lie below ``computed``.
    not_kept : list of str
        Files of the source that are not here, and why.
    """

    schema_id: Literal["microtome-recording/1"] = "microtome-recording/1"
    format: str
    name: str
    trials: list[int]
    names: list[str]
    tiers: list[str | None]
    columns: Annotated[
        dict[str, list[Any]], Field(description="other facts of each trial, one entry a trial")
    ] = {}
    variables: dict[str, VariableFacts]
    neurons: dict[str, Column] = {}
    statistics: list[Statistic] = []
    headers: list[str] = []
    files: list[KeptFile] = []
    computed: list[KeptFile] = []
    not_kept: list[str] = []
    notes: list[str] = []

    @model_validator(mode="after")
    def _check(self) -> "RecordingFacts":
        count = len(self.trials)
        others = [len(self.names), len(self.tiers)]
        others += [len(v.pieces.state) for v in self.variables.values()]
        others += map(len, self.columns.values())
        if any(other != count for other in others):
            raise ValueError(f"{count} trials, but columns of {sorted(set(others))}")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return what goes into ``zarr.json``."""
        return self.model_dump(mode="json", exclude_none=False)

    @property
    def tier_counts(self) -> dict[str, int]:
        """How many trials each tier has, in the order in which they come."""
        found: dict[str, int] = {}
        for tier in self.tiers:
            found[tier or "unknown"] = found.get(tier or "unknown", 0) + 1
        return found


def bounds(lengths: Iterator[int] | list[int]) -> list[int]:
    """Return where each of several things that lie one after another begins, and their end.

    >>> bounds([3, 0, 2])
    [0, 3, 3, 5]
    """
    return [0, *accumulate(lengths)]
