"""Browsers sign in at an issuer: what the cookie opens then, and everything that must not hold."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fastapi import FastAPI

from microtome_core.errors import InputError
from microtome_core.store.location import Store
from microtome_service.app import create_app
from microtome_service.auth import records
from microtome_service.auth.code_flow import Begun
from microtome_service.auth.database import Database
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import Subject
from microtome_service.auth.sessions import COOKIE
from microtome_service.settings import Settings
from tests.oidc_issuer import CLIENT, OidcIssuer, issuing
from tests.service.conftest import AppCaller

PAGE = "/closed/brain/neurons"
OWN = {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}


class Lab:
    """A service whose private dataset a group of the issuer may read."""

    def __init__(self, issuer: OidcIssuer, store: Store, folder: Path) -> None:
        self.issuer, self.store = issuer, store
        self.url = f"sqlite:///{folder / 'access.sqlite'}"
        self.made: list[FastAPI] = []
        with Database(self.url) as database:
            database.upgrade()
            with database.write() as connection:
                records.set_visibility(connection, "closed", False)
        self.usual = self.call = self.connect()

    def connect(self, **changes: Any) -> Any:  # noqa: ANN401 - a caller of the app
        """Return a caller of the service, whose settings are changed."""
        told = {
            "database_url": self.url, "oidc_issuer": self.issuer.url, "oidc_audience": "api",
            "oidc_client_id": CLIENT, "recheck_seconds": 0.0, **changes,
        }  # fmt: skip
        self.made.append(create_app(Settings(root=self.store.url, **told), self.store))
        return AppCaller(self.made[-1])

    def begin(self, to: str = PAGE) -> Any:  # noqa: ANN401 - httpx's
        """Ask to be sent to the issuer."""
        return self.call.get("/sign-in/start", params={"to": to})

    def back(self, begun: Any, **changes: str | None) -> Any:  # noqa: ANN401 - httpx's
        """Come back from the issuer, with words of the address changed; None leaves one out."""
        address = urlsplit(self.issuer.approve(begun.headers["location"]))
        words = {k: v[0] for k, v in parse_qs(address.query).items()}
        words |= {k: v for k, v in changes.items() if v is not None}
        kept = {k: v for k, v in words.items() if k not in changes or changes[k] is not None}
        return self.call.get(address.path, params=kept, headers=cookie(begun))


def cookie(answer: Any) -> dict[str, str]:  # noqa: ANN401 - httpx's
    """Return what a browser sends after an answer that set cookies."""
    told = [each.partition(";")[0] for each in answer.headers.get_list("set-cookie")]
    return {"Cookie": "; ".join(told)}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, make_builder: Callable[..., Any]
) -> Iterator[Lab]:
    """The service, and the issuer it trusts."""
    folder = tmp_path_factory.mktemp("code")
    store = Store(str(folder / "root"))
    make_builder(store).layer("closed/brain/neurons", "yx", np.ones((8, 8), "uint8"))
    with issuing() as issuer:
        lab = Lab(issuer, store, folder)
        yield lab
        for app in lab.made:
            app.state.service.close()


@pytest.fixture
def lab(service: Lab) -> Lab:
    """The same, as it was at first."""
    issuer = service.issuer
    issuer.status, issuer.secret, issuer.said, issuer.signs = 200, "", {}, {}
    issuer.asked.clear()
    service.call = service.usual
    with Database(service.url) as database, database.write() as connection:
        records.grant(connection, "closed", Subject("group", "lab"), Role.READER)
    return service


def test_who_signs_in_at_the_issuer_sees_what_their_groups_may(lab: Lab) -> None:
    """The page leads there and back; the session's cookie is as that of a key, and ends alike."""
    assert lab.call.get(PAGE).status_code == 404
    page = lab.call.get("/sign-in", params={"to": PAGE}).text
    assert f'href="/sign-in/start?to={PAGE}"' in page
    assert "Sign in at 127.0.0.1" in page
    answer = lab.back(lab.begin())
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    session, begun = sorted(answer.headers.get_list("set-cookie"), key=lambda c: COOKIE not in c)
    assert session.startswith(f"{COOKIE}=")
    for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"):
        assert word in session
    assert "Max-Age=0" in begun
    signed_in = {"Cookie": session.partition(";")[0]}
    shown = lab.call.get(PAGE, headers=signed_in)
    assert shown.status_code == 200
    assert "Sign out alice" in shown.text
    assert lab.call("POST", "/sign-out", headers={**OWN, **signed_in}).status_code == 303
    assert lab.call.get(PAGE, headers=signed_in).status_code == 404


def test_a_grant_that_is_taken_back_ends_what_a_session_opens(lab: Lab) -> None:
    """What somebody may is asked anew for each request; groups alone are those of the sign-in."""
    signed_in = cookie(lab.back(lab.begin()))
    assert lab.call.get(PAGE, headers=signed_in).status_code == 200
    with Database(lab.url) as database, database.write() as connection:
        records.revoke(connection, "closed", Subject("group", "lab"))
    assert lab.call.get(PAGE, headers=signed_in).status_code == 404


def test_nothing_of_a_sign_in_can_be_guessed_or_used_twice(lab: Lab) -> None:
    """State, nonce and challenge are new each time; a code that was used is told as such."""
    asked = [parse_qs(urlsplit(lab.begin().headers["location"]).query) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        first, second = (each[name][0] for each in asked)
        assert len(first) >= 43
        assert first != second
    assert asked[0]["redirect_uri"] == ["http://test/sign-in/back"]
    begun = lab.begin()
    assert lab.back(begun).status_code == 303
    answer = lab.back(begun, code="used")
    assert answer.status_code == 401
    assert "used already, or has expired" in answer.text


@pytest.mark.parametrize("cookies", ["none", "another's", "nonsense", "no state"])
def test_only_the_browser_that_began_can_end_it(lab: Lab, cookies: str) -> None:
    """Nobody is signed in as somebody else by a link."""
    begun, other = lab.begin(), lab.begin()
    back = urlsplit(lab.issuer.approve(begun.headers["location"]))
    headers = {
        "none": {},
        "another's": cookie(other),
        "nonsense": {"Cookie": "microtome_sign_in=e30="},
        "no state": {"Cookie": f"microtome_sign_in={Begun('', '', '', '/').to_cookie()}"},
    }[cookies]
    words = "" if cookies == "no state" else back.query
    answer = lab.call.get(f"{back.path}?{words}", headers=headers)
    assert answer.status_code == 401
    assert "begun in another browser or tab" in answer.text
    assert COOKIE + "=" not in str(answer.headers.get_list("set-cookie"))
    assert "/token" not in lab.issuer.asked


@pytest.mark.parametrize(
    ("signs", "words"),
    [
        ({"nonce": "other"}, "not asked for by this browser"),
        ({"nonce": None}, "not asked for by this browser"),
        ({"aud": "another"}, "for another service"),
        ({"aud": [CLIENT, "another"]}, "for another service"),
        ({"azp": "another"}, "for another service"),
        ({"iss": "https://issuer.example"}, "of another issuer"),
        ({"exp": 1}, "has expired"),
        ({"sub": None}, "names nobody"),
        ({"sub": "key:ci"}, "names nobody"),
    ],
    ids=str,
)
def test_an_id_token_that_does_not_hold_signs_nobody_in(
    lab: Lab, signs: dict[str, Any], words: str
) -> None:
    """The page of signing in says why."""
    lab.issuer.signs = signs
    answer = lab.back(lab.begin())
    assert answer.status_code == 401
    assert words in answer.text
    assert COOKIE + "=" not in str(answer.headers.get_list("set-cookie"))


def test_an_id_token_of_several_services_names_this_one(lab: Lab) -> None:
    """By `azp`, as OpenID Connect has it."""
    lab.issuer.signs = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert lab.back(lab.begin()).status_code == 303


def test_what_the_issuer_refuses_is_told_as_words(lab: Lab) -> None:
    """And never as markup."""
    answer = lab.back(
        lab.begin(), code=None, error="access_denied", error_description="<script>no</script>"
    )
    assert answer.status_code == 401
    assert "did not sign you in: &lt;script&gt;no&lt;/script&gt; access_denied" in answer.text


def test_an_answer_of_another_issuer_is_refused(lab: Lab) -> None:
    """Where the issuer names itself in its answers, it must be this one (RFC 9207)."""
    assert lab.back(lab.begin(), iss="https://issuer.example").status_code == 401
    assert lab.back(lab.begin(), iss=lab.issuer.url).status_code == 303
    lab.issuer.said = {"authorization_response_iss_parameter_supported": True}
    lab.call = lab.connect()
    assert lab.back(lab.begin()).status_code == 401


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_service_with_a_secret_shows_it_as_the_issuer_wants(lab: Lab, method: str) -> None:
    """In a header or in the form; the browser never sees it."""
    lab.issuer.secret = "s:ä &x"
    lab.issuer.said = {"token_endpoint_auth_methods_supported": [method]}
    lab.call = lab.connect(oidc_client_secret="s:ä &x")
    begun = lab.begin()
    assert "s%3A" not in begun.headers["location"]
    assert lab.back(begun).status_code == 303
    lab.call = lab.connect(oidc_client_secret="wrong")
    answer = lab.back(lab.begin())
    assert answer.status_code == 503
    assert "does not know this service" in answer.text


def test_an_issuer_that_fails_is_told_on_the_page(lab: Lab) -> None:
    """503, and no cookie; keys go on."""
    begun = lab.begin()
    lab.issuer.status = 500
    answer = lab.back(begun)
    assert answer.status_code == 503
    assert "issuer of sign-ins does not answer" in answer.text
    lab.call = lab.connect()
    assert lab.begin().status_code == 503
    assert lab.call.get("/sign-in").status_code == 200


def test_an_issuer_that_signs_nobody_in_by_browser_is_told_as_such(lab: Lab) -> None:
    """Its description may name no such address, or one that anyone could listen in to."""
    lab.issuer.said = {"authorization_endpoint": None}
    lab.call = lab.connect()
    assert lab.begin().status_code == 503
    lab.issuer.said = {"authorization_endpoint": "http://issuer.example/authorize"}
    lab.call = lab.connect()
    assert lab.begin().status_code == 503


def test_signing_in_at_the_issuer_leads_nowhere_else(lab: Lab) -> None:
    """An address of another site becomes the catalog, before and after."""
    for to in ("//elsewhere.example", "https://elsewhere.example", "/\\a.b", ""):
        begun = lab.begin(to)
        assert lab.back(begun).headers["location"] == "/", to
    forged = Begun("a", "b", "c", "//elsewhere.example").to_cookie()
    page = lab.call.get(
        "/sign-in/back?state=a&error=x", headers={"Cookie": f"microtome_sign_in={forged}"}
    )
    assert "elsewhere" not in page.text


def test_a_session_is_of_its_issuer(lab: Lab) -> None:
    """Another issuer may call another person alice."""
    signed_in = cookie(lab.back(lab.begin()))
    lab.call = lab.connect(oidc_issuer="https://issuer.example")
    assert lab.call.get(PAGE, headers=signed_in).status_code == 404


def test_the_first_sign_in_makes_the_database(lab: Lab) -> None:
    """Of a service in which everything is private, and that has made no key yet."""
    lab.call = lab.connect(database_url="", default_visibility="private")
    answer = lab.back(lab.begin("/"))
    assert answer.status_code == 303
    assert "Sign out alice" in lab.call.get("/", headers=cookie(answer)).text


def test_without_a_client_nobody_is_sent_to_the_issuer(lab: Lab) -> None:
    """The form for keys is all there is."""
    call = lab.connect(oidc_client_id="")
    for path in ("/sign-in/start", "/sign-in/back"):
        assert call.get(path).status_code == 404
    assert "/sign-in/start" not in call.get("/sign-in").text


def test_settings_that_cannot_sign_anybody_in_are_refused() -> None:
    """A client needs an issuer, and `openid` among the scopes."""
    with pytest.raises(InputError, match="oidc_issuer is empty"):
        Settings(root="/d", oidc_client_id="me")
    with pytest.raises(InputError, match="expected openid"):
        Settings(
            root="/d", oidc_issuer="https://x.example", oidc_audience="me", oidc_client_id="me",
            oidc_scopes=("email",),
        )  # fmt: skip
    told = Settings(root="/d", oidc_issuer="https://x.example", oidc_audience="me",
                    oidc_client_id="me", oidc_client_secret="hidden")  # fmt: skip
    assert "hidden" not in repr(told)
