"""The faulty proxy: each fault as a plain client sees it; all else is passed on as it is."""

import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.faults import FAULTS, FaultProxy, Plan

BODY = bytes(range(250)) * 40


class Target(ThreadingHTTPServer):
    """A plain HTTP server that keeps what it got.

    Attributes
    ----------
    seen : list of tuple
        Method, path, headers (names in lower case) and body of each request.
    together : threading.Barrier, optional
        Each request waits for the others there.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.together: threading.Barrier | None = None


class Handler(BaseHTTPRequestHandler):
    """Every request gets the same answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Keep the request and answer it."""
        assert isinstance(self.server, Target)
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, self._body(headers)))
        if self.server.together:
            self.server.together.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", '"tag"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(BODY)

    def do_PUT(self) -> None:
        """Do the same."""
        self.do_GET()

    def do_HEAD(self) -> None:
        """Do the same."""
        self.do_GET()

    def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" not in headers:
            return self.rfile.read(int(headers.get("content-length", 0)))
        chunks = b""
        while size := int(self.rfile.readline(), 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def target() -> Iterator[Target]:
    """Run the server in threads of this process."""
    with Target() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def connect(proxy: FaultProxy, timeout: float = 20) -> http.client.HTTPConnection:
    """Return a new connection."""
    return http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=timeout)


def ask(proxy: FaultProxy, method: str = "GET", path: str = "/b/k") -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    connection = connect(proxy)
    try:
        connection.request(method, path)
        with connection.getresponse() as answer:
            return answer.status, answer.read()
    finally:
        connection.close()


def outcome(proxy: FaultProxy) -> str:
    """Send one GET and name what became of it."""
    try:
        return str(ask(proxy)[0])
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def test_a_request_is_passed_on_byte_by_byte(target: Target) -> None:
    """Path, query, Host and the other headers arrive as sent, as a signature over them asks."""
    with FaultProxy(target.url) as proxy:
        connection = connect(proxy)
        path = "/bucket/a%20b//c%2Fd/../e%7E?list-type=2&prefix=x%2F&marker="
        sent = {"Host": "s3.example.org", "x-amz-date": "now", "Content-Encoding": "gzip"}
        connection.request("PUT", path, b"data", sent)  # not gzip: nobody may look
        assert connection.getresponse().read() == BODY
        connection.close()
    method, seen, headers, body = target.seen[0]
    assert (method, seen, body) == ("PUT", path, b"data")
    assert headers == {
        "host": "s3.example.org",
        "x-amz-date": "now",
        "content-encoding": "gzip",
        "content-length": "4",
        "accept-encoding": "identity",
    }


def test_a_connection_serves_many_requests(target: Target) -> None:
    """Connections are kept, after a HEAD and an error answer too, and a HEAD keeps its length."""
    with FaultProxy(target.url, rates={"slow_down": 1}, only="PUT") as proxy:
        connection = connect(proxy)
        connection.connect()
        socket_before = connection.sock
        answers = []
        for method in ("GET", "HEAD", "PUT", "GET"):
            connection.request(method, "/b/k", b"x" * 100_000 if method == "PUT" else None)
            with connection.getresponse() as answer:
                answers.append((answer.status, answer.headers["ETag"], len(answer.read())))
                length = answer.headers["Content-Length"]
                assert answer.status == 503 or length == str(len(BODY))
        assert connection.sock is socket_before
        connection.close()
    good = (200, '"tag"', len(BODY))
    assert (answers[0], answers[1], answers[3]) == (good, (200, '"tag"', 0), good)
    assert answers[2][:2] == (503, None)


def test_a_chunked_body_stays_chunked(target: Target) -> None:
    """A body without a length arrives whole and is passed on without one."""
    with FaultProxy(target.url) as proxy:
        connection = connect(proxy)
        parts = iter([b"one", b"two" * 50_000])
        sent = {"Content-Encoding": "aws-chunked", "Transfer-Encoding": "chunked"}
        connection.request("PUT", "/b/k", parts, sent, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()
    assert target.seen[0][3] == b"one" + b"two" * 50_000
    assert target.seen[0][2]["transfer-encoding"] == "chunked"
    assert target.seen[0][2]["content-encoding"] == "aws-chunked"
    assert "content-length" not in target.seen[0][2]


def test_a_client_that_waits_is_told_to_continue(target: Target) -> None:
    """Expect: 100-continue is answered before the body is sent."""
    with FaultProxy(target.url) as proxy:
        port = urlsplit(proxy.url).port
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(
                b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"data")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert target.seen[0][3] == b"data"


def test_slow_down_is_s3s_error(target: Target) -> None:
    """The answer is 503 with S3's code in XML, and the target hears nothing."""
    with FaultProxy(target.url, rates={"slow_down": 1}) as proxy:
        status, body = ask(proxy)
        assert (status, b"<Code>SlowDown</Code>" in body) == (503, True)
        assert (proxy.faults, proxy.requests) == ({"slow_down": 1}, {"GET": 1})
    assert target.seen == []


def test_reset_is_a_reset(target: Target) -> None:
    """The connection is reset, not merely closed, and the target hears nothing."""
    with FaultProxy(target.url, rates={"reset": 1}) as proxy:
        with pytest.raises(ConnectionResetError) as caught:
            ask(proxy)
        assert not isinstance(caught.value, http.client.RemoteDisconnected)
        assert proxy.faults == {"reset": 1}
    assert target.seen == []


def test_truncated_is_half_of_what_was_promised(target: Target) -> None:
    """The length promised is the whole body's; half of it comes."""
    with FaultProxy(target.url, rates={"truncated": 1}) as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy)
        assert caught.value.partial == BODY[: len(BODY) // 2]
        assert caught.value.expected == len(BODY) - len(BODY) // 2
        assert proxy.faults == {"truncated": 1}


def test_an_answer_without_a_body_is_not_truncated(target: Target) -> None:
    """A HEAD passes, and counts as no fault."""
    with FaultProxy(target.url, rates={"truncated": 1}) as proxy:
        assert ask(proxy, "HEAD") == (200, b"")
        assert proxy.faults["truncated"] == 0


def test_a_lost_reply_was_carried_out(target: Target) -> None:
    """The target got the request once, and the client is left without an answer."""
    with FaultProxy(target.url, rates={"lost_reply": 1}) as proxy:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(proxy, "PUT")
        assert proxy.faults == {"lost_reply": 1}
    assert [seen[0] for seen in target.seen] == ["PUT"]


def test_a_duplicate_is_carried_out_twice(target: Target) -> None:
    """The target got the request twice, and the client one answer."""
    with FaultProxy(target.url, rates={"duplicate": 1}) as proxy:
        assert ask(proxy, "PUT") == (200, BODY)
        assert proxy.faults == {"duplicate": 1}
    assert [seen[:2] for seen in target.seen] == [("PUT", "/b/k")] * 2


def test_a_delay_outlasts_a_patient_client(target: Target) -> None:
    """An answer that is due in a minute has not come after a fifth of a second."""
    with FaultProxy(target.url, rates={"delay": 1}, delay=60) as proxy:
        connection = connect(proxy, timeout=0.2)
        connection.request("GET", "/b/k")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        assert proxy.faults == {"delay": 1}


def test_waiting_requests_do_not_wait_for_each_other(target: Target) -> None:
    """With a latency, sixteen requests are at the target at the same time."""
    target.together = threading.Barrier(16)
    with FaultProxy(target.url, latency=0.05) as proxy, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: ask(proxy), range(16)))
    assert answers == [(200, BODY)] * 16


@pytest.mark.slow
def test_a_seed_gives_the_same_faults_again(target: Target) -> None:
    """The same seed breaks the same requests, another seed others, each about as often as asked."""
    rates = dict.fromkeys(["slow_down", "reset", "truncated", "lost_reply"], 0.1)
    runs = []
    for seed in (1, 1, 2):
        with FaultProxy(target.url, rates=rates, seed=seed) as proxy:
            runs.append([outcome(proxy) for _ in range(200)])
            assert proxy.requests == {"GET": 200}
            assert all(5 <= proxy.faults[kind] <= 40 for kind in rates)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_only_some_requests_and_so_many_faults(target: Target) -> None:
    """Faults befall what `only` matches, `limit` times."""
    with FaultProxy(target.url, rates={"slow_down": 1}, only="PUT /b/", limit=2) as proxy:
        words = [("GET", "/b/k"), ("PUT", "/a"), ("PUT", "/b/k"), ("PUT", "/b/k"), ("PUT", "/b/k")]
        assert [ask(proxy, *w)[0] for w in words] == [200, 200, 503, 503, 200]
        assert proxy.requests == {"GET": 1, "PUT": 4}


def test_the_plan_can_change(target: Target) -> None:
    """A proxy goes on by another plan at the same address, and counts anew."""
    with FaultProxy(target.url, rates={"slow_down": 1}) as proxy:
        assert ask(proxy)[0] == 503
        proxy.change(rates={})
        assert ask(proxy)[0] == 200
        assert (proxy.requests, proxy.faults) == ({"GET": 1}, {})


def test_a_target_that_is_gone_is_a_bad_gateway(target: Target) -> None:
    """Without a target the proxy says so: 502."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with FaultProxy(f"http://127.0.0.1:{unused.getsockname()[1]}") as proxy:
            assert ask(proxy)[0] == 502


@pytest.mark.parametrize("rates", [{"fire": 0.1}, {"reset": -0.1}, {"reset": 0.6, "delay": 0.6}])
def test_rates_are_checked(rates: dict[str, float]) -> None:
    """Unknown faults and impossible probabilities are refused."""
    with pytest.raises(ValueError, match=", ".join(FAULTS)):
        Plan("http://127.0.0.1:1", rates)
