"""What service and client say to each other about a recording, as plain frozen structures.

A recording is arrays over time, one for each trial and variable, of unequal length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from microtome_core.errors import InputError

RECORDING = "recording"
# Why there are no values: nobody has any, or whoever published them keeps them back.
STATES = ("stored", "missing", "withheld", "nan")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """One variable of every trial.

    Parameters
    ----------
    name : str
    axes : tuple of str
        In array order, such as ``neuron, time``; time is the last.
    shape : tuple of int or None
        Extents in the order of `axes`; None where trials differ, which over time they do.
    dtype : str or None
        NumPy's name; None where trials differ.
    unit : str or None
    rate : float or None
        Samples a second along time.
    rows : tuple of str
        What each index of the first axis is, where it is known.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: str | None
    unit: str | None = None
    rate: float | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column of the table of neurons.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Extents of what each neuron has: none for a number.
    dtype : str
    unit : str or None
    parts : tuple of str
        What each number of a row is, such as ``x, y, z``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatisticInfo:
    """One statistic of a variable.

    Parameters
    ----------
    variable, group, name : str
        ``responses``, ``all``, ``std``.
    supplied, computed : bool
        Which of the two there are: that of the source, and that of the frames of training trials.
    agrees : bool or None
        Whether they are equal but for rounding; None where one of them is missing.
    largest_difference, largest_relative : float or None
        Between them, over all elements.
    note : str or None
        Why there is nothing to compare.
    """

    variable: str
    group: str
    name: str
    supplied: bool
    computed: bool
    agrees: bool | None = None
    largest_difference: float | None = None
    largest_relative: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """All that one needs to know to read a recording.

    Parameters
    ----------
    id : str
        ``collection/dataset/layer``.
    version : str
        Of the values: another one once they were replaced.
    format : str
        Of the source.
    trials : int
        How many.
    tiers : dict
        How many trials each tier has.
    neurons : int
        How many.
    variables, columns, statistics : tuple
        Of trials, of the table of neurons, and of variables.
    attrs : dict
        The NWB-style record.
    kind : str
        ``recording``.
    record_version : str
        Of all metadata: another one whenever the record has changed, too.
    """

    id: str
    version: str
    format: str
    trials: int
    tiers: dict[str, int]
    neurons: int
    variables: tuple[VariableInfo, ...]
    columns: tuple[ColumnInfo, ...] = ()
    statistics: tuple[StatisticInfo, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    kind: str = RECORDING
    record_version: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RecordingInfo":
        """Read a recording's JSON; fields that are unknown here are left alone.

        Raises
        ------
        InputError
            A field that is missing or has the wrong form.
        """
        try:
            if value["kind"] != RECORDING:
                raise InputError(f"kind {value['kind']!r:.80}")
            return cls(
                str(value["id"]), str(value["version"]), str(value["format"]),
                _count(value["trials"]), {str(k): _count(n) for k, n in value["tiers"].items()},
                _count(value["neurons"]), _all(VariableInfo, value["variables"]),
                _all(ColumnInfo, value["columns"]), _all(StatisticInfo, value["statistics"]),
                dict(value["attrs"]),
                record_version=str(value.get("record_version", value["version"])),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a recording's JSON: {error!r}") from error


def _count(value: Any) -> int:  # noqa: ANN401 - a JSON value is anything
    if type(value) is not int or value < 0:
        raise InputError(f"{value!r:.80}: expected a number of things")
    return value


def _all(cls: type[T], values: Sequence[Mapping[str, Any]]) -> tuple[T, ...]:
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]  # each is a dataclass
    return tuple(cls(**{name: _tuples(value[name]) for name in names}) for value in values)


def _tuples(value: Any) -> Any:  # noqa: ANN401 - a JSON value is anything
    return tuple(value) if isinstance(value, list) else value
