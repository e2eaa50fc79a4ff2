"""A GET gives the whole answer, tries again where that may help, and else says what was wrong."""

import copy
import pickle
import time
from email.utils import formatdate
from typing import Any

import pytest

from microtome.errors import (
    AccessDenied,
    BrokenConnection,
    InputError,
    NotFound,
    ServiceError,
    StorageError,
    TimedOut,
    Unreachable,
    WrongAnswer,
)
from microtome.transport import Patience, Transport, check_token


@pytest.fixture
def transport() -> Transport:
    """Quick to give up."""
    return Transport(None, Patience(timeout=2.0, retries=2))


@pytest.fixture
def where(server: Any, url: str) -> str:  # noqa: ANN401 - conftest's server
    """The address of a layer's JSON, on a server whose faults hit it."""
    server.everywhere = True
    return url.replace("/demo/", "/api/datasets/demo/")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_service_is_asked_again(
    server: Any,  # noqa: ANN401
    transport: Transport,
    where: str,
    status: int,
) -> None:
    """429 and failures that pass are tried again until the answer is good."""
    server.fail(status, times=2)
    assert transport.json(where)["id"] == "demo/brain/neurons"
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 418, 500])
def test_a_refusal_is_not_asked_again(
    server: Any,  # noqa: ANN401
    transport: Transport,
    where: str,
    status: int,
) -> None:
    """What the service will not do now it will not do later."""
    server.fail(status, detail="no")
    with pytest.raises(ServiceError, match=rf"^no \({status} "):
        transport.json(where)
    assert len(server.asked) == 1


def test_retry_after_is_honoured(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """The next try comes no sooner than the service asks."""
    server.fail(503, Retry_After="1")
    begun = time.monotonic()
    transport.json(where)
    assert 1.0 <= time.monotonic() - begun < 2.5


def test_retry_after_may_be_a_date(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """An HTTP date in the past means now."""
    server.fail(503, Retry_After=formatdate(0, usegmt=True))
    begun = time.monotonic()
    transport.json(where)
    assert time.monotonic() - begun < 1


def test_nobody_waits_for_an_hour(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """A service that wants to be left alone for long is an error now."""
    server.fail(503, Retry_After="3600", detail="down for repair")
    with pytest.raises(StorageError, match="down for repair"):
        transport.json(where)
    assert len(server.asked) == 1


def test_tries_are_bounded(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """After the last try the service's own words are the error."""
    server.fail(503, times=9, detail="the disk is on fire")
    with pytest.raises(StorageError, match="the disk is on fire") as caught:
        transport.json(where)
    assert len(server.asked) == 3
    assert caught.value.__notes__ == ["after 3 of 3 tries"]


def test_a_token_is_sent_and_never_shown(server: Any, where: str) -> None:  # noqa: ANN401
    """The header carries it; representations and errors do not."""
    transport = Transport("s3cret", Patience(retries=0))
    transport.json(where)
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    server.fail(401, detail="who are you?")
    with pytest.raises(AccessDenied, match="who are you") as caught:
        transport.json(where)
    assert isinstance(caught.value, PermissionError)
    assert "s3cret" not in f"{caught.value!r}{transport!r}{transport.patience!r}"


def test_a_token_does_not_follow_to_another_host(server: Any, where: str) -> None:  # noqa: ANN401
    """A service that redirects elsewhere does not hand on what was meant for it alone."""
    transport = Transport("s3cret", Patience(retries=0))
    server.fail(307, Location=where.replace("127.0.0.1", "localhost"))
    transport.json(where)
    first, second = server.headers[-2:]
    assert first["Authorization"] == "Bearer s3cret"
    assert second["Host"].startswith("localhost")
    assert "Authorization" not in second


def test_no_token_no_header(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """Without a token nothing is said of one."""
    transport.json(where)
    assert "Authorization" not in server.headers[-1]
    assert server.headers[-1]["Accept-Encoding"] == "identity"
    assert server.headers[-1]["User-Agent"].startswith("microtome/")


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ключ"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(InputError) as caught:
        check_token(token)
    assert token not in str(caught.value)


def test_copies_have_connections_of_their_own(server: Any, where: str) -> None:  # noqa: ANN401
    """Pickling takes token and patience along."""
    transport = Transport("s3cret", Patience(retries=1))
    transport.json(where)
    for other in (pickle.loads(pickle.dumps(transport)), copy.deepcopy(transport)):
        other.json(where)
        assert other.patience == transport.patience
        assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    assert server.accepted == 3


def test_a_refused_connection_is_an_error(server: Any, where: str) -> None:  # noqa: ANN401
    """It is a ConnectionError that names the address and asks whether anything runs there."""
    server.shutdown()
    server.server_close()
    with pytest.raises(BrokenConnection, match=r"127\.0\.0\.1.*refused") as caught:
        Transport(None, Patience(retries=1)).json(where)
    assert isinstance(caught.value, ConnectionError)
    assert str(caught.value).endswith("is `microtome serve` running there?")


def test_an_unknown_host_is_not_tried_again() -> None:
    """A name without an address is an error at the first try."""
    with pytest.raises(Unreachable) as caught:
        Transport(None, Patience(retries=5)).json("http://nowhere.invalid/api")
    assert caught.value.__notes__ == ["after 1 of 6 tries"]


def test_silence_is_timed_out(server: Any, where: str) -> None:  # noqa: ANN401
    """A service that takes the request and says nothing is asked once more, then given up."""
    server.faults.extend([lambda *_: server.closing.wait(10)] * 5)
    with pytest.raises(TimedOut, match=r"silent for 0\.2 s"):
        Transport(None, Patience(timeout=0.2, retries=5)).json(where)
    assert len(server.asked) == 2


def test_redirects_are_followed(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """A moved service is found; one that moves in circles is not followed for ever."""
    server.fail(307, Location=where)
    assert transport.json(where)["id"] == "demo/brain/neurons"
    server.fail(307, times=9, Location=where)
    with pytest.raises(WrongAnswer, match="redirect"):
        transport.json(where)


def test_what_is_not_json_is_a_wrong_answer(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """A page of another site is not taken for a service."""
    page = b"<html>log in</html>"
    server.lie(body=page, Content_Length=str(len(page)), Content_Type="text/html")
    with pytest.raises(WrongAnswer, match=r"no JSON but text/html: is it a microtome service\?"):
        transport.json(where)


def test_a_partial_answer_is_a_wrong_answer(server: Any, transport: Transport, where: str) -> None:  # noqa: ANN401
    """Only 200 is an answer."""
    server.fail(206)
    with pytest.raises(WrongAnswer, match="status 206, expected 200"):
        transport.json(where)


@pytest.mark.parametrize(
    ("body", "kind", "shown"),
    [
        (b'{"title": "Gone"}', "application/problem+json", "Gone ("),
        (b'{"detail": 5, "title": "t"}', "application/json; charset=utf-8", "t ("),
        (b"plain words\n", "text/plain", "plain words ("),
        (b"<html>", "text/html", "404 Not Found from"),
        (b"[1]", "application/json", "404 Not Found from"),
        (b"\xff{", "application/json", "404 Not Found from"),
    ],
)
def test_refusals_of_any_form_are_understood(
    server: Any,  # noqa: ANN401
    transport: Transport,
    where: str,
    body: bytes,
    kind: str,
    shown: str,
) -> None:
    """A proxy's page or half a JSON document makes a plain message, not another fault."""
    headers = {"Content-Type": kind, "Content-Length": str(len(body))}
    server.faults.append(lambda handler, _, __: handler.reply(404, headers, body))
    with pytest.raises(NotFound) as caught:
        transport.json(where)
    assert str(caught.value).startswith(shown)


@pytest.mark.parametrize(
    "words", [{"timeout": 0}, {"timeout": float("inf")}, {"retries": -1}, {"parallel": 0}]
)
def test_patience_has_limits(words: dict[str, Any]) -> None:
    """Settings that could wait for ever or do nothing are refused by name."""
    with pytest.raises(InputError, match=next(iter(words))):
        Patience(**words)
