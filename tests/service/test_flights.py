"""Readers of the same chunk at the same time share one read of storage."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from numpy.typing import NDArray

from microtome_core.store.location import StorageOptions, Store
from tests.faults import FaultProxy

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"
READERS = 8


def ask_at_once(address: str, urls: list[str]) -> list[bytes]:
    """Return the bodies of requests that begin together."""
    barrier = threading.Barrier(len(urls))

    def ask(url: str) -> bytes:
        with httpx.Client(base_url=address, timeout=60) as client:
            client.get("/health/live")
            barrier.wait()
            return client.get(url).raise_for_status().content

    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(ask, urls))


@pytest.mark.parametrize("cache_bytes", [0, 1 << 24])
def test_identical_reads_share_one_read_of_storage(
    cache_bytes: int,
    s3_store: Store,
    s3_endpoint: str,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    run_server: Callable[..., Any],
) -> None:
    """Eight callers of one chunk cost storage no more than one, with a cache or without."""
    voxels = make_ramp((16, 16, 16), "uint16")
    make_builder(s3_store).layer("demo/brain/neurons", "zyx", voxels, chunk=16)
    with FaultProxy(s3_endpoint) as proxy:
        options = StorageOptions.from_environment(
            {**os.environ, "AWS_ENDPOINT_URL": proxy.url}, cache_bytes
        )
        store = Store(s3_store.url, options)
        with run_server(store, recheck_seconds=3600.0) as address:
            url = f"{CUTOUT}?format=raw"
            # The layer is opened, and of another chunk's read it is known what it costs.
            httpx.head(f"{address}{url}")
            # Search has looked through the store, and rests.
            httpx.get(f"{address}/api/datasets?q=brain", timeout=60).raise_for_status()
            proxy.change(latency=1.0)
            before = proxy.requests["GET"]
            bodies = ask_at_once(address, [url] * READERS)
            shared = proxy.requests["GET"] - before
    assert bodies == [voxels.tobytes()] * READERS
    # The shard's index and the chunk.
    assert shared <= 2
