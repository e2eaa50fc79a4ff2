"""In which form to ask for voxels: as they are, or packed where they come sooner so.

A link that seems slow may be a processor that is busy, here or there, which packed voxels would
make busier still. So what is slow is tried the other way, and what gave more voxels in the same
time is kept; now and then the other one is tried again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from microtome.errors import InputError

TRANSFERS = ("auto", "raw", "zstd", "chunks")
# Bytes of voxels below which an answer is as it is.
LEAST = 256 << 10
# Bytes a second from which on nothing is gained by sending less.
SLOW = 32e6
# Nothing is concluded from less; and what is older than so many bytes counts half.
_ENOUGH = 1 << 20
_MEMORY = 64 << 20
# What a trial takes, unless it is in vain at once; and the gain that is worth a change.
_TRIAL, _ANSWERS = 4 << 20, 3
_IN_VAIN, _GAIN = 0.8, 1.1
# Bytes of voxels from one trial to the next: as many at first, twice as many after each in vain.
_PAUSE, _LONGEST = 64 << 20, 1 << 30


class Link:
    """How fast voxels have come, in each form; safe in threads.

    Parameters
    ----------
    transfer : str
        ``auto`` goes by what was measured; ``raw``, ``zstd`` or ``chunks`` always.
    clock : callable
        Seconds.

    Attributes
    ----------
    received : int
        Bytes of bodies so far.
    """

    def __init__(self, transfer: str = "auto", clock: Callable[[], float] = time.monotonic) -> None:
        if transfer not in TRANSFERS:
            raise InputError(f"transfer={transfer!r}: expected one of {', '.join(TRANSFERS)}")
        self.transfer = transfer
        self.received = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._wire = _Meter()
        self._receiving = _Busy()
        self._choice = _Choice()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count the time within as spent on receiving a body; those side by side share it."""
        with self._lock:
            self._receiving.begin(self._clock())
        try:
            yield
        finally:
            with self._lock:
                self._wire.seconds += self._receiving.end(self._clock())

    def note(self, nbytes: int) -> None:
        """Count bytes of a body that were received."""
        with self._lock:
            self.received += nbytes
            self._wire.seconds += self._receiving.pass_on(self._clock())
            self._wire.add(nbytes)

    @property
    def rate(self) -> float | None:
        """Bytes of bodies a second while some were received; None where too little came to tell."""
        with self._lock:
            return self._wire.rate

    @contextmanager
    def asking(self, nbytes: int) -> Iterator[bool]:
        """Tell whether to ask for so many bytes of voxels packed, and time what is done within."""
        if self.transfer != "auto" or nbytes < LEAST:
            yield self.transfer not in ("auto", "raw")
            return
        with self._lock:
            packed = self._choice.begin(self._clock())
        done = 0
        try:
            yield packed
            done = nbytes
        finally:
            with self._lock:
                wire = self._wire.rate
                slow = wire is not None and wire < SLOW
                self._choice.end(self._clock(), packed, done, slow=slow)


class _Meter:
    """Bytes and seconds, of which the recent ones count more."""

    def __init__(self) -> None:
        self.bytes = self.seconds = 0.0
        self.answers = 0

    def add(self, nbytes: int) -> None:
        self.bytes += nbytes
        self.answers += 1
        if self.bytes > _MEMORY:
            self.bytes, self.seconds = self.bytes / 2, self.seconds / 2

    @property
    def rate(self) -> float | None:
        return self.bytes / self.seconds if self.bytes >= _ENOUGH and self.seconds > 0 else None


class _Busy:
    """The time in which at least one of several things is under way."""

    def __init__(self) -> None:
        self.count = 0
        self._since = 0.0

    def begin(self, now: float) -> float:
        spent = self.pass_on(now)
        self.count += 1
        return spent

    def end(self, now: float) -> float:
        spent = self.pass_on(now)
        self.count -= 1
        return spent

    def pass_on(self, now: float) -> float:
        """Return what has passed since this was asked last."""
        since, self._since = self._since, now
        return now - since if self.count else 0.0


class _Choice:
    """Which form is used, and what is known of both."""

    def __init__(self) -> None:
        self._packed = False
        self._under_way = {False: _Busy(), True: _Busy()}
        self._meter = _Meter()
        # Of the other form, while this one is on trial.
        self._other: float | None = None
        self._since_trial = 0
        self._due, self._pause = _ENOUGH, _PAUSE

    def begin(self, now: float) -> bool:
        self._spend(self._packed, self._under_way[self._packed].begin(now))
        return self._packed

    def end(self, now: float, packed: bool, nbytes: int, *, slow: bool) -> None:
        self._spend(packed, self._under_way[packed].end(now))
        if packed != self._packed or self._under_way[not packed].count or not nbytes:
            # What was asked for in the other form takes its part of link and processors, too.
            return
        self._meter.add(nbytes)
        self._since_trial += nbytes
        rate = self._meter.rate
        if rate is None:
            return
        if self._other is not None:
            self._judge(rate, self._other)
        elif (slow or packed) and self._since_trial >= self._due:
            self._change(rate)

    def _spend(self, packed: bool, seconds: float) -> None:
        if packed == self._packed and not self._under_way[not packed].count:
            self._meter.seconds += seconds

    def _judge(self, rate: float, other: float) -> None:
        short = self._meter.bytes < _TRIAL or self._meter.answers < _ANSWERS
        if short and rate > _IN_VAIN * other:
            return
        if rate > _GAIN * other:
            self._pause = _PAUSE
        else:
            self._change(None)
            self._pause = min(2 * self._pause, _LONGEST)
        self._other, self._since_trial, self._due = None, 0, self._pause

    def _change(self, rate: float | None) -> None:
        self._packed = not self._packed
        self._meter = _Meter()
        self._other = rate
