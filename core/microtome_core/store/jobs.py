"""Ingests under way and done, as their ledgers tell: who wants to look on need not ask a process.

What an ingest keeps is said in `ledger`: ``0/ledger/job.json`` says what is made of what, journals
note each shard, claims are rewritten by a heartbeat while somebody works. That of a recording has
notes of units in place of journals. ``0/ledger/failed-PART.json`` says why a part of it ended.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import prod
from typing import Any, Literal

import numpy as np

from microtome_core.addresses import without_secrets
from microtome_core.names import DatasetId
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

State = Literal["running", "stopped", "failed", "done", "damaged"]
# Without a heartbeat for so long a process counts as dead, as among ingests themselves.
DEAD = 30.0
_VERSION = re.compile(r"v[1-9][0-9]{0,5}")
_SHARD = b'{"shard": "0/c'
_FAILED = re.compile(r"/ledger/failed-[0-9]+-of-[0-9]+\.json$")
# How many parts an ingest had of which this is, in names of notes and journals.
_COUNT = re.compile(r"/[a-z-]*[0-9]+-of-([0-9]+)[-.][^/]*$")
# Hosts and folders within words, of which pages tell no stranger; a layer's name is none.
_PLACES = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[^\s/'\",;]*/)*"
    r"|(?<![^\s'\"(:,;=])(?:/(?:[^\s/:'\",;]+/)+|(?:[^\s/:'\",;]+/)+(?=[^\s/:'\",;]+\.[a-z]))"
)
_LONGEST = 1000
# Of more parts of a journal the lines are reckoned from their bytes, of more that failed none is
# read.
_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One ingest.

    Parameters
    ----------
    layer : str
        ``collection/dataset/layer``.
    state : str
        ``running`` if a heart has beaten within half a minute, else ``failed`` if it said why it
        ended, else ``stopped``; ``done`` once the ledger is sealed; ``damaged`` where it cannot be
        read.
    sources : tuple of str
        Names of the files, without where they lie.
    started, seen : float or None
        Seconds since 1970: when it was begun, and when it last wrote something.
    shape, dtype
        Of the finest level; empty for a recording.
    done, total : int
        Shards of the finest level that are written, and all of them; of a recording units of work,
        and 0 of 0 before they are planned.
    nbytes : int
        Of the voxels of the finest level, or of the files that a recording is made of.
    trouble : str
        Why it failed, or what is wrong with its ledger, without the places of files.
    recording : bool
    """

    layer: str
    state: State
    format: str = ""
    sources: tuple[str, ...] = ()
    started: float | None = None
    seen: float | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""
    done: int = 0
    total: int = 0
    nbytes: int = 0
    trouble: str = ""
    recording: bool = False

    @property
    def part(self) -> float:
        """How much of the finest level is written, 0 to 1."""
        return self.done / self.total if self.total else 0.0

    @property
    def rate(self) -> float | None:
        """Bytes of voxels a second, on the average since it began; None where nobody knows."""
        if self.started is None or self.seen is None or self.seen <= self.started:
            return None
        return self.part * self.nbytes / (self.seen - self.started)

    @property
    def left(self) -> float | None:
        """Seconds that a running one still needs at that rate; None where nobody knows."""
        rate = self.rate
        if self.state != "running" or not rate:
            return None
        return (1 - self.part) * self.nbytes / rate


def find_jobs(store: Store, dataset: DatasetId, now: float) -> list[Job]:
    """Return the newest ingest of each layer of a dataset that was ingested.

    Parameters
    ----------
    now : float
        Seconds since 1970.

    Raises
    ------
    StorageError
        Storage failed; what is damaged is told as such.
    """
    found = (_job(store, path, name, now) for path, name in _layers(store, dataset))
    return [job for job in found if job is not None]


def _layers(store: Store, dataset: DatasetId) -> Iterator[tuple[str, str]]:
    for layer in store.children(str(dataset)):
        yield f"{dataset}/{layer}", f"{dataset}/{layer}"
        for below in store.children(f"{dataset}/{layer}/labels"):
            yield f"{dataset}/{layer}/labels/{below}", f"{dataset}/{below}"


def _job(store: Store, path: str, name: str, now: float) -> Job | None:
    versions = sorted((c for c in store.children(path) if _VERSION.fullmatch(c)), key=_number)
    for folder in (*(f"{path}/{version}" for version in reversed(versions)), path):
        data = store.read(f"{folder}/{FOLDER}/job.json")
        if data is not None:
            return _told(store, folder, name, data, now)
    return None


def _number(version: str) -> int:
    return int(version[1:])


def _told(store: Store, folder: str, name: str, data: bytes, now: float) -> Job:
    try:
        document = json.loads(data)
        ledger = sorted(store.sizes(f"{folder}/{FOLDER}"))
        if "body" in document:
            return _of_recording(store, name, json.loads(document["body"]), ledger, now)
        return _of_layer(store, name, document["manifest"], ledger, now)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        trouble = f"its manifest cannot be read: {type(error).__name__}"
        return Job(name, "damaged", trouble=trouble)


Keys = list[tuple[str, int]]


def _of_layer(
    store: Store, name: str, manifest: Mapping[str, Any], ledger: Keys, now: float
) -> Job:
    spec, source = manifest["spec"], manifest["source"]
    shape, shard = tuple(map(int, spec["shape"])), tuple(map(int, manifest["shard"]))
    total = prod(-(-n // s) for n, s in zip(shape, shard, strict=True))
    sealed = [key for key, _ in ledger if key.endswith("/shards-00000.jsonl")]
    journal = [(key, size) for key, size in ledger if "/ledger/journal/" in key]
    whole = bool(sealed and not journal)
    state, _, trouble = _state(store, ledger, now, whole=whole)
    return Job(
        name,
        state,
        str(source["format"]),
        tuple(_file(file["name"]) for file in source["files"]),
        datetime.fromisoformat(manifest["started"]).timestamp(),
        max(filter(None, (_modified(store, k) for k in _last(sealed, journal))), default=None),
        shape,
        str(spec["dtype"]),
        total if whole else min(total, _count(store, journal)),
        total,
        prod(shape) * np.dtype(str(spec["dtype"])).itemsize,
        trouble,
    )


def _of_recording(
    store: Store, name: str, manifest: Mapping[str, Any], ledger: Keys, now: float
) -> Job:
    sealed = [key for key, _ in ledger if key.endswith("/ledger/objects.json")]
    units = [key for key, _ in ledger if "/ledger/done/" in key]
    whole = bool(sealed and not units)
    state, beat, trouble = _state(store, ledger, now, whole=whole)
    planned = next((key for key, _ in ledger if key.endswith("/ledger/units.json")), "")
    total = int(json.loads(store.read(planned) or b"{}").get("units", 0)) if planned else 0
    return Job(
        name,
        state,
        "trials",
        (_file(manifest["source"]),),
        datetime.fromisoformat(manifest["started"]).timestamp(),
        _modified(store, sealed[0]) if sealed else beat,
        done=total if whole else len(units),
        total=max(total, len(units)),
        nbytes=sum(map(int, manifest["files"].values())),
        trouble=trouble,
        recording=True,
    )


def _file(path: object) -> str:
    return str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]


def _last(sealed: list[str], journal: list[tuple[str, int]]) -> list[str]:
    """Return the parts of a ledger that may have been written last."""
    newest: dict[str, str] = {}
    for key, _ in journal:
        writer = key.rpartition("-")[0]
        newest[writer] = max(newest.get(writer, ""), key)
    return [*sealed, *newest.values()]


def _state(
    store: Store, ledger: Keys, now: float, *, whole: bool
) -> tuple[State, float | None, str]:
    """Return how an ingest stands, when its heart beat last, and why it failed."""
    claims = [key for key, _ in ledger if "/ledger/claims/" in key]
    beat = max(filter(None, (_modified(store, key) for key in claims)), default=None)
    if whole:
        return "done", beat, ""
    # Memory knows no times: there a claim is enough.
    if claims and (beat is None or now - beat < DEAD):
        return "running", beat, ""
    failed = _current(store, [key for key, _ in ledger if _FAILED.search(key)], ledger)
    # Parts mostly fail for the same reason.
    trouble = "; ".join(dict.fromkeys(filter(None, (_reason(store.read(key)) for key in failed))))
    return ("failed" if trouble else "stopped"), beat, trouble


def _current(store: Store, failed: list[str], ledger: Keys) -> list[str]:
    """Leave out what ended parts before the work was cut into another number of them."""
    journal = [(key, size) for key, size in ledger if "/ledger/journal/" in key]
    newest: dict[str, float] = {}
    for key in (*failed, *_last([], journal)) if failed else ():
        if count := _COUNT.search(key):
            seen = _modified(store, key) or 0.0
            newest[count[1]] = max(seen, newest.get(count[1], 0.0))
    last = max(newest.values(), default=0.0)
    now = [key for key in failed if (m := _COUNT.search(key)) and newest[m[1]] >= last]
    return now[:_MOST_PARTS]


def failure_of(error: BaseException, folder: str, part: str) -> tuple[str, bytes]:
    """Return what is noted of a part that ended by an error, and where below the root.

    Parameters
    ----------
    folder : str
        Of the layer's version.
    part : str
        As ``0-of-1``.
    """
    reason = without_secrets(str(error))[:_LONGEST]
    told = {"error": type(error).__name__, "reason": reason}
    return failure_path(folder, part), json.dumps(told).encode()


def failure_path(folder: str, part: str) -> str:
    """Return where a part says why it ended."""
    return f"{folder}/{FOLDER}/failed-{part}.json"


def forget_failures(store: Store, folder: str) -> None:
    """Remove what parts have said, however they were numbered, of a version that is whole."""
    told = [path for path, _ in store.sizes(f"{folder}/{FOLDER}") if _FAILED.search(f"/{path}")]
    for path in told:
        store.remove(path)


def _reason(data: bytes | None) -> str:
    if data is None:
        return ""
    told = json.loads(data)
    return _PLACES.sub("", str(told["reason"])[:_LONGEST]) or str(told["error"])


def _modified(store: Store, path: str) -> float | None:
    found = store.stat(path)
    return None if found is None else found.modified


def _count(store: Store, journal: list[tuple[str, int]]) -> int:
    """Return how many shards of the finest level the journals name; of many parts about so."""
    looked = journal[:_MOST_PARTS]
    lines, nbytes = 0, 0
    for key, _ in looked:
        data = store.read(key) or b""
        lines += data.count(_SHARD)
        nbytes += len(data)
    if len(looked) == len(journal) or not nbytes:
        return lines
    return round(lines * sum(size for _, size in journal) / nbytes)
