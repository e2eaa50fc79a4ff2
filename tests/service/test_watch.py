"""Every request has an id, is counted, and ends when its caller goes away."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service import logs
from microtome_service.app import create_app
from microtome_service.settings import Settings

LAYER = "/api/datasets/demo/brain/neurons"
CUTOUT = f"{LAYER}/cutout"


@pytest.fixture
def brain(disk_store: Store, make_builder: Callable[..., Any]) -> Store:
    """A store of one layer of 4 MiB."""
    voxels = np.random.default_rng(1).integers(0, 255, (64, 256, 256), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    return disk_store


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2:3_4", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False),
     ("{evil}", False)],
)  # fmt: skip
def test_an_answer_names_its_request(
    given: str, kept: bool, brain: Store, connect: Callable[..., Any]
) -> None:
    """A well-formed X-Request-ID comes back; any other, or none, is replaced by a new one."""
    call = connect(brain)
    answer = call.get("/health/live", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) == kept
    assert len(answer.headers["x-request-id"]) >= 3
    assert call.get("/none/of/these/x").headers["x-request-id"]


def test_numbers_are_by_template_and_few(brain: Store, connect: Callable[..., Any]) -> None:
    """Requests, seconds and bytes are counted by route, whatever names callers make up."""
    call = connect(brain)
    size = len(call.get(f"{CUTOUT}?z=0:2").content)
    for number in range(20):
        call.get(f"/api/datasets/demo/nothing{number}")
        call.get(f"/made/up/by/{number}")
        call(f"MADE{number}", "/health/live")
    text = call.get("/metrics").text
    route = 'route="/api/datasets/{collection}/{dataset}/{layer}/cutout"'
    assert f'microtome_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f"microtome_sent_bytes_total{{{route}}} {float(size)}" in text
    assert "microtome_decoded_bytes_total 4.194304e+06" in text
    assert 'method="other"' in text
    assert text.count("microtome_requests_total{") < 10
    assert "nothing1" not in text


@contextmanager
def logged(form: str) -> Iterator[StringIO]:
    """Collect what the service logs in a form."""
    stream, root = StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.configure(form, access_log=True, stream=stream)
        yield stream
    finally:
        root.handlers[:], root.level = before, level


def test_the_log_has_a_line_a_request_and_no_secret(
    brain: Store, connect: Callable[..., Any]
) -> None:
    """Status, bytes, time, principal, template and id, as JSON; no query, no credentials."""
    secret = "s3cr3t-token-of-mine"
    with logged("json") as stream:
        call = connect(brain, access_log=True)
        url = f"{CUTOUT}?z=0:2&format=raw"
        answer = call.get(url, headers={"X-Request-ID": "mine"})
        refused = call.get(url, headers={"Authorization": f"Bearer {secret}"})
        logging.getLogger("microtome_service.any").error("Token %s at s3://x", secret)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    line, other = lines[0], lines[-1]
    assert refused.status_code in [each.get("status") for each in lines[1:-1]]
    assert line["status"] == 200
    assert line["bytes"] == len(answer.content)
    assert line["principal"] == "anonymous"
    assert line["route"].endswith("{layer}/cutout")
    assert line["request_id"] == "mine"
    assert line["ms"] > 0
    assert other["event"] == "Token *** at s3://x"
    assert secret not in stream.getvalue()


def test_plain_lines_say_the_same(brain: Store, connect: Callable[..., Any]) -> None:
    """The other form is for people: one line, with the same names."""
    with logged("plain") as stream:
        connect(brain, access_log=True).get("/health/live")
    assert "GET /health/live 200" in stream.getvalue()


@contextmanager
def held(address: str, path: str) -> Iterator[socket.socket]:
    """Ask for `path` and read nothing of the answer."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", httpx.URL(address).port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        yield sock


def until(condition: Callable[[], bool]) -> None:
    """Return once it holds; fail after ten seconds."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to hold")


@pytest.fixture
def served(brain: Store, running_app: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """A service with room for one answer, and its address."""
    settings = Settings(root=brain.url, max_flying_bytes=1 << 22, max_share=1, wait_seconds=60)
    app = create_app(settings, brain)
    with running_app(app) as address:
        yield app.state.service, address


def test_who_leaves_the_queue_waits_no_longer(served: tuple[Any, str]) -> None:
    """A caller that hangs up while it waits for memory makes room in the queue at once."""
    service, address = served
    with held(address, f"{CUTOUT}?format=raw") as first:
        until(lambda: service.gate.used > 0)
        with held(address, f"{CUTOUT}?z=1:3&format=raw"):
            until(lambda: service.gate.waiting == 1)
        until(lambda: service.gate.waiting == 0)
        assert service.gate.used > 0
        first.close()
        until(lambda: service.gate.used == 0)


@pytest.mark.parametrize("step", ["read", "encode"])
def test_who_leaves_while_work_is_done_for_it_gives_back_the_room(
    step: str, served: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is ended at once; an encoding that has begun keeps its room until it is done."""
    service, address = served
    begun: list[float] = []

    async def slow_read(*_: object) -> None:
        begun.append(time.monotonic())
        await asyncio.sleep(30)

    def slow_encode(*_: object) -> None:
        begun.append(time.monotonic())
        time.sleep(0.5)

    name, slow = ("read", slow_read) if step == "read" else ("encode", slow_encode)
    monkeypatch.setattr(f"microtome_service.routes.cutout.{name}", slow)
    with held(address, f"{CUTOUT}?z=0:2&format=tiff"):
        until(lambda: bool(begun))
        assert service.gate.used > 0
    until(lambda: service.gate.used == 0)
    ended = time.monotonic() - begun[0]
    assert ended < 5 if step == "read" else ended >= 0.5
    assert 'status="499"' in httpx.get(f"{address}/metrics").text


def test_who_leaves_a_stream_ends_it(
    disk_store: Store, make_builder: Callable[..., Any], running_app: Callable[..., Any]
) -> None:
    """Of an answer in many pieces, no further one is read once the caller has gone."""
    voxels = np.zeros((64, 1024, 1024), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, chunk=64)
    settings = Settings(root=disk_store.url, max_cutout_bytes=6 << 20, slab_bytes=2 << 20)
    app = create_app(settings, disk_store)
    with running_app(app) as address:
        with held(address, f"{CUTOUT}?format=raw"):
            until(lambda: app.state.service.gate.used > 0)
            time.sleep(0.5)
        until(lambda: app.state.service.gate.used == 0)
        text = httpx.get(f"{address}/metrics").text
    reads = next(x for x in text.splitlines() if x.startswith("microtome_storage_read_seconds_c"))
    # Of 32 slabs of two planes, as many as the system's buffers take.
    assert 1 <= float(reads.split()[1]) < 16
