"""A small BossDB over real HTTP, in threads of the test's own process, with ways to fail."""

import json
import re
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import blosc
import numpy as np
import pytest
from numpy.typing import NDArray

TOKEN = "public"
_CUTOUT = re.compile(
    r"/v1/cutout/([\w-]+)/([\w-]+)/([\w-]+)/(\d+)/(\d+):(\d+)/(\d+):(\d+)/(\d+):(\d+)/(?:(\d+):(\d+)/)?"
)


@dataclass
class Boss:
    """What a server holds, and what it was asked for.

    Parameters
    ----------
    resources : dict
        JSON by path, such as ``collection/c/experiment/e``.
    pairs : dict
        Key-value metadata by path, such as ``c/e``.
    voxels : dict
        By ``c/e/channel``, z y x or t z y x.
    starts : dict
        First coordinates, x y z, likewise.
    tokens : set
        Those that may read.
    faults : list
        One befalls each request whose path `only` finds: a status, ``short`` (half of the promised
        body), ``small``, ``claim`` (another size than it has), ``html``, ``hang`` or nothing.
    """

    url: str = ""
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: dict[str, dict[str, str]] = field(default_factory=dict)
    voxels: dict[str, NDArray[Any]] = field(default_factory=dict)
    starts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    moved: dict[str, str] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    only: str = "/cutout/"
    asked: list[str] = field(default_factory=list)
    tokens_seen: set[str] = field(default_factory=set)
    connections: set[Any] = field(default_factory=set)
    delay: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        """The host with its port."""
        return urlsplit(self.url).netloc

    def address(self, name: str) -> str:
        """Return the address of a channel."""
        return f"bossdb+http://{self.host}/{name}"

    def cutouts(self) -> list[str]:
        """Return the paths of all cutouts that were asked for."""
        return [path for path in self.asked if "/cutout/" in path]

    def add(self, name: str, voxels: NDArray[Any], **changes: Any) -> str:  # noqa: ANN401
        """Hold a channel and all above it; `changes` are laid over each JSON that has the key."""
        collection, experiment, channel = name.split("/")
        self.voxels[name] = voxels
        start = changes.pop("start", (0, 0, 0))
        self.starts[name] = start
        shape = voxels.shape[-3:][::-1]
        frame: dict[str, Any] = {"name": f"frame-{experiment}", "description": "of the brain"}
        for i, axis in enumerate("xyz"):
            frame |= {
                f"{axis}_start": start[i],
                f"{axis}_stop": start[i] + shape[i],
                f"{axis}_voxel_size": (4.0, 4.0, 40.0)[i],
            }
        frame["voxel_unit"] = "nanometers"
        above = {"creator": "someone", "description": "a test"}
        resources: dict[str, dict[str, Any]] = {
            f"collection/{collection}": {"name": collection, **above},
            f"collection/{collection}/experiment/{experiment}": {
                "name": experiment,
                **above,
                "coord_frame": frame["name"],
                "num_hierarchy_levels": 3,
                "hierarchy_method": "anisotropic",
                "num_time_samples": voxels.shape[0] if voxels.ndim == 4 else 1,
                "time_step": 0,
                "time_step_unit": "",
            },
            f"collection/{collection}/experiment/{experiment}/channel/{channel}": {
                "name": channel,
                **above,
                "type": "annotation" if voxels.dtype == "uint64" else "image",
                "datatype": str(voxels.dtype),
                "base_resolution": 0,
                "default_time_sample": 0,
                "sources": [],
                "related": [],
                "public": True,
                "downsample_status": "DOWNSAMPLED",
                "storage_type": "spdb",
            },
            f"coord/{frame['name']}": frame,
        }
        for words in resources.values():
            words.update({key: value for key, value in changes.items() if key in words})
        self.resources |= resources
        return self.address(name)


class _Handler(BaseHTTPRequestHandler):
    boss: ClassVar[Boss]
    protocol_version = "HTTP/1.1"
    # Head and body go out together.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 20

    def do_GET(self) -> None:
        """Answer as a BossDB does, or as the fault says."""
        boss, path = self.boss, self.path
        with boss.lock:
            boss.asked.append(unquote(path))
            boss.connections.add(self.connection.fileno())
            boss.tokens_seen.add(self.headers.get("Authorization", "").removeprefix("Token "))
            boss.at_once += 1
            boss.most_at_once = max(boss.most_at_once, boss.at_once)
            fault = boss.faults.pop(0) if boss.faults and boss.only in path else ""
        try:
            time.sleep(boss.delay)
            self._answer(urlsplit(path).path, fault)
        finally:
            with boss.lock:
                boss.at_once -= 1

    def _answer(self, path: str, fault: int | str) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Token ")
        if isinstance(fault, int):
            self._error(fault, f"fault {fault}, token {token}")
        elif fault == "hang":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "html":
            self._say(200, b"<html>log in</html>", "text/html")
        elif path in self.boss.moved:
            self._say(302, b"", "text/plain", Location=self.boss.moved[path])
        elif token not in self.boss.tokens:
            self._error(401 if token == TOKEN else 403, f"token {token} may not")
        elif path.startswith("/v1/cutout/"):
            self._cutout(path, str(fault))
        elif path.startswith("/v1/meta/"):
            self._meta(path.removeprefix("/v1/meta/").strip("/"))
        else:
            self._resource(unquote(path).removeprefix("/v1/").strip("/"))

    def _resource(self, name: str) -> None:
        words = self.boss.resources.get(name)
        if words is None:
            self._error(404, f"{name} not found")
        else:
            self._json(words)

    def _meta(self, name: str) -> None:
        pairs = self.boss.pairs.get(name, {})
        keys = parse_qs(urlsplit(self.path).query).get("key")
        if keys is None:
            self._json({"keys": list(pairs)})
        elif keys[0] in pairs:
            self._json({"key": keys[0], "value": pairs[keys[0]]})
        else:
            self._error(404, "no such key")

    def _cutout(self, path: str, fault: str) -> None:
        found = _CUTOUT.fullmatch(path)
        name = "/".join(found.groups()[:3]) if found else ""
        if found is None or name not in self.boss.voxels:
            self._error(404, "not found")
            return
        numbers = [int(n) for n in found.groups()[4:] if n is not None]
        ranges = list(zip(numbers[::2], numbers[1::2], strict=True))
        voxels = self.boss.voxels[name]
        starts = self.boss.starts[name]
        boxes = [slice(a - s, b - s) for (a, b), s in zip(ranges, starts, strict=False)][::-1]
        if any(
            not 0 <= b.start < b.stop <= n for b, n in zip(boxes, voxels.shape[-3:], strict=True)
        ):
            self._error(400, "cutout out of bounds")
            return
        if len(ranges) == 4:
            boxes.insert(0, slice(*ranges[3]))
        elif voxels.ndim == 4:
            boxes.insert(0, slice(0, 1))
        self._give(np.ascontiguousarray(voxels[tuple(boxes)]), fault)

    def _give(self, voxels: NDArray[Any], fault: str) -> None:
        assert self.headers["Accept"] == "application/blosc"
        if fault == "small":
            voxels = voxels.reshape(-1)[:-1].copy()
        body = blosc.compress(voxels, typesize=voxels.itemsize)
        if fault == "claim":
            body = body[:4] + struct.pack("<I", (1 << 31) - 1) + body[8:]
        if fault == "flip":
            body = body[:16] + bytes(255 - b for b in body[16:])
        if fault == "long":
            body += bytes(1 << 20)
        self._say(200, body, "application/blosc", cut=fault == "short")

    def _json(self, words: Any) -> None:  # noqa: ANN401
        self._say(200, json.dumps(words).encode(), "application/json")

    def _error(self, status: int, message: str) -> None:
        words = {"status": status, "code": 4000, "message": message}
        self._say(status, json.dumps(words).encode(), "application/json")

    def _say(
        self, status: int, body: bytes, kind: str, *, cut: bool = False, **headers: str
    ) -> None:
        self.send_response(status)
        # So that whoever asks again need not wait.
        for name, value in {"Retry-After": "0", "Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401
        """Stay silent of clients that have gone."""


def be_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live in an empty home, without variables of intern or tokens."""
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("INTERN_PROTOCOL", "INTERN_HOST", "INTERN_TOKEN", "MICROTOME_BOSSDB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def boss_server(context: ssl.SSLContext | None = None) -> Iterator[Boss]:
    """Run a server, of TLS with a context, and yield what it holds."""
    boss = Boss()
    server = _Server(("127.0.0.1", 0), type("BossHandler", (_Handler,), {"boss": boss}))
    boss.url = f"http://127.0.0.1:{server.server_address[1]}"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield boss
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
