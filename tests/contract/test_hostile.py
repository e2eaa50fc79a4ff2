"""Hostile requests over a raw socket: refused in words, the service alive, the store untouched."""

import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import blosc
import numcodecs
import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.location import Store
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.contract.conftest import wait_until_ready
from tests.route_examples import Operation, operations
from tests.trees import tree

SHAPE = (8, 16, 16)
NEW = NewLayer("zyx", SHAPE, "uint32", (1.0,) * 3, ("um",) * 3)
SECONDS = 15
# What each operation is asked of a kind, in every run and in the long one.
SOME = [4, pytest.param(14, marks=pytest.mark.slow)]
MIB = 1 << 20
# What 1500 requests may leave in memory beside what the first ones did.
GROWTH = 200 * MIB
# Said by the HTTP parser: a method or a version that it does not speak.
PARSERS = (501, 505)
LEAKS = (
    b"Traceback",
    b'File "',
    b"site-packages",
    b".py",
    b"tensorstore",
    b"/tmp/",
    b"file://",
)

WORDS = (
    "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5c", "..\\..\\", "//",
    "%2f", "%00", "a%00b", "%c0%ae%c0%ae/", "%c0%af", "%e0%80%af", "%ff%fe", "%ed%a0%80",
    "%ed%b0%80", "%ef%bc%8e%ef%bc%8e%ef%bc%8f", "%e2%80%ae", "%e2%80%8f", "%d9%a1", "%ef%bc%91",
    "%c2%b2", "%0d%0aX-Evil:%20yes", "%", "%zz", "%25", "%252e%252e%252f", "~", "$(id)",
    "'%20or%201=1--", "<script>", "{{7*7}}", "%7b%7d", "CON", ".", "..", "-", "_", "a" * 300,
)  # fmt: skip
NUMBERS = (
    "1" + "0" * 5000, "-1", "-0", "1.5", "1e9", "1e999", "nan", "inf", "0x10", "1_0", "+1",
    "%201", "9223372036854775808", "18446744073709551616", "01", "%D9%A3", "", "5:1", "0:0",
    "3:3", ":", "::", "0:1:0", "0:999999999999999999999", "-5:-1", "0,0", "[0]", "true", "null",
)  # fmt: skip
NAMES = ("level", "z", "y", "x", "c", "t", "format", "version", "channels", "window", "filter",
         "limit", "offset", "query", "type", "ids", "no_such", "quality", "size")  # fmt: skip
HEADERS = (
    "Range: bytes=9-1", "Range: bytes=--1", "Range: bytes=" + "0-0," * 5000,
    "Range: bytes=0-" + "9" * 5000, "Range: bytes=-0", "Range: lines=1-2",
    "Range: bytes=\xb2-\xb3", "If-Match: \"", "If-Match: *", "If-None-Match: W/\"" + "x" * 9000,
    "If-None-Match: ,,,", "If-Modified-Since: yesterday",
    "If-Modified-Since: Thu, 01 Jan 99999 00:00:00 GMT", "If-Unmodified-Since: -1",
    "If-Range: x", "If-Modified-Since: Wed, 32 Foo 2020 99:99:99 GMT", "Accept: */*;q=nan",
    "Accept: ;;;,,,/", "Accept: " + "a/b," * 5000, "Accept: */*;q=1e999", "Accept: image/\xff",
    "Accept-Encoding: br;q=x", "Authorization: Bearer", "Authorization: Bearer " + "A" * 20000,
    "Authorization: Token \xff\xfe", "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
    "Authorization: Basic !!!", "Authorization: ", "Authorization: Bearer mt_x_y",
    "Content-Type: ", "Content-Type: application/json; charset=\xff",
    "Content-Type: multipart/form-data", "X-Big: " + "b" * 100_000,
    "X-Forwarded-For: " + "1," * 999, "X-Forwarded-For: ::::::", "X-Request-Id: \x01\x7f",
    "Origin: null", "Origin: \xff", "Cookie: " + "a=b;" * 2000, "Content-Length: -1",
    "Content-Length: 1e3", "Content-Length: " + "9" * 400,
    "Content-Length: 0\r\nContent-Length: 5", "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Transfer-Encoding: gzip, identity", "Transfer-Encoding: \x0bchunked", "Expect: 42",
    "Upgrade: h2c\r\nConnection: Upgrade", "Content-Encoding: zstd", "Host: evil/../..",
    " folded", "No-Colon", ": empty", "X-Forwarded-Proto: javascript",
    "X-Forwarded-Prefix: //evil",
)  # fmt: skip


def _npy(voxels: object, **options: bool) -> bytes:
    body = BytesIO()
    np.save(body, voxels, **options)  # type: ignore[arg-type]
    return body.getvalue()


def _claim(header: str) -> bytes:
    """Return a .npy file with a header of one's own, and no voxels."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


GOOD = np.ones(SHAPE, "uint32")
_BOMB = numcodecs.Zstd(19).encode(bytes(64 * MIB))
_DEEP = b"[" * 50_000
BODIES: Sequence[tuple[str, bytes]] = (
    *(
        ("application/x-npy", body)
        for body in (
            b"", b"\x93NUMPY", _npy(GOOD)[:-1], _npy(GOOD) + b"x", _npy(GOOD)[:60],
            _npy(GOOD[:-1]), _npy(np.array([{"a": 1}], object), allow_pickle=True),
            _npy(GOOD.astype("float64")), _npy(np.zeros(3, [("a", "i4")])),
            _npy(np.zeros(SHAPE, "U4")), _npy(np.zeros(SHAPE, "M8[s]")),
            _claim("{'descr': '<u4', 'fortran_order': False, 'shape': (%s,), }" % ("9" * 60)),
            _claim("{'descr': '<u4', 'fortran_order': False, 'shape': (-8, 16, 16), }"),
            _claim("{'descr': '|O', 'fortran_order': True, 'shape': (8, 16, 16), }"),
            _claim("{'descr': '<u4', 'fortran_order': 7, 'shape': 5, }"),
            _claim("__import__('os').system('id')"), _claim("(" * 100),
            _claim("[" * 100 + "]" * 18), b"\x93NUMPY\x09\x09" + b"\xff" * 64,
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff", b"\x80\x04cos\nsystem\n",
        )
    ),
    *(
        ("application/blosc", body)
        for body in (
            b"", b"\x02", b"\x02\x01\x21\x04" + b"\xff" * 12, b"\xff" * 64,
            blosc.compress(bytes(32 * MIB), 4), blosc.compress(GOOD.tobytes(), 4)[:-3],
            blosc.compress(GOOD.tobytes()[:-4], 4), blosc.compress(GOOD.tobytes(), 4) + b"tail",
        )
    ),
    *(
        ("application/zstd", body)
        for body in (
    b"", b"\x28\xb5\x2f\xfd", _BOMB, _BOMB[:-2], _BOMB * 2, b"\x28\xb5\x2f\xfd" + b"\xff" * 60,
)
    ),
    ("application/octet-stream", b"short"), ("application/gzip", b"\x1f\x8b" * 9),
    ("text/xml", b"<!ENTITY x>"),
    *(
        ("application/json", body)
        for body in (
            b"{", _DEEP, b'{"a":' * 20_000, b"NaN", b'{"boxes": NaN}',
            b'{"boxes": [[[0, 1e999]]]}',
            b'{"boxes": [[[0, %s], [0, 1], [0, 1]]]}' % (b"9" * 5000),
            b'{"boxes": [[[-1, 1], [0, 1], [0, 1]]]}', b'{"boxes": [[[3, 1], [0, 1], [0, 1]]]}',
            b'{"boxes": []}', b'{"boxes": {}}', b'"\\ud800"',
            b'{"name": "\\ud800", "description": "\\u0000"}', b'{"name": "../../etc"}',
            b"\xff\xfe{}\x00", b'{"name": 1e400, "x_stop": NaN}', b'{"a": 1, "a": 2}', b"null",
            b"[]", b"0", b'{"boxes": [' + b"[[0,1],[0,1],[0,1]]," * 9999,
        )
    ),
)  # fmt: skip


# They take no body, and do what they are asked to.
WITHOUT_BODY = ("/to_black/", "/downsample/")


@dataclass(frozen=True, slots=True)
class Server:
    """A live service, and what it serves."""

    address: str
    pid: int
    store: Store
    found: Sequence[Operation]

    def url(self, operation: Operation) -> str:
        """Return an address that is there."""
        return operation.address("demo/brain", "seg" if operation.unfit else "em")

    def resident(self) -> int:
        """Return the memory of the process, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def send(self, head: str, body: bytes = b"") -> bytes:
        """Send bytes as they are, and return all that comes back; a hang is an error."""
        parts = urlsplit(self.address)
        with socket.create_connection((parts.hostname, parts.port), SECONDS) as line:
            try:
                line.sendall(head.encode("latin-1") + body)
            except TimeoutError:
                raise
            except OSError:
                pass  # refused before all was sent
            return b"".join(iter(lambda: _received(line), b""))

    def wrong(self, head: str, body: bytes = b"") -> list[str]:
        """Return what is wrong with the answer to a request."""
        try:
            answer = self.send(head, body)
        except TimeoutError:
            return [f"hangs: {head[:200]!r} {body[:60]!r}"]
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0
        leaks = [word for word in (*LEAKS, os.fsencode(self.store.url[7:])) if word in answer]
        if not status and " HTTP/1.1\r\nHost: h\r\nConnection: close" in head:
            return [f"no answer: {head[:300]!r} {body[:60]!r}"]
        page = b"text/html" in answer or b"openapi" in answer[:2000]
        if (status >= 500 and status not in PARSERS) or (leaks and status >= 400 and not page):
            return [f"{status} {leaks}: {head[:300]!r} {body[:60]!r} -> {answer[-300:]!r}"]
        return []


def _received(line: socket.socket) -> bytes:
    try:
        return line.recv(1 << 16)
    except ConnectionResetError:
        return b""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[Server]:
    """Serve an image, labels that all may write, and nothing else, in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    root, port = folder / "root", unused_port()
    np.save(folder / "in.npy", np.arange(2048, dtype="uint16").reshape(SHAPE))
    words = ["ingest", str(folder / "in.npy"), str(root), "--as", "demo/brain/em"]
    assert main([*words, "--axes", "zyx", "--voxel-size", "1,1,1"]) == 0
    store = Store(str(root))
    create_layer(store, LayerId("demo", "brain", "seg"), NEW)
    app = create_app(Settings(root=store.url), store)
    found = operations(app)
    app.state.service.close()
    limits = {"MICROTOME_REQUEST_SECONDS": "1", "MICROTOME_ANONYMOUS_WRITES": "true"}
    run = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    log = (folder / "log").open("wb")
    with log, subprocess.Popen(run, env={**os.environ, **limits}, stdout=log, stderr=log) as served:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address, served)
        try:
            yield Server(address, served.pid, store, found)
        finally:
            served.terminate()


@pytest.fixture
def unharmed(server: Server) -> Iterator[list[str]]:
    """What a test finds wrong; the store is the same afterwards, and the service answers."""
    before, resident, wrong = tree(server.store), server.resident(), list[str]()
    yield wrong
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:40])
    assert tree(server.store) == before
    assert server.resident() < resident + GROWTH
    with urlopen(f"{server.address}/health/ready", timeout=SECONDS) as answer:
        assert answer.status == 200


def head(method: str, target: str, *headers: str) -> str:
    """Return the head of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: h", "Connection: close", *headers]
    return "\r\n".join(lines) + "\r\n\r\n"


def mangled(url: str, word: str, dice: random.Random) -> str:
    """Put a word in the place of one of an address."""
    parts = url.strip("/").split("/")
    parts[dice.randrange(len(parts))] = word
    return "/" + "/".join(parts)


def reads(server: Server) -> list[Operation]:
    """Return what changes nothing, whatever is asked; BossDB reserves ids by GET."""
    methods = ("GET", "HEAD", "OPTIONS")
    return [o for o in server.found if o.method in methods and "/reserve/" not in o.template]


@pytest.mark.parametrize("count", SOME)
def test_words_of_addresses(server: Server, unharmed: list[str], count: int) -> None:
    """Traversal, letters that look alike, and numbers that are none, in the place of any word."""
    dice = random.Random(1)
    for operation in reads(server):
        for word in dice.sample([*WORDS, *NUMBERS], count):
            url = mangled(server.url(operation), word, dice)
            unharmed += server.wrong(head(operation.method, url))


@pytest.mark.parametrize("count", SOME)
def test_queries(server: Server, unharmed: list[str], count: int) -> None:
    """Thousands of parameters, the same one twice, and values of all kinds."""
    dice = random.Random(2)
    many = "&".join(f"p{i}={i}" for i in range(5000))
    taking = [o for o in server.found if o.writes and o.template.endswith("/cutout")]
    assert len(taking) == 2
    for operation in (*reads(server), *taking):
        url = server.url(operation)
        given = [f"{dice.choice(NAMES)}={dice.choice([*WORDS, *NUMBERS])}" for _ in range(count)]
        twice = f"{given[0]}&{given[0]}&{given[1]}"
        for query in (*given, twice, "&&&=&", "%00=%ff", "z=" + "0:1," * 2000):
            unharmed += server.wrong(head(operation.method, f"{url}?{query}"))
        unharmed += server.wrong(head(operation.method, f"{url}?{many}"))


@pytest.mark.parametrize("count", SOME)
def test_headers(server: Server, unharmed: list[str], count: int) -> None:
    """Any header that is long, malformed or at odds with another, on reads of each kind."""
    dice = random.Random(3)
    for operation in reads(server):
        for line in dice.sample(HEADERS, count):
            unharmed += server.wrong(head(operation.method, server.url(operation), line))


def test_requests_that_are_none(server: Server, unharmed: list[str]) -> None:
    """Lines that are no HTTP, of other versions, methods and forms."""
    lines = (
        "", "\r\n", "GET", "GET /", "GET / HTTP/9.9", "GET / HTTP/1.1\n\n",
        "\x16\x03\x01\x02\x00", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET http://evil/ HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT evil:443 HTTP/1.1\r\n\r\n", "FOO / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET " + "/a" * 60_000 + " HTTP/1.1\r\n\r\n", "GET /\x00 HTTP/1.1\r\n\r\n",
        "GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", "get / http/1.1\r\n\r\n", "A" * 100_000,
        "TRACE / HTTP/1.1\r\nHost: h\r\nCookie: secret\r\n\r\n",
        "GET ?x HTTP/1.1\r\nHost: h\r\n\r\n",
    )  # fmt: skip
    # Some are waited for until the service gives them up: side by side that takes no longer.
    with ThreadPoolExecutor(len(lines)) as pool:
        unharmed += [wrong for found in pool.map(server.wrong, lines) for wrong in found]


@pytest.mark.slow
def test_bodies(server: Server, unharmed: list[str]) -> None:
    """Bodies that are cut, swollen, deep, of objects or of wrong sizes, to all that takes one."""
    taking = [o for o in server.found if o.method in ("PUT", "PATCH", "POST")]
    taking = [o for o in taking if not any(word in o.template for word in WITHOUT_BODY)]
    assert len(taking) > 8
    for operation in taking:
        cutout = "cutout" in operation.template
        json = operation.body is not None or not cutout
        for kind, body in BODIES:
            # Of a resource they say nothing, which is taken for no change.
            silent = operation.body is None and (b"boxes" in body or b'"a"' in body)
            if json == (kind == "application/json") and not silent:
                url = operation.address("demo/brain", "seg")
                line = f"Content-Length: {len(body)}"
                unharmed += server.wrong(
                    head(operation.method, url, f"Content-Type: {kind}", line), body
                )
