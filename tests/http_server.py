"""An HTTP server of files by ranges, in threads of the test's own process, with ways to fail."""

import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Site:
    """What a server gives, and what it was asked for.

    Parameters
    ----------
    files : dict
        Contents by path.
    headers : dict
        Of every answer that gives a file, by path; ``ETag`` by default of the content.
    moved : dict
        Where a path leads to.
    faults : list
        One of them befalls each request of a file in turn: a status, ``short`` (half of the
        promised body), ``less`` (half of the range, honestly), ``more``, ``other`` (another
        range), ``whole`` (no range) or nothing.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)

    def put(self, name: str, data: bytes, **headers: str) -> str:
        """Hold a file; return its address."""
        self.files[f"/{name}"], self.headers[f"/{name}"] = data, headers
        return f"{self.url}/{name}"

    def fetched(self, name: str) -> int:
        """Return how many bytes of a file were asked for."""
        found = [_RANGE.fullmatch(h.get("Range", "")) for _, p, h in self.asked if p == f"/{name}"]
        return sum(int(m[2]) - int(m[1]) + 1 for m in found if m)


class Handler(BaseHTTPRequestHandler):
    """Answers for one `Site`."""

    site: ClassVar[Site]
    protocol_version = "HTTP/1.1"
    # Head and body go out together.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 10

    def do_GET(self) -> None:
        """Give a file, a part of one, or what its fault says."""
        path = self.path.partition("?")[0]
        self.site.asked.append((self.command, path, dict(self.headers)))
        if path in self.site.moved:
            self._say(302, b"", {"Location": self.site.moved[path]})
        elif path not in self.site.files:
            self._say(404, b"nothing here", {})
        else:
            fault = self.site.faults.pop(0) if self.site.faults else ""
            self._give(self.site.files[path], self.site.headers[path], fault)

    def _give(self, data: bytes, more: Mapping[str, str], fault: int | str) -> None:
        if isinstance(fault, int):
            self._say(fault, b"no", {})
            return
        headers = dict(more) or {"ETag": f'"{hash(data)}"'}
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None or fault == "whole":
            self._say(200, data, headers)
            return
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
        if start >= len(data):
            self._say(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        if fault == "other":
            start, stop = start + 1, stop + 1
        if fault == "less":
            stop = start + max((stop - start) // 2, 1)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        body = data[start:stop] + (b"more" if fault == "more" else b"")
        self._say(206, body, headers, cut=fault == "short")

    def _say(
        self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        except OSError:
            self.close_connection = True  # the client has gone, which is its right
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Stay silent."""


class Server(ThreadingHTTPServer):
    """Says nothing of clients that have gone."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401
        """Stay silent."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Run a server, of TLS with a context, and yield what it gives."""
    site = Site()
    server = Server(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
