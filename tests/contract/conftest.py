"""The whole line: a root of layers, and the real service in a process of its own."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from microtome_cli.main import main


@dataclass(frozen=True, slots=True)
class Line:
    """A folder of layers that is being served.

    Parameters
    ----------
    root : Path
    url : str
        Of the service.
    """

    root: Path
    url: str

    def ingest(self, source: Path, layer: str, *options: str) -> str:
        """Run ``microtome ingest`` and return the layer's address."""
        assert main(["ingest", str(source), str(self.root), "--as", layer, *options]) == 0
        return f"{self.url}/{layer}"


@pytest.fixture(scope="session")
def line(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[Line]:
    """Start ``microtome serve`` on an empty root and wait until it is ready."""
    root = tmp_path_factory.mktemp("root")
    with running(str(root), unused_port()) as url:
        yield Line(root, url)


@contextmanager
def running(root: str, port: int) -> Iterator[str]:
    """Run ``microtome serve`` in a process of its own and yield its address once it is ready."""
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "microtome_cli", "serve", root, "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:
        try:
            wait_until_ready(url, server)
            yield url
        finally:
            server.terminate()
            # uvicorn ends by the signal itself once it has closed what was open.
            assert server.wait(60) in {0, -signal.SIGTERM}


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Return when a service answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=1).close()
        except (OSError, urllib.error.HTTPError):
            assert server.poll() is None, "the service ended at its start"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)
