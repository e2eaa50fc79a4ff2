"""What holds for every address: errors, HEAD, CORS, strictness."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.errors import (
    Conflict,
    InputError,
    MicrotomeError,
    NotFound,
    RegionError,
    SourceError,
    StorageError,
    TooLarge,
)
from microtome_core.store.location import Store
from microtome_service.errors import Busy, NotAcceptable, Unreadable
from microtome_service.problems import status_of

CUTOUT = "/api/datasets/demo/brain/neurons/cutout"


@pytest.fixture
def call(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> Any:  # noqa: ANN401 - the folder's own class
    """A caller of a store with one small layer."""
    voxels = np.arange(60, dtype="uint8").reshape(3, 4, 5)
    make_builder(service_store).layer("demo/brain/neurons", "zyx", voxels)
    return connect(service_store)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RegionError("x"), 400),
        (InputError("x"), 400),
        (SourceError("f", "x"), 400),
        (NotAcceptable("x"), 406),
        (NotFound("x"), 404),
        (TooLarge("x"), 413),
        (StorageError("x"), 503),
        (Unreadable("x"), 503),
        (Busy("x"), 503),
        (Conflict("x"), 409),
        (MicrotomeError("x"), 500),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_one_table_gives_every_error_its_status(error: Exception, status: int) -> None:
    """Special errors win over the general ones that they are."""
    assert status_of(error) == status


def test_errors_that_nobody_expected_are_500_without_a_word_of_their_cause(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """A fault in the service is a problem document too, and leaks nothing."""

    async def fail() -> None:
        raise ZeroDivisionError("/secret/path")

    call.app.add_api_route("/fail", fail)
    call.app.router.routes.insert(0, call.app.router.routes.pop())
    answer = call.get("/fail", quiet=True)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


def test_words_of_the_storage_engine_stay_in_the_log(
    call: Any,  # noqa: ANN401 - the folder's own class
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A StorageError raised anywhere is 503; its message goes to the log alone."""

    async def fail() -> None:
        raise StorageError("file:///secret/path: no such bucket")

    call.app.add_api_route("/fail", fail)
    call.app.router.routes.insert(0, call.app.router.routes.pop())
    with caplog.at_level(logging.ERROR, "microtome_service"):
        answer = call.get("/fail")
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_to_be_busy_is_a_line_in_the_log_and_no_fault(
    call: Any,  # noqa: ANN401 - the folder's own class
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refusal for want of room is 503 with Retry-After, and a warning without a traceback."""

    async def refuse() -> None:
        raise Busy("too many requests wait for memory")

    call.app.add_api_route("/busy", refuse)
    call.app.router.routes.insert(0, call.app.router.routes.pop())
    with caplog.at_level(logging.INFO, "microtome_service"):
        answer = call.get("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "too many" in answer.json()["detail"]
    assert [(r.levelname, r.exc_info) for r in caplog.records] == [("INFO", None)]


@pytest.mark.parametrize("url", ["/", "/docs", "/api/datasets", CUTOUT, "/health/live"])
def test_every_address_answers_head_and_refuses_what_writes(
    url: str,
    call: Any,  # noqa: ANN401 - the folder's own class
) -> None:
    """HEAD is as good as GET; other methods are 405 and name the two."""
    assert call("HEAD", url).status_code == 200
    answer = call("POST", url)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("url", ["/", "/docs", "/api/datasets", "/demo/brain", "/health/live"])
def test_unknown_parameters_are_refused_everywhere(
    url: str,
    call: Any,  # noqa: ANN401 - the folder's own class
) -> None:
    """A parameter that an address does not know is 400 and named, never ignored."""
    answer = call.get(f"{url}?lvel=1")
    assert answer.status_code == 400
    assert "'lvel'" in answer.json()["detail"]


def test_scripts_of_other_origins_may_read(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Any origin may GET and see the headers that matter; cookies are never allowed."""
    answer = call.get(CUTOUT, headers={"Origin": "https://viewer.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    exposed = answer.headers["access-control-expose-headers"]
    for header in ("ETag", "Content-Length", "Content-Disposition", "X-Microtome-Shape"):
        assert header in exposed
    asked = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "GET"}
    preflight = call("OPTIONS", CUTOUT, headers=asked)
    assert preflight.status_code == 200
    assert "HEAD" in preflight.headers["access-control-allow-methods"]


def test_origins_may_be_limited(service_store: Store, connect: Callable[..., Any]) -> None:
    """With origins set, another one gets no permission, and caches keep them apart."""
    call = connect(service_store, cors_origins=("https://ours.example",))
    ours = call.get("/api/datasets", headers={"Origin": "https://ours.example"})
    other = call.get("/api/datasets", headers={"Origin": "https://other.example"})
    assert ours.headers["access-control-allow-origin"] == "https://ours.example"
    assert "Origin" in ours.headers["vary"]
    assert "access-control-allow-origin" not in other.headers


def test_too_many_answers_at_once_are_503_for_later(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """When memory is taken and none may wait, the answer is 503 with Retry-After, then 200."""
    service = call.app.state.service
    gate = type(service.gate)(100, 0, 1)
    service.gate = gate
    lease = asyncio.run(gate.admit(100))
    answer = call.get(CUTOUT)
    assert (answer.status_code, answer.json()["error"]) == (503, "Busy")
    assert int(answer.headers["retry-after"]) > 0
    lease.release()
    assert call.get(CUTOUT).status_code == 200
    assert gate.used == 0
