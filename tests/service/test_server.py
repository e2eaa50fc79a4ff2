"""The server as a process: it says where it is, serves, and ends when told."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_core.errors import InputError, StorageError
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


def free_port() -> int:
    """Return the number of a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_says_its_address_serves_and_ends_on_sigint(
    workers: int, disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """One process or several: the printed address answers, and SIGINT ends all with code 0."""
    voxels = np.arange(60, dtype="uint8").reshape(3, 4, 5)
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    port = 0 if workers == 1 else free_port()
    settings = Settings(root=disk_store.url, port=port, workers=workers)
    with process(settings) as (child, address):
        wait_until_ready(address)
        url = f"{address}/api/datasets/demo/brain/neurons/cutout?format=raw"
        assert httpx.get(url).content == voxels.tobytes()
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"root": "/no/such/folder"}, StorageError),
        ({"root": "gopher://brains"}, InputError),
        ({"workers": 2, "port": 0}, InputError),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_starts(
    changes: dict[str, Any], error: type[Exception], disk_store: Store
) -> None:
    """A root that is absent or of an unknown kind, or a port that workers cannot share, is an
    error of the caller's.
    """
    with pytest.raises(error):
        serve(Settings(**{"root": disk_store.url, **changes}))
