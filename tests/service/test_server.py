"""The server as a process: it says where it is, serves, and ends when told."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_core.errors import InputError
from microtome_core.store.location import Store
from microtome_service.server import serve
from microtome_service.settings import Settings

_CODE = "import sys, os; from microtome_service.server import serve; \
from microtome_service.settings import Settings; \
sys.exit(serve(Settings.from_environment(os.environ)))"


@contextmanager
def process(settings: Settings) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run serve in a process of its own; yield it and the address that it says."""
    environment = {**os.environ, **settings.to_environment()}
    with subprocess.Popen(
        [sys.executable, "-c", _CODE], env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, line
            yield child, address[0]
        finally:
            child.kill()


def wait_until_ready(address: str) -> None:
    """Return when the server answers."""
    for _ in range(200):
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{address} did not answer")


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_serve_says_its_address_serves_and_ends_on_sigint(
    workers: int, disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """One process or several: the printed address answers, and SIGINT ends all with code 0."""
    voxels = np.arange(60, dtype="uint8").reshape(3, 4, 5)
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    settings = Settings(root=disk_store.url, port=0, workers=workers)
    with process(settings) as (child, address):
        wait_until_ready(address)
        url = f"{address}/api/datasets/demo/brain/neurons/cutout?format=raw"
        assert httpx.get(url).content == voxels.tobytes()
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_callers_who_take_nothing_are_cut_off(
    workers: int, disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """With room for one answer, one that its caller does not read makes way for the next."""
    voxels = np.zeros((64, 512, 512), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    settings = Settings(
        root=disk_store.url, port=0, workers=workers,
        max_flying_bytes=voxels.nbytes, stalled_seconds=1, wait_seconds=30,
    )  # fmt: skip
    path = "/api/datasets/demo/brain/neurons/cutout?format=raw"
    with process(settings) as (_, address), ExitStack() as held:
        wait_until_ready(address)
        stalled = [held.enter_context(stall(address, path)) for _ in range(4 * workers)]
        assert httpx.get(f"{address}{path}", timeout=60).content == voxels.tobytes()
        with pytest.raises(ConnectionError):
            receive_all(stalled[0])


def receive_all(sock: socket.socket) -> None:
    """Take what comes until the other side ends it."""
    while sock.recv(1 << 16):
        pass


def stall(address: str, path: str) -> socket.socket:
    """Ask for `path`, and take no more than the first bytes of the answer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", httpx.URL(address).port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert sock.recv(8, socket.MSG_PEEK)
    return sock


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"root": "/no/such/folder"}, InputError),
        ({"root": "gopher://brains"}, InputError),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_starts(
    changes: dict[str, Any], error: type[Exception], disk_store: Store
) -> None:
    """A root that is absent or of an unknown kind is an error of the caller's."""
    with pytest.raises(error):
        serve(Settings(**{"root": disk_store.url, **changes}))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_told_with_what_to_do(workers: int, disk_store: Store) -> None:
    """Who listens on a port already is not disturbed; the message names host, port and option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1, port {port}: .*--port"):
            serve(Settings(root=disk_store.url, port=port, workers=workers))


def test_a_host_that_is_not_ours_is_told_with_what_to_do(disk_store: Store) -> None:
    """An address of another machine cannot be listened on (192.0.2.1 is nobody's, RFC 5737)."""
    with pytest.raises(InputError, match=r"host 192\.0\.2\.1, .*--host"):
        serve(Settings(root=disk_store.url, host="192.0.2.1", port=0))
