"""The trials of a recording, and one neuron over all of them."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import InputError, NotFound, RegionError, WrongAnswer
from microtome_core.errors import Withheld

if TYPE_CHECKING:
    from microtome.recording import Recording

Neurons = int | slice | Sequence[int] | NDArray[np.integer[Any]] | None


@dataclass(frozen=True, eq=False, repr=False)
class Trial:
    """One trial; its variables are attributes, read when they are asked for.

    Parameters
    ----------
    recording : Recording
    row : dict
        What the table of trials says of it.
    """

    recording: "Recording"
    row: Mapping[str, Any]

    @property
    def number(self) -> int:
        """As the source's files are named."""
        return int(self.row["trial"])

    @property
    def tier(self) -> str | None:
        """Which part of the data it belongs to, such as ``train``."""
        tier: str | None = self.row["tier"]
        return tier

    @property
    def frames(self) -> int:
        """For how many samples all its variables have values, the withheld ones left aside."""
        return int(self.row["frames"])

    def state(self, variable: str) -> str:
        """Return ``stored``, ``missing``, ``withheld`` or ``nan``."""
        self.recording.variable(variable)
        return str(self.row[f"{variable}_state"])

    def valid(self, variable: str) -> int:
        """Return for how many samples a variable has values.

        Raises
        ------
        NotFound
            None are there.
        Withheld
            Whoever published the data keeps them back.
        """
        state = self.state(variable)
        what = f"{variable} of trial {self.number} of {self.recording.id}"
        if state == "withheld":
            raise Withheld(f"{what} ({self.tier}) are withheld by those who published them")
        if state == "missing":
            raise NotFound(f"{what}: the source has none")
        return int(self.row[f"{variable}_frames"] or 0)

    def read(
        self,
        variable: str,
        start: int = 0,
        stop: int | None = None,
        *,
        neurons: Neurons = None,
        padded: bool = False,
    ) -> NDArray[Any]:
        """Return a variable, or a window of it; time is the last axis.

        Parameters
        ----------
        variable : str
        start, stop : int, optional
            Samples; all that have values by default.
        neurons : int, slice or sequence of int, optional
            Of a variable of neurons; an int gives one row. All by default.
        padded : bool
            Followed by NaN up to the length of the source's array, as that has it.

        Raises
        ------
        NotFound, Withheld
            As `valid`.
        RegionError
            A window or a neuron that is not there.
        StorageError, BrokenConnection, TimedOut, WrongAnswer
            Not every value came.
        """
        valid, info = self.valid(variable), self.recording.variable(variable)
        window = _window(self, variable, start, stop, valid)
        if padded and (start, stop) != (0, None):
            raise InputError("padded=True is of whole trials: leave start and stop out")
        words = None
        if neurons is not None:
            words = neurons_word(neurons, self.recording.neuron_axis(variable))
        if window is not None and window[0] == window[1]:
            window = None
        values = self.recording.source.window(self.number, info, window, words)
        if padded:
            values = pad(values, int(self.row[f"{variable}_length"]))
        return values[0] if isinstance(neurons, (int, np.integer)) else values

    def __getitem__(self, variable: str) -> NDArray[Any]:
        return self.read(variable)

    def __getattr__(self, name: str) -> NDArray[Any]:
        # Never for names of Python's own: copying and pickling look for some before there is a row.
        if (
            name.startswith("_")
            or name in ("recording", "row")
            or name not in self.recording.variables
        ):
            raise AttributeError(f"a trial has no {name!r}")
        return self.read(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.recording.variables})

    def __repr__(self) -> str:
        parts = [f"{name} {self._text(name)}" for name in self.recording.variables]
        return f"<microtome.Trial {self.number} of {self.recording.id}, {self.tier}: " + (
            ", ".join(parts) + ">"
        )

    def _text(self, name: str) -> str:
        state = self.state(name)
        return f"{self.row[f'{name}_frames']} samples" if state == "stored" else state


def _window(
    trial: Trial, variable: str, start: int, stop: int | None, valid: int
) -> tuple[int, int] | None:
    if (start, stop) == (0, None):
        return None
    low, high = start, valid if stop is None else stop
    if not 0 <= low < high <= valid:
        raise RegionError(
            f"samples {low}:{high} of {variable} of trial {trial.number}: valid is a range within "
            f"0:{valid}"
        )
    return low, high


def neurons_word(neurons: Neurons, count: int) -> str:
    """Say which neurons, as the service reads it.

    >>> neurons_word(slice(-2, None), 9), neurons_word([4, -1], 9), neurons_word(0, 9)
    ('7:9', '4,8', '0')
    """
    if isinstance(neurons, slice):
        chosen = range(count)[neurons]
        if not chosen:
            raise RegionError(f"neurons {neurons}: there are 0 to {count - 1}")
        if chosen.step == 1:
            return f"{chosen.start}:{chosen.stop}"
        return ",".join(map(str, chosen))
    given = np.atleast_1d(np.asarray(neurons))
    if given.dtype.kind not in "iu" or given.ndim > 1 or not given.size:
        raise InputError(f"neurons={neurons!r:.80}: expected an integer, a slice or some integers")
    numbers = given.tolist()
    for number in numbers:
        if not -count <= number < count:
            raise RegionError(f"neuron {number}: there are 0 to {count - 1}")
    return ",".join(str(number % count) for number in numbers)


def pad(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Return values followed by NaN, so that time has `length` samples.

    Raises
    ------
    InputError
        Values of a type that has no NaN.
    """
    missing = length - values.shape[-1]
    if missing <= 0:
        return values
    if values.dtype.kind != "f":
        raise InputError(f"{values.dtype} has no NaN to be padded with: ask without padded=True")
    widths = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
    return np.pad(values, widths, constant_values=np.nan)


class Trials:
    """Trials, by number: ``trials[7]`` is trial 7, whichever others there are.

    Parameters
    ----------
    recording : Recording
    rows : sequence of dict
        What the table of trials says.
    """

    def __init__(self, recording: "Recording", rows: Sequence[Mapping[str, Any]]) -> None:
        self._recording, self._rows = recording, rows
        try:
            self._by_number = {int(row["trial"]): row for row in rows}
        except (TypeError, LookupError, ValueError) as error:
            raise WrongAnswer(f"{recording.url}: a table of no trials: {error!r}") from error

    @property
    def numbers(self) -> list[int]:
        """The number of each."""
        return list(self._by_number)

    @property
    def table(self) -> dict[str, NDArray[Any]]:
        """The columns of the table by name, for example for ``pandas.DataFrame(trials.table)``."""
        names = list(self._rows[0]) if self._rows else []
        return {name: column([row[name] for row in self._rows]) for name in names}

    def where(self, tier: str | Iterable[str] | None = None, min_length: int = 0) -> "Trials":
        """Return those of some tiers that have enough samples.

        Parameters
        ----------
        tier : str or iterable of str, optional
        min_length : int
            For so many samples all variables have values, the withheld ones left aside.

        Raises
        ------
        InputError
            No such tier; names those that there are.
        """
        known = self._recording.tiers
        wanted = set(known) if tier is None else {tier} if isinstance(tier, str) else set(tier)
        for each in sorted(wanted - set(known)):
            raise InputError(f"tier {each!r}: {self._recording.id} has {', '.join(known)}")
        rows = [r for r in self._rows if (r["tier"] or "unknown") in wanted]
        return Trials(self._recording, [r for r in rows if r["frames"] >= min_length])

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Trial]:
        return (Trial(self._recording, row) for row in self._rows)

    def __contains__(self, number: object) -> bool:
        return number in self._by_number

    def __getitem__(self, number: int) -> Trial:
        """Return a trial by its number.

        Raises
        ------
        NotFound
            No trial has it; says which there are.
        """
        row = self._by_number.get(operator.index(number))
        if row is None:
            raise NotFound(f"{self._recording.id} has no trial {number} here: {self._span()}")
        return Trial(self._recording, row)

    def _span(self) -> str:
        numbers = self.numbers
        if not numbers:
            return "there are none"
        return f"there are {len(numbers)}, from {min(numbers)} to {max(numbers)}"

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for row in self._rows:
            counts[str(row["tier"])] = counts.get(str(row["tier"]), 0) + 1
        tiers = ", ".join(f"{tier} {count}" for tier, count in counts.items())
        return f"<microtome.Trials of {self._recording.id}: {len(self)} ({tiers})>"


def column(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an array; where one is absent, numbers are floats with NaN.

    >>> column([1, None]), column(["a", None])
    (array([ 1., nan]), array(['a', None], dtype=object))
    """
    absent = any(value is None for value in values)
    if absent and all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array([np.nan if value is None else value for value in values], float)
    return np.array(values, object if absent else None)


@dataclass(frozen=True, eq=False, repr=False)
class Traces(Mapping[int, NDArray[Any]]):
    """One neuron over trials: ``traces[7]`` are its values in trial 7.

    Parameters
    ----------
    variable : str
    neuron : int
    samples : ndarray
        Of all trials, one after another.
    trials : tuple of int
        Those that have values.
    bounds : ndarray
        Trial ``trials[i]`` is ``samples[bounds[i]:bounds[i + 1]]``.
    withheld : tuple of int
        Trials that were asked for, whose values those who published the data keep back.
    """

    variable: str
    neuron: int
    samples: NDArray[Any]
    trials: tuple[int, ...]
    bounds: NDArray[Any]
    withheld: tuple[int, ...] = ()

    def __getitem__(self, trial: int) -> NDArray[Any]:
        if trial in self.withheld:
            raise Withheld(f"{self.variable} of trial {trial} are withheld by their publishers")
        if trial not in self.trials:
            raise NotFound(f"no trial {trial} among these {len(self.trials)}")
        place = self.trials.index(trial)
        return self.samples[self.bounds[place] : self.bounds[place + 1]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.trials)

    def __len__(self) -> int:
        return len(self.trials)

    def padded(self) -> NDArray[Any]:
        """Return an array of (trials, samples of the longest), with NaN where a trial has ended."""
        lengths = np.diff(self.bounds)
        dtype = np.result_type(self.samples, np.float32)
        out = np.full((len(lengths), int(lengths.max(initial=0))), np.nan, dtype)
        for row, low, high in zip(out, self.bounds[:-1], self.bounds[1:], strict=True):
            row[: high - low] = self.samples[low:high]
        return out

    def __repr__(self) -> str:
        return (
            f"<microtome.Traces {self.variable} of neuron {self.neuron}: {len(self.trials)} "
            f"trials, {len(self.samples)} samples, {len(self.withheld)} trials withheld>"
        )
