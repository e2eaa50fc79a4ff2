"""Browsers sign in with a key: what the cookie opens, and what it never does."""

from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from microtome_core.store.location import Store
from microtome_service.auth import records
from microtome_service.auth.database import Database
from microtome_service.auth.models import SESSIONS
from microtome_service.auth.roles import Role
from microtome_service.auth.sessions import COOKIE

OWN = {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}
PAGE = "/closed/brain/neurons"


class Lab:
    """A service with a private dataset, and a key that opens it."""

    def __init__(self, call: Any, database: Database, key: str) -> None:  # noqa: ANN401
        self.call, self.database, self.key = call, database, key

    def sign_in(self, to: str = PAGE, **headers: str) -> Any:  # noqa: ANN401 - httpx's
        """Send the form, as the page of this service does."""
        form = {"key": self.key, "to": to}
        return self.call("POST", "/sign-in", data=form, headers={**OWN, **headers})

    def cookie(self) -> dict[str, str]:
        """Return the header of somebody who has signed in."""
        return {"Cookie": self.sign_in().headers["set-cookie"].partition(";")[0]}


@pytest.fixture
def lab(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    tmp_path: Path,
) -> Iterator[Lab]:
    """The service."""
    make_builder(disk_store).layer("closed/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    url = f"sqlite:///{tmp_path / 'access.sqlite'}"
    with Database(url) as database:
        database.upgrade()
        with database.write() as connection:
            records.set_visibility(connection, "closed", False)
            _, key = records.create_key(connection, "jane", Role.WRITER, "*", None)
        yield Lab(connect(disk_store, database_url=url), database, key)


def test_a_key_becomes_a_cookie_that_opens_what_is_private(lab: Lab) -> None:
    """The page leads on to where one wanted to go; the cookie is out of reach of scripts."""
    assert lab.call.get(PAGE).status_code == 404
    answer = lab.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    told = answer.headers["set-cookie"]
    assert told.startswith(f"{COOKIE}=")
    for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"):
        assert word in told
    assert lab.key.split("_")[2] not in told
    page = lab.call.get(PAGE, headers=lab.cookie())
    assert page.status_code == 200
    assert "Sign out jane" in page.text


def test_behind_https_the_cookie_is_for_https_alone(
    lab: Lab, connect: Callable[..., Any], disk_store: Store
) -> None:
    """Where the service's address says so."""
    url = f"sqlite:///{lab.database.file}"
    call = connect(disk_store, database_url=url, public_url="https://brains.example")
    form = {"key": lab.key}
    origin = {"Origin": "https://brains.example", "Sec-Fetch-Site": "same-origin"}
    assert "Secure" in call("POST", "/sign-in", data=form, headers=origin).headers["set-cookie"]


def test_the_key_is_kept_nowhere(lab: Lab) -> None:
    """Nor is the session's token: the database holds digests."""
    token = lab.cookie()["Cookie"].partition("=")[2]
    held = Path(str(lab.database.file)).read_bytes()
    assert lab.key.split("_")[2].encode() not in held
    assert token.encode() not in held


def test_a_wrong_key_is_told_on_the_form(lab: Lab) -> None:
    """401, no cookie, and the words are words."""
    for key in ("", "mt_x", "public", "mt_aaaaaaaaaaaa_" + "a" * 43, "<b>"):
        answer = lab.call("POST", "/sign-in", data={"key": key}, headers=OWN)
        assert answer.status_code == 401, key
        assert "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text
        assert "<b>" not in answer.text


def test_no_other_site_signs_anybody_in_or_out(lab: Lab) -> None:
    """A form that no page of the service sent is 403 and changes nothing."""
    cookie = lab.cookie()
    for headers in (
        {},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://test", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for path in ("/sign-in", "/sign-out"):
            told = {**headers, **cookie}
            answer = lab.call("POST", path, data={"key": lab.key}, headers=told)
            assert answer.status_code == 403, (path, headers)
            assert "set-cookie" not in answer.headers
    assert lab.call.get(PAGE, headers=cookie).status_code == 200


def test_no_other_site_changes_anything_by_the_cookie(lab: Lab) -> None:
    """A change counts as nobody's unless a page of the service asks for it."""
    url, body = "/api/datasets/closed/brain/neurons/record", {"license": "CC-BY-4.0"}
    cookie = lab.cookie()
    foreign = {**cookie, "Origin": "http://elsewhere.example"}
    for headers in ({}, foreign, cookie):
        assert lab.call("PATCH", url, json=body, headers=headers).status_code == 404
    own = lab.call("PATCH", url, json=body, headers={**cookie, **OWN})
    assert own.status_code not in (401, 403, 404)


def test_signing_in_leads_nowhere_else(lab: Lab) -> None:
    """An address of another site becomes the catalog."""
    for to in ("//elsewhere.example", "https://elsewhere.example", "/\\a.b", "", "/a\nb"):
        assert lab.sign_in(to).headers["location"] == "/", to


def test_below_a_prefix_signing_in_leads_back_to_the_page(
    lab: Lab, connect: Callable[..., Any], disk_store: Store
) -> None:
    """A proxy that keeps the prefix: the link on the page, and the form, name it once."""
    caller = connect(disk_store, database_url=f"sqlite:///{lab.database.file}")
    prefixed = FastAPI()
    prefixed.mount("/brains", caller.app)
    call = type(caller)(prefixed)
    for path in ("/", "/closed/none"):
        page = call.get(f"/brains{path}", headers={"Accept": "text/html"}).text
        assert f'href="/brains/sign-in?to={path}"' in page
    form = {"key": lab.key, "to": PAGE}
    answer = call("POST", "/brains/sign-in", data=form, headers=OWN)
    assert answer.headers["location"] == f"/brains{PAGE}"


def test_answers_to_a_cookie_are_for_its_bearer_alone(lab: Lab) -> None:
    """No shared cache keeps them."""
    url = "/api/datasets/closed/brain/neurons/tiles/xy/0/0/0/0.png"
    answer = lab.call.get(url, headers=lab.cookie())
    assert answer.status_code == 200
    assert "public" not in answer.headers["cache-control"]
    assert "private" in answer.headers["cache-control"]
    assert "Cookie" in answer.headers["vary"]


def test_who_signs_out_is_out(lab: Lab) -> None:
    """The session ends in the database, not in the browser alone."""
    cookie = lab.cookie()
    assert lab.call.get(PAGE, headers=cookie).status_code == 200
    answer = lab.call("POST", "/sign-out", headers={**OWN, **cookie})
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert lab.call.get(PAGE, headers=cookie).status_code == 404


def test_a_session_ends_with_its_key_and_with_its_time(lab: Lab) -> None:
    """A key that is revoked, and twelve hours."""
    first, second = lab.cookie(), lab.cookie()
    with lab.database.write() as connection:
        connection.execute(update(SESSIONS).values(expires=1))
    assert lab.call.get(PAGE, headers=first).status_code == 404
    third = lab.cookie()
    with lab.database.write() as connection:
        records.revoke_key(connection, lab.key.split("_")[1])
    for cookie in (first, second, third, {"Cookie": f"{COOKIE}=nonsense"}):
        assert lab.call.get(PAGE, headers=cookie).status_code == 404
    assert lab.call.get("/", headers=third).status_code == 200


def test_signing_in_is_offered_where_something_is_private(
    lab: Lab, connect: Callable[..., Any], disk_store: Store
) -> None:
    """A service that hides nothing does not ask who one is."""
    assert 'href="/sign-in?to=/"' in lab.call.get("/").text
    with lab.database.write() as connection:
        records.set_visibility(connection, "closed", None)
    url = f"sqlite:///{lab.database.file}"
    assert "/sign-in" not in connect(disk_store, database_url=url).get("/").text


def test_lines_that_open_what_is_private_send_a_key(lab: Lab) -> None:
    """It comes from `MICROTOME_TOKEN`; programs that cannot send one are not offered."""
    page = unescape(lab.call.get(PAGE, headers=lab.cookie()).text)
    assert 'curl --fail -H "Authorization: Bearer $MICROTOME_TOKEN" -o neurons.tif' in page
    assert 'INTERN_TOKEN=os.environ["MICROTOME_TOKEN"]' in page
    assert "microtome token create" in page
    assert "use-zarr" in page
    assert "use-napari" not in page


def test_a_page_that_is_not_found_leads_to_the_sign_in(lab: Lab) -> None:
    """Of what is private and of what is absent alike."""
    for page in (PAGE, "/closed/brain/none"):
        answer = lab.call.get(page, headers={"Accept": "text/html"})
        assert answer.status_code == 404
        assert "shown to those who" in answer.text
