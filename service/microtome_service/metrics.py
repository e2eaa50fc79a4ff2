"""What the service counts, for Prometheus.

Labels are route templates, methods and statuses, never addresses or names: their number is bounded.
With several workers each process writes its numbers to a folder that they share, which
prometheus_client adds up for whoever asks (its "multiprocess mode").
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

import tensorstore as ts
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from microtome_service.admission import Admission

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_LIVE = re.compile(r"gauge_live\w+_(\d+)\.db")
_CACHE = ("hit_count", "miss_count", "evict_count")


class Timed:
    """Times a block, and counts its failures."""

    __slots__ = ("_begun", "_errors", "_seconds")

    def __init__(self, seconds: Histogram, errors: Counter | None) -> None:
        self._seconds = seconds
        self._errors = errors

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._seconds.observe(perf_counter() - self._begun)
        # To be cancelled is no fault of storage's.
        if self._errors is not None and kind is not None and issubclass(kind, Exception):
            self._errors.inc()


class Metrics:
    """The numbers of one process.

    Parameters
    ----------
    folder : str, optional
        Where several workers share their numbers.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._make_requests()
        self._make_storage()
        self._make_room()
        self._labelled: dict[tuple[str, str, str], tuple[Counter, Histogram, Counter]] = {}
        self._seen = dict.fromkeys(_CACHE, 0)

    def _make_requests(self) -> None:
        self.requests = self._counter("requests", "Requests answered.", "route", "method", "status")
        self.seconds = self._histogram("request_seconds", "Time of a whole answer.", "route")
        self.sent = self._counter("sent_bytes", "Bytes of bodies handed to the socket.", "route")

    def _make_storage(self) -> None:
        self.decoded = self._counter("decoded_bytes", "Bytes of all chunks that reads touched.")
        self.reads = self._histogram("storage_read_seconds", "Time of a read of voxels.")
        self.encodes = self._histogram("encode_seconds", "Time of an encoding, its wait included.")
        self.errors = self._counter("storage_errors", "Reads of voxels that failed.")
        self.cache = self._counter("cache_events", "Look-ups in the cache of chunks.", "event")

    def _make_room(self) -> None:
        self.refusals = self._counter("refusals", "Requests refused for want of room.", "reason")
        self.waits = self._histogram("wait_seconds", "Time that answers waited for memory.")
        self.active = self._gauge("active_requests", "Requests under way.")
        self.flying = self._gauge("flying_bytes", "Memory held by answers under way.")
        self.waiting = self._gauge("waiting_requests", "Requests that wait for memory.")
        self.resident = self._gauge("resident_bytes", "Memory of the process (RSS).")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"microtome_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(
            f"microtome_{name}", text, labels, registry=self._registry, buckets=_SECONDS
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(
            f"microtome_{name}", text, registry=self._registry, multiprocess_mode="livesum"
        )

    def span(self, name: str) -> "Timed":
        """Time a read or an encoding, and count reads that fail."""
        return Timed(self.reads, self.errors) if name == "read" else Timed(self.encodes, None)

    def note(self, route: str, method: str, status: str, sent: int, seconds: float) -> None:
        """Count one answer; `status` is a number, or ``broken``."""
        key = (route, method if method in _METHODS else "other", status)
        # Labels are looked up once: prometheus_client takes longer for it than for counting.
        kept = self._labelled.get(key)
        if kept is None:
            kept = self._labelled[key] = (
                self.requests.labels(*key), self.seconds.labels(route), self.sent.labels(route)
            )  # fmt: skip
        requests, took, bytes_sent = kept
        requests.inc()
        took.observe(seconds)
        bytes_sent.inc(sent)

    def sample(self, gate: Admission, active: int) -> None:
        """Note what nobody tells of by itself: room, memory, and the cache."""
        self.active.set(active)
        self.flying.set(gate.used)
        self.waiting.set(gate.waiting)
        self.resident.set(_resident())
        for name in _CACHE:
            now = _engine(f"/tensorstore/cache/{name}")
            self.cache.labels(name.removesuffix("_count")).inc(max(0, now - self._seen[name]))
            self._seen[name] = now

    def collect(self) -> Iterable[Metric]:
        """Return every metric of this process."""
        return self._registry.collect()

    def text(self) -> bytes:
        """Return the numbers of this process, or of all workers together."""
        if self._folder is None:
            return bytes(generate_latest(self._registry))
        _forget_dead(self._folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._folder)
        return bytes(generate_latest(registry))


def _engine(name: str) -> int:
    found = ts.experimental_collect_matching_metrics(name)
    return sum(int(each.get("value", 0)) for metric in found for each in metric["values"])


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0  # Not Linux.
    return pages * os.sysconf("SC_PAGE_SIZE")


def _forget_dead(folder: str) -> None:
    """Leave gauges of workers that have ended out of the sums."""
    found = (_LIVE.fullmatch(path.name) for path in Path(folder).iterdir())
    for pid in {int(match[1]) for match in found if match}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, folder)
        except PermissionError:
            continue
