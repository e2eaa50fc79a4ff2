"""A recording on a service: arrays over time, one for each trial and variable."""

import random
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from types import MappingProxyType
from typing import Any

import numpy as np

from microtome.address import Address, Addressed
from microtome.ahead import ahead
from microtome.errors import InputError, NotFound, RegionError
from microtome.neurons import NeuronTable
from microtome.statistics import Statistics
from microtome.transport import Transport
from microtome.trial_fetch import Sample, Source, Wanted
from microtome.trials import Neurons, Traces, Trial, Trials, neurons_word
from microtome_core.trials import RecordingInfo, VariableInfo

Window = tuple[int, int] | None


@dataclass(frozen=True, eq=False, repr=False)
class Recording(Addressed):
    """Trials of unequal length, read as they are asked for; made by `microtome.open`.

    The table of trials and that of neurons are fetched once, when they are first needed; values
    are not kept. Recordings may be used by threads at once, pickled, and carried over a fork.

    Parameters
    ----------
    address : Address
        Where it is served.
    info : RecordingInfo
        What the service says of it.
    transport : Transport
        Connections to the service.
    """

    address: Address
    info: RecordingInfo
    transport: Transport

    @property
    def attrs(self) -> dict[str, Any]:
        """The NWB-style record."""
        return self.info.attrs

    @property
    def tiers(self) -> dict[str, int]:
        """How many trials each tier has."""
        return self.info.tiers

    @property
    def variables(self) -> Mapping[str, VariableInfo]:
        """Axes, extents, type, unit and rate of each variable, by its name."""
        return MappingProxyType({each.name: each for each in self.info.variables})

    @property
    def source(self) -> Source:
        """Where values come from."""
        return Source(self.transport, self.address.api, self.info.version)

    @cached_property
    def trials(self) -> Trials:
        """All trials, by number."""
        return Trials(self, self.source.rows("trials"))

    @cached_property
    def neurons(self) -> NeuronTable:
        """The table of neurons: columns by name, and their coordinates."""
        return NeuronTable(self.id, self.info, self.source.rows("neurons"))

    @property
    def statistics(self) -> Statistics:
        """Statistics by variable and name: ``recording.statistics["responses"]["std"]``."""
        return Statistics(self.source, self.info)

    def variable(self, name: str) -> VariableInfo:
        """Return what is known of a variable.

        Raises
        ------
        NotFound
            There is none of the name; says which there are.
        """
        found = self.variables.get(name)
        if found is None:
            raise NotFound(f"{self.id} has no {name!r:.80}: it has {', '.join(self.variables)}")
        return found

    def neuron_axis(self, variable: str) -> int:
        """Return how many neurons a variable is of.

        Raises
        ------
        InputError
            It is not of neurons.
        """
        info = self.variable(variable)
        if info.axes[0] != "neuron":
            raise InputError(f"{variable} has axes {', '.join(info.axes)}: it is not of neurons")
        return info.shape[0] or self.info.neurons

    def responses(self, neuron: int, tier: str | None = None, min_length: int = 0) -> Traces:
        """Return the responses of one neuron in all trials, or in those of a tier, by one request.

        Raises
        ------
        RegionError
            No such neuron.
        NotFound, InputError
            The recording has no responses, or no such tier.
        StorageError, BrokenConnection, TimedOut, WrongAnswer
            Not every value came.
        """
        return self.row("responses", neuron, tier, min_length)

    def row(
        self, variable: str, neuron: int, tier: str | None = None, min_length: int = 0
    ) -> Traces:
        """Return one neuron's values of a variable over trials; raises as `responses`."""
        number = int(neurons_word(neuron, self.neuron_axis(variable)))
        trials = self.trials.where(tier, min_length)
        words = {"min_length": str(min_length)} if min_length else {}
        if tier is not None:
            words["tier"] = tier
        withheld = tuple(t.number for t in trials if t.state(variable) == "withheld")
        if not any(trial.state(variable) == "stored" for trial in trials):
            dtype = self.variable(variable).dtype or "float32"
            return Traces(variable, number, np.empty(0, dtype), (), np.zeros(1, int), withheld)
        found = self.source.row(number, variable, words)
        return Traces(
            variable, number, found["values"], tuple(found["trials"].tolist()), found["bounds"],
            withheld,
        )  # fmt: skip

    def batch(
        self,
        trials: Iterable[int | Trial],
        variables: Sequence[str] | None = None,
        *,
        windows: Sequence[Window] | None = None,
        neurons: Neurons = None,
    ) -> list[Sample]:
        """Return the variables of many trials by one request, or by few where they are large.

        Parameters
        ----------
        trials : iterable of int or Trial
            In the order of the answer; one may come more than once.
        variables : sequence of str, optional
            By default all that a trial has values of.
        windows : sequence of (int, int) or None, optional
            Of each trial the samples; all by default.
        neurons : int, slice or sequence of int, optional
            Of the variables of neurons; all by default.

        Returns
        -------
        list of dict
            Of each trial its arrays by variable.

        Raises
        ------
        NotFound, Withheld
            A variable that is given by name, and of which a trial has no values.
        RegionError
            A window or a neuron that is not there.
        StorageError, BrokenConnection, TimedOut, WrongAnswer
            Not every value came; there is no partial result.
        """
        names = _once(variables)
        asked = self._asked(list(trials), names, windows)
        return self.source.batch(asked, names, self._neurons_word(neurons))

    def batches(
        self,
        size: int,
        variables: Sequence[str] | None = None,
        *,
        tier: str | Iterable[str] | None = "train",
        window: int | None = None,
        neurons: Neurons = None,
        shuffle: bool = True,
        seed: int | None = None,
        depth: int = 2,
    ) -> Iterator[list[Sample]]:
        """Yield batches of all trials of a tier once, while the next ones are fetched.

        Parameters
        ----------
        size : int
            Trials of a batch; the last may have fewer.
        variables : sequence of str, optional
            By default all that a trial has values of.
        tier : str, iterable of str or None
            Of all trials with None.
        window : int, optional
            Samples of each trial, from a place that is drawn; trials that are shorter are left out.
        neurons : int, slice or sequence of int, optional
        shuffle : bool
            Draw the order, too.
        seed : int, optional
            Of what is drawn: the same again.
        depth : int
            Batches fetched ahead.

        Raises
        ------
        InputError
            A number that is too small, a window that no trial fills, or no such tier.
        """
        for name, value in (("size", size), ("depth", depth), ("window", window or 1)):
            if value < 1:
                raise InputError(f"{name}={value}: expected 1 or more")
        found = list(self.trials.where(tier, window or 0))
        if not found:
            raise InputError(f"window={window}: longer than every trial of tier {tier!r}")
        dice = random.Random(seed)  # noqa: S311 - draws trials, hides nothing
        if shuffle:
            dice.shuffle(found)
        drawn = [(trial, _drawn(dice, trial.frames, window)) for trial in found]
        parts = [drawn[i : i + size] for i in range(0, len(drawn), size)]
        names, word = _once(variables), self._neurons_word(neurons)

        def fetch(part: list[tuple[Trial, Window]], stop: threading.Event) -> list[Sample]:
            asked = self._asked([trial for trial, _ in part], names, [w for _, w in part])
            return self.source.batch(asked, names, word, stop=stop)

        return ahead(fetch, parts, depth)

    def to_xarray(
        self,
        trials: Iterable[int | Trial] | None = None,
        variables: Sequence[str] | None = None,
    ) -> Any:  # noqa: ANN401 - xarray need not be installed
        """Return trials as one labelled dataset, whose values are fetched when they are computed.

        Dimensions are trial, time in seconds, and the axes of each variable; what a trial has no
        values of is NaN, with its state beside it. Neurons have their coordinates.

        Parameters
        ----------
        trials : iterable of int or Trial, optional
            All by default.
        variables : sequence of str, optional
            All by default.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        ImportError
            xarray or dask is not installed.
        InputError
            Variables of different rates, or of different extents over trials.
        """
        from microtome.labelled_trials import to_dataset  # noqa: PLC0415 - needs xarray

        chosen = list(self.trials) if trials is None else [self._trial(t) for t in trials]
        return to_dataset(self, chosen, list(variables or self.variables))

    def _trial(self, trial: int | Trial) -> Trial:
        return trial if isinstance(trial, Trial) else self.trials[trial]

    def _asked(
        self,
        trials: Sequence[int | Trial],
        variables: Sequence[str] | None,
        windows: Sequence[Window] | None,
    ) -> list[Wanted]:
        """Check what is asked before anything of it is fetched."""
        if windows is not None and len(windows) != len(trials):
            raise InputError(f"{len(windows)} windows of {len(trials)} trials")
        asked = []
        for place, each in enumerate(trials):
            trial, window = self._trial(each), windows[place] if windows else None
            names = variables or [n for n in self.variables if trial.state(n) == "stored"]
            frames = [trial.valid(name) for name in names]
            if window is not None and not 0 <= window[0] < window[1] <= min(frames, default=0):
                raise RegionError(
                    f"window {window} of trial {trial.number}: valid is a range within "
                    f"0:{min(frames, default=0)}"
                )
            asked.append(Wanted(trial.number, window, self._nbytes(names, frames, window)))
        return asked

    def _nbytes(self, names: Sequence[str], frames: Sequence[int], window: Window) -> int:
        total = 0
        for name, count in zip(names, frames, strict=True):
            info, length = self.variable(name), window[1] - window[0] if window else count
            extents = [extent or 1 for extent in info.shape[:-1]]
            total += int(np.prod(extents)) * length * np.dtype(info.dtype or "f8").itemsize
        return total

    def _neurons_word(self, neurons: Neurons) -> str | None:
        if isinstance(neurons, (int, np.integer)):
            neurons = [int(neurons)]
        return None if neurons is None else neurons_word(neurons, self.info.neurons)

    def __reduce__(self) -> tuple[type["Recording"], tuple[Address, RecordingInfo, Transport]]:
        return type(self), (self.address, self.info, self.transport)

    def __repr__(self) -> str:
        return (
            f"<microtome.Recording {self.id}: {self.info.trials} trials, {self.info.neurons} "
            f"neurons, {', '.join(self.variables)}>"
        )

    def _repr_html_(self) -> str:
        tiers = ", ".join(f"{tier} {count}" for tier, count in self.tiers.items())
        rows = {
            "trials": f"{self.info.trials} ({tiers})",
            "neurons": str(self.info.neurons),
            **{name: variable_text(info) for name, info in self.variables.items()},
            "address": self.url,
        }
        cells = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in rows.items()
        )
        return f"<div><strong>{escape(self.id)}</strong><table>{cells}</table></div>"


def _once(variables: Sequence[str] | None) -> list[str] | None:
    if isinstance(variables, str):
        raise InputError(f"variables={variables!r}: expected a list, such as [{variables!r}]")
    return None if variables is None else list(dict.fromkeys(variables))


def _drawn(dice: random.Random, frames: int, window: int | None) -> Window:
    if window is None:
        return None
    start = dice.randrange(frames - window + 1)
    return start, start + window


def variable_text(info: VariableInfo) -> str:
    """Say what a variable is: its axes with their extents, type, unit and rate.

    >>> variable_text(VariableInfo("v", ("y", "time"), (36, None), "float32", None, 30.0))
    'y 36 × time, float32, 30 Hz'
    """
    pairs = zip(info.axes, info.shape, strict=True)
    axes = " × ".join(f"{axis} {extent}" if extent else axis for axis, extent in pairs)
    rate = f"{info.rate:g} Hz" if info.rate else None
    return ", ".join(filter(None, (axes, info.dtype, info.unit, rate)))
