"""Progress of an ingest: a bar on a terminal, plain lines elsewhere, or one JSON object a line."""

import json
import resource
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from microtome_core.store.ledger import Entry, Ledger
from microtome_core.units import bytes_text
from microtome_ingest.observer import Observer
from microtome_ingest.plan import Plan, total_shards

# Seconds between two lines.
_PACE = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """How far an ingest is; bytes are those of voxels, of all levels together.

    Parameters
    ----------
    bytes, total_bytes, shards, total_shards : int
        Done, earlier runs included, and in all.
    stored_bytes : int
        What the shards of this run take in the store.
    seconds : float
        Since this run began.
    rate : float
        Bytes a second of this run.
    seconds_left : float or None
    memory : int
        Bytes of the process' resident memory.
    """

    bytes: int
    total_bytes: int
    shards: int
    total_shards: int
    stored_bytes: int
    seconds: float
    rate: float
    seconds_left: float | None
    memory: int

    def __str__(self) -> str:
        left = f", {_clock(self.seconds_left)} left" if self.seconds_left is not None else ""
        return (
            f"{100 * self.bytes // max(self.total_bytes, 1)} %, "
            f"{self.shards} of {self.total_shards} shards, "
            f"{bytes_text(self.rate)}/s{left}, memory {bytes_text(self.memory)}"
        )


class View(Protocol):
    """A way to show progress."""

    def say(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401 - JSON of any kind
        """Tell of something that happened once."""

    def show(self, state: State) -> None:
        """Tell how far it is."""

    def result(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401 - as above
        """Tell of what came of it, on standard output."""

    def close(self) -> None:
        """End."""


class Lines:
    """Plain lines on a stream."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title, self._stream = title, stream

    def say(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401
        """Print a line."""
        print(f"{self._title}: {text}", file=self._stream, flush=True)

    def show(self, state: State) -> None:
        """Print a line."""
        self.say("progress", str(state))

    def result(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401
        """Print the text alone, so that it can be piped."""
        print(text)

    def close(self) -> None:
        """Do nothing: each line stands for itself."""


class Events:
    """JSON objects, one a line, each with ``event``."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title, self._stream = title, stream

    def say(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401
        """Print an object."""
        line = {"event": event, "layer": self._title, **facts, "text": text}
        print(json.dumps(line), file=self._stream, flush=True)

    def show(self, state: State) -> None:
        """Print an object with all that is known."""
        self.say("progress", str(state), **asdict(state))

    def result(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401
        """Print an object."""
        self.say(event, text, **facts)

    def close(self) -> None:
        """Do nothing: each object stands for itself."""


class Bar(Lines):
    """A bar that grows, with lines above it."""

    def __init__(self, title: str, stream: TextIO) -> None:
        super().__init__(title, stream)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.fields[state]}"), console=Console(file=stream)
        )
        self._task = self._bar.add_task(title, total=None, state="")

    def show(self, state: State) -> None:
        """Redraw."""
        self._bar.start()
        _, _, words = str(state).partition("%, ")
        self._bar.update(self._task, total=state.total_bytes, completed=state.bytes, state=words)

    def result(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401
        """End, since a bar that lives takes all of standard output for itself, and print."""
        self._bar.stop()
        super().result(event, text, **facts)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


class ProgressObserver(Observer, AbstractContextManager["ProgressObserver"]):
    """Counts what is done and shows it.

    Parameters
    ----------
    title : str
        What is being made.
    view : View, optional
        A bar or lines on standard error by default, so that results can be piped.
    """

    def __init__(self, title: str, view: View | None = None) -> None:
        self._view = view or (Bar if sys.stderr.isatty() else Lines)(title, sys.stderr)
        self._pace = 0.2 if isinstance(self._view, Bar) else _PACE
        self._lock = Lock()
        self._started = self._told = monotonic()
        self._plan: Plan | None = None
        self._total = self._totals = self._before = 0
        self._bytes = self._shards = self._stored = 0

    def resume(self, ledger: Ledger, lost: int) -> None:
        """Say what need not be done again."""
        known = sum(ledger.count(level) for level in range(len(ledger.grids)))
        total = sum(grid.size for grid in ledger.grids)
        again = f"; {lost} were lost since and are made anew" if lost else ""
        text = f"goes on: {known} of {total} shards are done{again}"
        self._view.say("resume", text, shards=known, total_shards=total, lost=lost)

    def begin(self, plan: Plan, ledger: Ledger) -> None:
        """Say how much there is to do."""
        self._plan, self._total, self._totals = plan, plan.nbytes, total_shards(plan)
        self._shards = sum(ledger.count(level) for level in range(len(plan.levels)))
        self._bytes = self._before = _known_bytes(plan, ledger)
        text = f"{bytes_text(plan.nbytes)}, levels: {len(plan.levels)}, shards: {self._totals}"
        facts = {"total_bytes": self._total, "total_shards": self._totals}
        self._view.say("begin", text, levels=len(plan.levels), **facts)

    def advance(self, entry: Entry, size: int) -> None:
        """Count what was written."""
        with self._lock:
            self._bytes += size
            self._shards += 1
            self._stored += entry.length
            if monotonic() - self._told > self._pace:
                self._told = monotonic()
                self._view.show(self.state())

    def say(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401 - JSON of any kind
        """Tell of something that happened once."""
        self._view.say(event, text, **facts)

    def result(self, event: str, text: str, **facts: Any) -> None:  # noqa: ANN401 - as above
        """Tell of what came of it, on standard output."""
        self._end()
        self._view.result(event, text, **facts)

    def state(self) -> State:
        """Return how far it is."""
        seconds = max(monotonic() - self._started, 1e-3)
        rate = (self._bytes - self._before) / seconds
        left = (self._total - self._bytes) / rate if rate else None
        return State(
            self._bytes,
            self._total,
            self._shards,
            self._totals,
            self._stored,
            round(seconds, 3),
            round(rate, 1),
            None if left is None else round(left, 1),
            memory_now(),
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._view.close()

    def _end(self) -> None:
        """Show once how far it came."""
        if self._plan is not None:
            self._view.show(self.state())
            self._plan = None


def memory_now() -> int:
    """Return the bytes of this process' resident memory, or the most it had without /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Bytes on macOS, the one place without /proc where this is likely to run.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _known_bytes(plan: Plan, ledger: Ledger) -> int:
    """Return the bytes of the voxels that are done, taking shards at the edges for whole ones."""
    total = 0
    for level, array in enumerate(plan.arrays):
        size = int(np.prod(array.shape, dtype=object)) * np.dtype(array.dtype).itemsize
        total += size * ledger.count(level) // plan.shards(level).size
    return total


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
