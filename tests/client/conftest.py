"""A small HTTP server that serves in-memory arrays by the contract, and can be told to fail."""

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.dtypes import little_endian
from microtome_core.errors import RegionError
from microtome_core.selection import Selection
from microtome_core.wire import Channel, LayerInfo, LevelInfo
from tests.client.served import Served, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
Fault = Callable[["Handler", dict[str, str], bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers GET by the contract."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:  # the name that http.server calls
        """Answer, or fail as was asked for."""
        parts = urlsplit(self.path)
        words = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append(self.path)
        self.server.headers.append(dict(self.headers))
        path = parts.path.removeprefix(f"{self.server.prefix}/api/datasets/").split("/")
        layer = self.server.layers.get("/".join(path[:3]))
        fault = self.server.next_fault(path[3:])
        status, headers, body = answer(layer, path[3:], words, self.server.picture)
        if fault:
            fault(self, headers, body)
        else:
            self.reply(status, headers, body)

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer and count its bytes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.server.sent += len(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Layer:
    """What is served of one layer."""

    info: LayerInfo
    arrays: list[NDArray[Any]]


class Server(ThreadingHTTPServer):
    """Serves layers; takes the next fault, if there is one, for each cutout or thumbnail."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prefix = ""
        self.layers: dict[str, Layer] = {}
        self.faults: deque[Fault] = deque()
        self.everywhere = False
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.picture = PNG
        self.closing = threading.Event()
        self.accepted = 0
        self.lock = threading.Lock()

    @property
    def base(self) -> str:
        """Where the service is."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.prefix}"

    @property
    def cutouts(self) -> list[str]:
        """The cutouts that were asked for."""
        return [path for path in self.asked if "/cutout?" in path]

    def add(
        self,
        array: NDArray[Any],
        axes: str,
        name: str = "demo/brain/neurons",
        geometry: "Geometry | None" = None,
    ) -> str:
        """Serve an array as a layer and return its address."""
        layer = make_layer(array, axes, name=name, geometry=geometry or Geometry())
        self.layers[layer.info.id] = layer
        return f"{self.base}/{layer.info.id}"

    def next_fault(self, rest: list[str]) -> Fault | None:
        """Take the next fault, for voxels and pictures only unless `everywhere`."""
        with self.lock:
            return self.faults.popleft() if (rest or self.everywhere) and self.faults else None

    def fail(self, status: int, times: int = 1, detail: str = "", **headers: str) -> None:
        """Answer with an error."""
        body = json.dumps({"type": "about:blank", "status": status, "detail": detail}).encode()
        fixed = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.faults.extend([lambda handler, _, __: handler.reply(status, fixed, body)] * times)

    def truncate(self, times: int = 1) -> None:
        """Close the connection after half of the body."""
        self.faults.extend([_truncated] * times)

    def reset(self, times: int = 1) -> None:
        """Reset the connection after half of the body."""
        self.faults.extend([_reset] * times)

    def drip(self, times: int = 1) -> None:
        """Send a byte at a time."""
        self.faults.extend([_dripping] * times)

    def stall(self, times: int = 1) -> None:
        """Send the first bytes and then nothing."""
        self.faults.extend([_stalled] * times)

    def lie(self, times: int = 1, body: bytes | None = None, **headers: str | None) -> None:
        """Send other headers (none for None) or another body, then close."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.extend([partial(_lying, changed, body)] * times)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count connections."""
        self.accepted += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what some tests are about."""


def _truncated(handler: Handler, headers: dict[str, str], body: bytes) -> None:
    handler.close_connection = True
    handler.reply(200, headers, body[: len(body) // 2])


def _reset(handler: Handler, headers: dict[str, str], body: bytes) -> None:
    handler.reply(200, headers, body[: len(body) // 2])
    # No lingering: the kernel answers with RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    for stream in (handler.rfile, handler.wfile, handler.connection):
        stream.close()


def _dripping(handler: Handler, headers: dict[str, str], body: bytes) -> None:
    handler.reply(200, headers, b"")
    for i in range(len(body)):
        handler.wfile.write(body[i : i + 1])
        if handler.server.closing.wait(0.02):
            return


def _stalled(handler: Handler, headers: dict[str, str], body: bytes) -> None:
    handler.close_connection = True
    handler.reply(200, headers, body[:100])
    handler.server.closing.wait(30)


def _lying(
    changed: dict[str, str | None],
    other: bytes | None,
    handler: Handler,
    headers: dict[str, str],
    body: bytes,
) -> None:
    kept = {name: value for name, value in {**headers, **changed}.items() if value is not None}
    handler.close_connection = True
    handler.reply(200, kept, body if other is None else other)


def answer(
    layer: Layer | None, rest: list[str], words: dict[str, str], picture: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of what is asked of a layer."""
    if layer is None:
        return _problem(404, "there is no such layer")
    if rest == ["cutout"]:
        return _cutout(layer, words)
    if rest == ["thumbnail.png"]:
        return 200, {"Content-Type": "image/png", "Content-Length": str(len(picture))}, picture
    body = json.dumps(layer.info.to_json()).encode()
    return 200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body


def _cutout(layer: Layer, words: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    array = layer.arrays[int(words.pop("level"))]
    assert words.pop("format") == "raw"
    try:
        selection = Selection.parse(layer.info.axes, array.shape, words)
    except RegionError as error:
        return _problem(400, str(error))
    block = array[selection.region.slices].reshape(selection.shape)
    body = block.astype(little_endian(block.dtype)).tobytes()
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(body)),
        "X-Microtome-Shape": ",".join(map(str, selection.shape)),
        "X-Microtome-Dtype": block.dtype.name,
        "X-Microtome-Axes": selection.axes,
        "X-Microtome-Version": layer.info.version,
        "ETag": '"1"',
    }
    return 200, headers, body


def _problem(status: int, detail: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"type": "about:blank", "status": status, "detail": detail}).encode()
    headers = {"Content-Type": "application/problem+json", "Content-Length": str(len(body))}
    return status, headers, body


@dataclass
class Geometry:
    """How a test's layer is cut up and how large its voxels are."""

    chunk: int = 16
    shard: int = 32
    scale: dict[str, float] = field(
        default_factory=lambda: {"z": 1.0, "y": 0.4, "x": 0.4, "t": 0.5}
    )


def make_layer(
    array: NDArray[Any],
    axes: str,
    *,
    name: str,
    geometry: Geometry,
    channels: tuple[str, ...] = ("DAPI", "GFP", "RFP"),
    levels: int = 3,
) -> Layer:
    """Return a layer whose levels are every other voxel of the one before, along y and x."""
    arrays = [array[..., :: 2**n, :: 2**n] for n in range(levels)]
    info = LayerInfo(
        id=name,
        kind="image",
        axes=axes,
        units=tuple({"c": None, "t": "second"}.get(a, "micrometer") for a in axes),
        dtype=array.dtype.name,
        levels=tuple(_level(level, axes, n, geometry) for n, level in enumerate(arrays)),
        channels=tuple(Channel(c, "FFFFFF", (0.0, 255.0)) for c in channels),
        version="1",
        attrs={"session_description": "a test"},
    )
    return Layer(info, arrays)


def _level(array: NDArray[Any], axes: str, number: int, geometry: Geometry) -> LevelInfo:
    def extents(width: int) -> tuple[int, ...]:
        return tuple(width if axis in "zyx" else 1 for axis in axes)

    scale = tuple(geometry.scale.get(a, 1.0) * (2**number if a in "yx" else 1) for a in axes)
    return LevelInfo(
        shape=array.shape,
        chunk=extents(geometry.chunk),
        shard=extents(geometry.shard),
        scale=scale,
        translation=(0.0,) * len(axes),
    )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server without layers, on a port of its own."""
    # On a busy machine the link may seem slow; this server compresses nothing.
    monkeypatch.setattr("microtome.link.SLOW", 0)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.closing.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def brain() -> NDArray[np.uint16]:
    """A czyx array in which each voxel tells its place."""
    return np.arange(3 * 20 * 48 * 40, dtype=np.uint16).reshape(3, 20, 48, 40)


@pytest.fixture
def url(server: Server, brain: NDArray[np.uint16]) -> str:
    """The address of a layer that holds `brain`."""
    return server.add(brain, "czyx")


@pytest.fixture
def make_level() -> Callable[..., LevelInfo]:
    """Make a level of a given shape, chunk and shard with voxels of size 1."""

    def level(shape: tuple[int, ...], chunk: tuple[int, ...], shard: tuple[int, ...]) -> LevelInfo:
        return LevelInfo(shape, chunk, shard, (1.0,) * len(shape), (0.0,) * len(shape))

    return level


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A real service on a real socket; see `Served`."""
    with serving(request.module.__name__.rpartition(".")[2]) as running:
        yield running
