"""Statistics of a recording's variables, fetched when they are asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from microtome.errors import NotFound
from microtome.trial_fetch import Source
from microtome_core.trials import RecordingInfo, StatisticInfo

_USUAL = "all"


@dataclass(frozen=True, eq=False, repr=False)
class Statistics(Mapping[str, "OfVariable"]):
    """Statistics by variable.

    Parameters
    ----------
    source : Source
    info : RecordingInfo
    """

    source: Source
    info: RecordingInfo

    def __getitem__(self, variable: str) -> "OfVariable":
        found = {_key(each): each for each in self.info.statistics if each.variable == variable}
        if not found:
            there = ", ".join(self) or "none"
            raise NotFound(f"{self.info.id} has no statistics of {variable!r:.80}: it has {there}")
        return OfVariable(self.source, found)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(each.variable for each in self.info.statistics))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<microtome.Statistics of {self.info.id}: {', '.join(self)}>"


@dataclass(frozen=True, eq=False, repr=False)
class OfVariable(Mapping[str, NDArray[Any]]):
    """Statistics of one variable: ``["std"]``, or ``["group/std"]`` of a group that is not ``all``.

    Parameters
    ----------
    source : Source
    found : mapping of str to StatisticInfo
    """

    source: Source
    found: Mapping[str, StatisticInfo]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.read(name)

    def read(self, name: str, source: str | None = None) -> NDArray[Any]:
        """Return a statistic.

        Parameters
        ----------
        name : str
        source : str, optional
            ``supplied`` with the data or ``computed`` over the training trials; the first that
            there is by default.
        """
        each = self.describe(name)
        return self.source.statistic(f"{each.variable}/{each.group}/{each.name}", source)

    def describe(self, name: str) -> StatisticInfo:
        """Return what is known of a statistic: whether what was supplied agrees with the data."""
        if name not in self.found:
            raise NotFound(f"no statistic {name!r:.80}: there are {', '.join(self.found)}")
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return f"<microtome statistics: {', '.join(self.found)}>"


def _key(each: StatisticInfo) -> str:
    return each.name if each.group == _USUAL else f"{each.group}/{each.name}"
