"""Any words at all, in every room of the BossDB API."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microtome_core.store.location import Store
from tests.service.boss_lab import furnish

BLOSC = {"Content-Type": "application/blosc"}


@pytest.fixture
def lab(make_builder: Any, make_ramp: Any, connect: Callable[..., Any]) -> Any:  # noqa: ANN401
    """A caller whom everything is allowed, in a furnished store."""
    store = Store("memory://words")
    make_builder(store).layer("demo/brain/em", "zyx", make_ramp((4, 20, 30), "uint8"))
    call = connect(store, anonymous_writes=True)
    furnish(call)
    return call


WORD = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["lab", "exp", "seg", "demo", "brain", "em", "0", "1", "0:1", "xy", "-1:0", "16"]
    ),
)
ROOM = st.sampled_from(
    ["collection", "coord", "cutout", "cutout/to_black", "ids", "boundingbox", "reserve", "meta",
     "image", "tile", "downsample", "permissions", "groups", "sso/user", ""]
)  # fmt: skip


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]),
    ROOM,
    st.lists(WORD, max_size=9),
    st.dictionaries(st.sampled_from(["key", "value", "filter", "type", "window", "iso"]), WORD),
    st.binary(max_size=40),
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_words_are_an_error_of_the_service(
    lab: Any,  # noqa: ANN401 - the folder's own class
    method: str,
    room: str,
    words: list[str],
    query: dict[str, str],
    body: bytes,
) -> None:
    """Whatever is asked for, by whoever may do everything, it is answered or refused."""
    path = "/".join([room, *(quote(word, safe=":", errors="replace") for word in words)])
    told = urlencode(query, errors="replace")
    answer = lab(method, f"/v1/{path}?{told}", content=body, headers=BLOSC)
    assert answer.status_code < 500
    # A client takes dots out of paths itself; and a line break is no part of a mounted app's paths.
    inside = answer.url.path.startswith("/v1/") and "\n" not in answer.url.path
    if answer.status_code >= 400 and method != "HEAD" and inside:
        assert answer.json().keys() == {"status", "code", "message"}
        assert len(answer.content) < 1500
