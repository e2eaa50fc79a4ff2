"""Short links to what the viewer shows: what they keep, for whom, and their bounds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service import links
from microtome_service.auth import records
from microtome_service.auth.database import Database

PAGE = "/view/demo/brain"


def state(*sources: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a state of the viewer."""
    return {"layers": [{"type": "image", "source": each} for each in sources], **more}


OWN = "precomputed://http://test/precomputed/demo/brain/neurons"


@pytest.fixture
def make_call(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., Any]:
    """What makes a caller of a service with a public dataset and a database that is not there."""
    make_builder(disk_store).layer("demo/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    return lambda **changes: connect(disk_store, **changes)


def put(call: Any, state: object, page: object = PAGE) -> Any:  # noqa: ANN401
    """Keep a view."""
    return call("POST", "/api/links", json={"page": page, "state": state})


def test_a_link_leads_back_to_the_same_view(make_call: Callable[..., Any]) -> None:
    """Short address, page of the viewer, state: the same view has the same link."""
    call = make_call()
    told = state(OWN, {"url": OWN}, [OWN, {"url": OWN}], "local://annotations", position=[1, 2, 3])
    answer = put(call, told)
    assert answer.status_code == 201
    name = answer.json()["link"]
    assert answer.json()["url"] == answer.headers["location"] == f"http://test/s/{name}"
    assert put(call, told).json()["link"] == name
    followed = call.get(f"/s/{name}")
    assert (followed.status_code, followed.headers["location"]) == (302, f"{PAGE}?link={name}")
    assert f'data-scene="/api/links/{name}"' in call.get(f"{PAGE}?link={name}").text
    assert call.get(f"/api/links/{name}").json() == told


def test_a_link_outlives_the_services_address(make_call: Callable[..., Any]) -> None:
    """Where the service is reached otherwise, so are the sources."""
    name = put(make_call(), state(OWN)).json()["link"]
    elsewhere = make_call(public_url="https://brains.example")
    source = elsewhere.get(f"/api/links/{name}").json()["layers"][0]["source"]
    assert source == "precomputed://https://brains.example/precomputed/demo/brain/neurons"


ELSEWHERE: Sequence[object] = (
    "precomputed://http://elsewhere.example/a",
    "precomputed://http://test.elsewhere.example/a",
    "http://test/a",
    "zarr://http://test/a|http://elsewhere.example/",
    "precomputed://http://test/http://elsewhere.example/a",
    {"url": "zarr://s3://bucket/a"},
    [OWN, "zarr://https://test/a"],
    {"url": 5},
    7,
)


def test_a_view_of_something_elsewhere_is_refused(make_call: Callable[..., Any]) -> None:
    """A link of this service shows what lies at this service."""
    call = make_call()
    for source in ELSEWHERE:
        answer = put(call, state(source))
        assert (answer.status_code, answer.json()["error"]) == (400, "InputError"), source


WRONG: Sequence[tuple[bytes, int]] = (
    (b"", 400),
    (b"[]", 400),
    (b"[" * 5000, 400),
    (b'{"page": "/view/demo/brain"}', 400),
    (b'{"page": 5, "state": {"layers": []}}', 400),
    (b'{"page": "https://elsewhere.example/", "state": {"layers": []}}', 400),
    (b'{"page": "/view/demo/brain", "state": []}', 400),
    (b'{"page": "/view/demo/brain", "state": {"layers": [5]}}', 400),
    (b'{"page": "/view/demo/none", "state": {"layers": []}}', 404),
    *(
        (b'{"page": "/view/demo/brain", "state": {"layers": [], "a": %s}}' % value, 400)
        for value in (b"NaN", b"1e999", b'"\\ud800"', b"[" * 2000 + b"]" * 2000)
    ),
    (b" " * (links.LARGEST + 2000), 413),
)


def test_a_wrong_body_is_told(make_call: Callable[..., Any]) -> None:
    """What is no view of a dataset that is there, or too large."""
    call = make_call()
    for body, status in WRONG:
        assert call("POST", "/api/links", content=body).status_code == status, body[:60]


def test_one_caller_makes_so_many_and_no_more(make_call: Callable[..., Any]) -> None:
    """The thirty-first within ten minutes is 429."""
    call = make_call()
    found = [put(call, state(OWN, position=[i])).status_code for i in range(31)]
    assert found == [201] * 30 + [429]


def test_so_many_are_kept_and_no_more(
    make_call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were used longest ago make room."""
    monkeypatch.setattr(links, "_MOST", 3)
    call = make_call()
    names = [put(call, state(OWN, position=[i])).json()["link"] for i in range(5)]
    assert sum(call.get(f"/api/links/{name}").status_code == 200 for name in names) == 3
    assert call.get(f"/api/links/{names[-1]}").status_code == 200


def test_a_link_that_is_none_is_absent(make_call: Callable[..., Any]) -> None:
    """404, before and after there is a database."""
    call, names = make_call(), ("aaaaaaaaaaaa", "a", "A" * 12, "%3Cb%3E")
    assert {call.get(f"/s/{name}").status_code for name in names} == {404}
    put(call, state(OWN))
    assert {call.get(f"/api/links/{name}").status_code for name in names} == {404}


def test_a_link_to_what_is_private_is_absent(
    make_call: Callable[..., Any], disk_store: Store
) -> None:
    """Who may not see the dataset is told what is told of a link that never was."""
    from microtome_service.auth.database import default_url

    call = make_call()
    name = put(call, state(OWN)).json()["link"]
    with Database(default_url(disk_store.url) or "") as database, database.write() as connection:
        records.set_visibility(connection, "demo", False)
    other = "b" * 12
    for address in ("/s/{}", "/api/links/{}"):
        hidden, absent = call.get(address.format(name)), call.get(address.format(other))
        assert hidden.status_code == absent.status_code == 404
        assert hidden.text.replace(name, "") == absent.text.replace(other, "")
    assert put(call, state(OWN)).status_code == 404


def test_a_database_that_is_gone_is_not_made_anew(
    make_call: Callable[..., Any],
    make_builder: Callable[..., Any],
    disk_store: Store,
    tmp_path: Path,
) -> None:
    """An empty one would show everybody what the lost one hid."""
    make_builder(disk_store).layer("closed/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    file = tmp_path / "access.sqlite"
    with Database(f"sqlite:///{file}") as database:
        database.upgrade()
        with database.write() as connection:
            records.set_visibility(connection, "closed", False)
    call = make_call(database_url=f"sqlite:///{file}")
    assert call.get("/api/datasets/closed/brain").status_code == 404
    file.unlink()
    assert put(call, state(OWN)).status_code == 503
    assert not file.exists()
    assert call.get("/api/datasets/closed/brain").status_code != 200


def test_a_store_without_a_place_for_a_database_keeps_none(
    make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """The viewer's page offers no link there."""
    store = Store("memory://links")
    make_builder(store).layer("demo/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    call = connect(store)
    assert put(call, state(OWN)).status_code == 404
    assert json.dumps("share") not in call.get(PAGE).text
