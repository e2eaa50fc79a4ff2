"""Ingests under way and done, as their ledgers tell: who wants to look on need not ask a process.

What an ingest keeps is said in `ledger`: ``0/ledger/job.json`` says what is made of what, journals
note each shard, claims are rewritten by a heartbeat while somebody works.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import prod
from typing import Any, Literal

import numpy as np

from microtome_core.names import DatasetId
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

State = Literal["running", "stopped", "done", "damaged"]
# Without a heartbeat for so long a process counts as dead, as among ingests themselves.
DEAD = 30.0
_VERSION = re.compile(r"v[1-9][0-9]{0,5}")
_SHARD = b'{"shard": "0/c'
# Of more parts of a journal the lines are reckoned from their bytes.
_MOST_PARTS = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One ingest.

    Parameters
    ----------
    layer : str
        ``collection/dataset/layer``.
    state : str
        ``running`` if a heart has beaten within half a minute, else ``stopped``; ``done`` once the
        ledger is sealed; ``damaged`` where it cannot be read.
    sources : tuple of str
        Names of the files, without where they lie.
    started, seen : float or None
        Seconds since 1970: when it was begun, and when it last wrote something.
    shape, dtype
        Of the finest level.
    done, total : int
        Shards of the finest level that are written, and all of them.
    nbytes : int
        Of the voxels of the finest level.
    trouble : str
        What is wrong with its ledger, if anything.
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


def _told(store: Store, folder: str, name: str, data: bytes, now: float) -> Job | None:
    try:
        document = json.loads(data)
        if "body" in document:
            return None  # of trials, which have no shards of voxels
        manifest = document["manifest"]
        return _of_manifest(store, folder, name, manifest, now)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        trouble = f"its manifest cannot be read: {type(error).__name__}"
        return Job(name, "damaged", trouble=trouble)


def _of_manifest(
    store: Store, folder: str, name: str, manifest: Mapping[str, Any], now: float
) -> Job:
    spec, source = manifest["spec"], manifest["source"]
    shape, shard = tuple(map(int, spec["shape"])), tuple(map(int, manifest["shard"]))
    total = prod(-(-n // s) for n, s in zip(shape, shard, strict=True))
    ledger = sorted(store.sizes(f"{folder}/{FOLDER}"))
    sealed = [key for key, _ in ledger if key.endswith("/shards-00000.jsonl")]
    journal = [(key, size) for key, size in ledger if "/ledger/journal/" in key]
    claims = [key for key, _ in ledger if "/ledger/claims/" in key]
    seen = max(filter(None, (_modified(store, k) for k in _last(sealed, journal))), default=None)
    beat = max(filter(None, (_modified(store, key) for key in claims)), default=None)
    return Job(
        name,
        "done" if sealed and not journal else _state(claims, beat, now),
        str(source["format"]),
        tuple(str(file["name"]).replace("\\", "/").rpartition("/")[2] for file in source["files"]),
        datetime.fromisoformat(manifest["started"]).timestamp(),
        seen,
        shape,
        str(spec["dtype"]),
        total if sealed and not journal else min(total, _count(store, journal)),
        total,
        prod(shape) * np.dtype(str(spec["dtype"])).itemsize,
    )


def _last(sealed: list[str], journal: list[tuple[str, int]]) -> list[str]:
    """Return the parts of a ledger that may have been written last."""
    newest: dict[str, str] = {}
    for key, _ in journal:
        writer = key.rpartition("-")[0]
        newest[writer] = max(newest.get(writer, ""), key)
    return [*sealed, *newest.values()]


def _state(claims: list[str], beat: float | None, now: float) -> State:
    # Memory knows no times: there a claim is enough.
    alive = bool(claims) and (beat is None or now - beat < DEAD)
    return "running" if alive else "stopped"


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
