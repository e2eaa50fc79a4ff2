"""After SIGTERM the service says that it is not ready, and finishes what is under way."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service.settings import Settings
from tests.service.test_server import process, wait_until_ready

PATH = "/api/datasets/demo/brain/neurons/cutout?format=raw"


def download(address: str, received: bytearray, begun: threading.Event) -> None:
    """Read a cutout slowly into `received`."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", httpx.URL(address).port))
        sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while piece := sock.recv(1 << 18):
            received += piece
            begun.set()
            if len(received) < 8 << 20:
                time.sleep(0.02)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_slow_download_is_finished(
    workers: int, disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """On SIGTERM ready is 503 at once, live stays 200, the download comes whole, then it ends."""
    voxels = np.random.default_rng(3).integers(0, 255, (64, 512, 512), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    settings = Settings(
        root=disk_store.url, port=0, workers=workers, slab_bytes=1 << 20, drain_seconds=1.5
    )
    received, begun = bytearray(), threading.Event()
    with process(settings) as (child, address):
        wait_until_ready(address)
        reader = threading.Thread(target=download, args=(address, received, begun))
        reader.start()
        assert begun.wait(10)
        child.send_signal(signal.SIGTERM)
        # The parent of several workers looks at its signals twice a second.
        time.sleep(0.2 if workers == 1 else 0.8)
        answer = httpx.get(f"{address}/health/ready")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert httpx.get(f"{address}/health/live").status_code == 200
        reader.join(30)
        assert bytes(received).partition(b"\r\n\r\n")[2] == voxels.tobytes()
        assert child.wait(20) in (0, -signal.SIGTERM)


def test_who_takes_too_long_is_ended(disk_store: Store, make_builder: Callable[..., Any]) -> None:
    """What is not done within the grace is broken off, and the process ends."""
    voxels = np.random.default_rng(3).integers(0, 255, (64, 512, 512), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    settings = Settings(root=disk_store.url, port=0, grace_seconds=1)
    with process(settings) as (child, address), socket.socket() as sock:
        wait_until_ready(address)
        sock.connect(("127.0.0.1", httpx.URL(address).port))
        sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        sock.recv(10)
        child.send_signal(signal.SIGTERM)
        assert child.wait(15) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_who_asks_twice_waits_for_nothing(
    disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """With nothing under way the process ends at once; a second signal cuts the draining short."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((4, 4, 4), "uint8"))
    for drain, signals in ((0.0, 1), (60.0, 2)):
        with process(Settings(root=disk_store.url, port=0, drain_seconds=drain)) as (child, url):
            wait_until_ready(url)
            for _ in range(signals):
                child.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            assert child.wait(5) in (0, -signal.SIGTERM)
