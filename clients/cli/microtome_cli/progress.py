"""Progress of an ingest: a bar on a terminal, plain lines elsewhere."""

import sys
from contextlib import AbstractContextManager
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from microtome_core.units import bytes_text
from microtome_ingest.job import Observer
from microtome_ingest.plan import Plan, total_shards

# Seconds between two plain lines.
_PACE = 5.0


class ProgressObserver(Observer, AbstractContextManager["ProgressObserver"]):
    """Shows the bytes of voxels written, of all levels together.

    Parameters
    ----------
    title : str
        What is being made.
    stream : text stream
        Where to; standard error by default, so that results can be piped.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._lock = Lock()
        self._total = self._done = 0
        self._started = self._told = monotonic()
        self._bar = _bar(self._stream) if self._stream.isatty() else None

    def begin(self, plan: Plan) -> None:
        """Say how much there is to do."""
        self._total = plan.nbytes
        if self._bar:
            self._bar.start()
            self._bar.add_task(self._title, total=plan.nbytes)
        else:
            levels, shards = len(plan.levels), total_shards(plan)
            self._say(f"{bytes_text(plan.nbytes)}, levels: {levels}, shards: {shards}")

    def advance(self, size: int) -> None:
        """Count what was written."""
        with self._lock:
            self._done += size
            if self._bar:
                self._bar.advance(self._bar.task_ids[0], size)
            elif monotonic() - self._told > _PACE:
                self._told = monotonic()
                self._say(f"{100 * self._done // self._total} %, {self._rate()}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None and self._total:
            self._say(f"done, {self._rate()}")

    def _rate(self) -> str:
        seconds = max(monotonic() - self._started, 1e-3)
        return f"{bytes_text(self._done)} in {seconds:.1f} s, {bytes_text(self._done / seconds)}/s"

    def _say(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._stream, flush=True)


def _bar(stream: TextIO) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )
