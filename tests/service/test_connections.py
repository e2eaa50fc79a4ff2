"""Connections whose callers drip, stay silent or send without end are let go."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from microtome_core.store.location import Store
from microtome_service.app import create_app
from microtome_service.connections import Config
from microtome_service.settings import Settings

CUTOUTS = "/api/datasets/demo/brain/neurons/cutouts"
PATIENCE = 0.6


@pytest.fixture
def address(disk_store: Store, make_builder: Callable[..., Any]) -> Iterator[str]:
    """A server whose patience is short."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((4, 8, 8), "uint8"))
    app = create_app(Settings(root=disk_store.url), disk_store)
    config = Config(
        app, request_seconds=PATIENCE, port=0, loop="uvloop", ws="none", log_level="critical",
        limit_concurrency=40, timeout_keep_alive=30,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """Open a connection."""
    with socket.create_connection(("127.0.0.1", httpx.URL(address).port), 10) as sock:
        yield sock


def drip(sock: socket.socket, data: bytes, seconds: float) -> float:
    """Send a byte at a time; return after how long the other side had enough."""
    begun = time.monotonic()
    sock.settimeout(seconds)
    for byte in data:
        try:
            sock.sendall(bytes([byte]))
            if sock.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    else:
        raise AssertionError("all was taken")
    return time.monotonic() - begun


@pytest.mark.parametrize("first", [b"", b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_dripping_head_is_cut_off(first: bytes, address: str) -> None:
    """Each byte does not buy more time, on a new connection or a later request of an old one."""
    with connected(address) as sock:
        if first:
            sock.sendall(first)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(2 * PATIENCE)  # Nothing is asked: to be idle between requests is allowed.
        head = b"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100
        assert PATIENCE * 0.5 < drip(sock, head, 0.1) < PATIENCE * 4
    assert httpx.get(f"{address}/health/live").status_code == 200


def test_a_silent_connection_is_cut_off(address: str) -> None:
    """One that never says a word holds its place for no longer."""
    with connected(address) as sock:
        begun = time.monotonic()
        with suppress(ConnectionError):
            assert sock.recv(1) == b""
        assert PATIENCE * 0.5 < time.monotonic() - begun < PATIENCE * 4


def test_a_dripping_body_is_cut_off(address: str) -> None:
    """A body must come in time, or fast."""
    with connected(address) as sock:
        sock.sendall(f"POST {CUTOUTS} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n".encode())
        assert drip(sock, b" " * 100, 0.1) < PATIENCE * 5


def test_a_slow_but_steady_body_is_taken(address: str) -> None:
    """Time grows with what has come: many slow lines are not mistaken for an attack."""
    body = b" " * 20_000 + b'{"boxes": [[[0, 1], [0, 8], [0, 8]]]}'
    with connected(address) as sock:
        length = len(body)
        head = f"POST {CUTOUTS}?format=raw HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        sock.sendall(head.encode())
        for start in range(0, length, 2000):
            sock.sendall(body[start : start + 2000])
            time.sleep(0.1)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_head_without_end_is_refused(address: str) -> None:
    """64 KiB are enough for any head: 431, and the connection is closed."""
    with connected(address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        answer = b""
        try:
            for number in range(200):
                sock.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")
            while piece := sock.recv(4096):
                answer += piece
        except ConnectionError:
            pass
        assert answer == b"" or b"431" in answer
    assert httpx.get(f"{address}/health/live").status_code == 200


def test_connections_are_limited(address: str) -> None:
    """Beyond the limit the answer is 503 at once; they are free again when the others end."""

    def wait_for(status: int) -> None:
        until = time.monotonic() + 30
        while httpx.get(f"{address}/health/live").status_code != status:
            assert time.monotonic() < until

    held = [socket.create_connection(("127.0.0.1", httpx.URL(address).port)) for _ in range(40)]
    wait_for(503)
    for sock in held:
        sock.close()
    wait_for(200)
