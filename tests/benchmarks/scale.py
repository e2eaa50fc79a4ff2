"""Beyond one process and one disk: Dask workers beside threads, and storage that is far away."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from distributed import Client

from tests.benchmarks.data import Stack
from tests.benchmarks.table import Row
from tests.dask_cluster import cluster
from tests.faults import FaultProxy
from tests.s3_server import make_bucket, s3_server, unused_port

ROUNDS = 3
# Seconds: about what another region of a cloud is away.
LATENCY = 0.05
# About what another continent is away.
FAR = 0.1
# Eight units of the same size, two for each of four workers, and several reads in each.
FAR_SHAPE = (128, 1024, 1024)
# Small shards, so that there are many requests; the levels that all workers make together.
FAR_LAYOUT = (
    "--chunk", "16,64,64", "--shard", "16,128,128", "--levels", "3", "--memory", "260MiB",
)  # fmt: skip
_KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
SYNTHETIC = "synthetic://neurons?shape=512,2048,1024&seed=3"


def measure(folder: Path, stack: Stack) -> list[Row]:
    """Return the rates of workers beside threads, and of distant beside near storage."""
    return [
        *_workers(folder, str(stack.path), "a TIFF"),
        *_workers(folder, SYNTHETIC, "synthetic"),
        *_latency(stack),
        *_far_workers(folder),
    ]


def _workers(folder: Path, source: str, what: str) -> list[Row]:
    """Take both in turn; the start of the workers, some seconds, is not counted."""
    rates: dict[str, list[float]] = {"2": [], "": []}
    for _ in range(ROUNDS):
        for workers, found in rates.items():
            root = folder / "scale"
            shutil.rmtree(root, ignore_errors=True)
            more = ("--workers", workers) if workers else ()
            found.append(_rate(source, str(root), more, {}))
    ours, theirs = median(rates["2"]), median(rates[""])
    return [Row(f"ingest of {what}, two Dask workers", ours, "our own threads", theirs, 0.85)]


def _latency(stack: Stack) -> list[Row]:
    with s3_server() as endpoint, FaultProxy(endpoint) as proxy:
        rates: dict[float, list[float]] = {LATENCY: [], 0.0: []}
        for turn in range(ROUNDS):
            for latency, found in rates.items():
                proxy.change(latency=latency)
                bucket = f"bench-{turn}-{latency:g}".replace(".", "-")
                make_bucket(endpoint, bucket)
                found.append(_rate(str(stack.path), f"s3://{bucket}/root", (), {"url": proxy.url}))
    ours, theirs = median(rates[LATENCY]), median(rates[0.0])
    what = f"ingest to S3, {LATENCY * 1000:.0f} ms a request"
    return [Row(what, ours, "ingest to the same S3, 0 ms", theirs, 0.7)]


def _far_workers(folder: Path) -> list[Row]:
    """Four workers of a cluster beside one, where a request to storage takes a tenth of a second.

    Nearly all of it is waiting, so that two processors do: how much is done at once is what counts.
    """
    source = folder / "far.npy"
    np.save(source, np.random.default_rng(1).integers(0, 900, FAR_SHAPE).astype("uint16"))
    rates = {1: 0.0, 4: 0.0}
    with s3_server() as endpoint, FaultProxy(endpoint, latency=FAR) as proxy:
        # Three minutes, of which nearly all is waiting: once is enough.
        for count in rates:
            make_bucket(endpoint, f"far-{count}")
            rates[count] = _cluster_rate(folder, source, f"s3://far-{count}/root", count, proxy.url)
    ours, theirs = rates[4], rates[1]
    what = f"ingest to S3, {FAR * 1000:.0f} ms a request, four Dask workers"
    return [Row(what, ours, "one Dask worker", theirs, 3.5)]


def _cluster_rate(folder: Path, source: Path, root: str, count: int, endpoint: str) -> float:
    port, work = unused_port(), folder / "dask"
    with cluster(port, count, work, **_KEYS, AWS_ENDPOINT_URL=endpoint):
        where = f"tcp://127.0.0.1:{port}"
        _wait_for_workers(where, count)
        more = ("--scheduler", where, *FAR_LAYOUT)
        return _rate(str(source), root, more, {"url": endpoint})


def _wait_for_workers(address: str, count: int) -> None:
    """Return when all of them are there."""
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def ingest_seconds(source: str, root: str) -> float:
    """Return what an ingest takes by its own clock."""
    return float(_events(source, root, (), {})["progress"]["seconds"])


def _rate(source: str, root: str, more: tuple[str, ...], s3: Mapping[str, str]) -> float:
    """Return MB/s of an ingest by its own count and clock, the start of its workers left out."""
    events = _events(source, root, more, s3)
    last, start = events["progress"], events.get("workers", {"seconds": 0.0})
    return float(last["bytes"] / (last["seconds"] - start["seconds"]) / 1e6)


def _events(source: str, root: str, more: tuple[str, ...], s3: Mapping[str, str]) -> dict[str, Any]:
    """Return the last event of each kind that an ingest tells."""
    words = [sys.executable, "-m", "microtome_cli", "ingest", source, root, "--as", "b/s/v"]
    words += ["--json", *more]
    if not source.startswith("synthetic:"):
        words += ["--axes", "zyx", "--voxel-size", "1,0.4,0.4"]
    reach = {**_KEYS, "AWS_ENDPOINT_URL": s3["url"]} if s3 else {}
    told = subprocess.run(
        words, check=True, capture_output=True, text=True, env={**os.environ, **reach}
    )
    return {event["event"]: event for event in map(json.loads, told.stdout.splitlines())}
