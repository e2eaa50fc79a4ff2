"""An S3 server of its own process, in memory."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

# moto compares and stores a conditional write in two steps; S3 does it in one.
_PROGRAM = """
import os
import sys
from threading import Lock
from moto.server import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

# Not the dispatcher of all services, which lists moto's folder at each request.
moto, one_writer = create_backend_app("s3"), Lock()

def app(environ, start):
    if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return moto(environ, start)
    with one_writer:
        return moto(environ, start)

os.environ.setdefault("MOTO_PORT", sys.argv[1])
run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=MotoRequestHandler)
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server and yield its address."""
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-c", _PROGRAM, str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(url, server)
            yield url
        finally:
            server.terminate()


def unused_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_bucket(url: str, name: str) -> None:
    """Make an empty bucket."""
    request = urllib.request.Request(f"{url}/{name}", method="PUT")
    urllib.request.urlopen(request).close()


def put(url: str, body: bytes) -> None:
    """Store an object."""
    # Without a type urllib says that it is a form, whose body the server takes for parameters.
    told = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, body, told, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            assert server.poll() is None, "the S3 server ended at its start"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)
