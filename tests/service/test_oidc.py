"""Users whom an issuer vouches for: which tokens are taken, and what an issuer's failure does."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from microtome_core.errors import InputError
from microtome_core.store.location import Store
from microtome_service.auth import issuer_documents, oidc, records
from microtome_service.auth.database import Database
from microtome_service.auth.roles import Role
from microtome_service.auth.rules import SIGNED_IN, Subject
from microtome_service.settings import Settings

if TYPE_CHECKING:
    from tests.oidc_issuer import OidcIssuer

AUDIENCE = "microtome-tests"
SECRET = "/api/datasets/demo/secret/neurons"


class Desk:
    """A service of a private dataset that trusts the issuer."""

    def __init__(
        self, issuer: "OidcIssuer", store: Store, file: Path, connect: Callable[..., Any]
    ) -> None:
        self.issuer, self.url = issuer, f"sqlite:///{file}"
        with Database(self.url) as database:
            database.upgrade()
            with database.write() as connection:
                records.set_visibility(connection, "demo", False)
                self.key = records.create_key(connection, "ci", Role.READER, "*", None)[1]
        self.connect = lambda **changes: connect(
            store,
            database_url=self.url,
            **{"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, **changes},
        )
        self.call = self.connect()

    def grant(self, kind: str, name: str) -> None:
        """Let somebody read."""
        subject = SIGNED_IN if kind == SIGNED_IN.kind else Subject(kind, name)  # type: ignore[arg-type]
        with Database(self.url) as database, database.write() as connection:
            records.grant(connection, "demo", subject, Role.READER)

    def get(self, token: str) -> Any:  # noqa: ANN401 - httpx's own
        """GET the private layer."""
        return self.call.get(SECRET, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def desk(
    issuer: "OidcIssuer",
    tmp_path: Path,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> Desk:
    """A desk at which alice may read."""
    store = Store("memory://oidc")
    make_builder(store).layer("demo/secret/neurons", "zyx", np.ones((3, 4, 5), "uint8"))
    made = Desk(issuer, store, tmp_path / "access.sqlite", connect)
    made.grant("user", "alice")
    return made


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "EdDSA"])
def test_a_token_of_the_issuer_says_who_asks(desk: Desk, algorithm: str) -> None:
    """Whichever of the public-key algorithms signs it."""
    desk.issuer.add_key("other", algorithm)
    assert desk.get(desk.issuer.token("other")).status_code == 200
    assert desk.get(desk.issuer.token("other", sub="bob")).status_code == 404


def now(seconds: int) -> int:
    """Return a time from now."""
    return int(time.time()) + seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": -3600},
        {"exp": None},
        {"nbf": 3600},
        {"aud": "another service"},
        {"aud": None},
        {"aud": []},
        {"iss": "https://issuer.example"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "two\nlines"},
        {"sub": 7},
        {"sub": "anonymous"},
        {"sub": "key:ci"},
    ],
    ids=str,
)
def test_a_token_that_does_not_hold_is_401(desk: Desk, changes: dict[str, Any]) -> None:
    """Expired, not valid yet, for another service, of another issuer, or for nobody."""
    moved = {k: now(v) if k in ("exp", "nbf") and v else v for k, v in changes.items()}
    answer = desk.get(desk.issuer.token(**moved))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_clocks_may_differ_by_some_seconds(desk: Desk) -> None:
    """A token that ended, or will begin, ten seconds from now is taken."""
    assert desk.get(desk.issuer.token(exp=now(-10))).status_code == 200
    assert desk.get(desk.issuer.token(nbf=now(10), iat=now(10))).status_code == 200


def test_one_of_several_audiences_is_enough(desk: Desk) -> None:
    """A token may be for other services, too."""
    assert desk.get(desk.issuer.token(aud=["other", AUDIENCE])).status_code == 200


def part(document: object) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_unsigned_tokens_are_refused(desk: Desk, algorithm: str) -> None:
    """The token's own word that it needs no signature counts for nothing."""
    claims = part(desk.issuer.claims())
    for signature in ("", "AAAA"):
        token = f"{part({'alg': algorithm, 'kid': 'first'})}.{claims}.{signature}"
        assert desk.get(token).status_code == 401


def test_the_public_key_is_no_shared_secret(desk: Desk) -> None:
    """A token signed by HMAC with what everyone may see is refused."""
    key, _ = desk.issuer.keys["first"]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(desk.issuer.claims())}"
    signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = signer.sign(head.encode(), public)
    token = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert desk.get(token).status_code == 401


def test_a_key_signs_by_its_own_algorithm_alone(desk: Desk) -> None:
    """An RSA key that is said to be for RS256 is not taken for PS256, nor for ES256."""
    key, _ = desk.issuer.keys["first"]
    token = jwt.encode(desk.issuer.claims(), key, "PS256", headers={"kid": "first"})
    assert desk.get(token).status_code == 401
    desk.issuer.add_key("curve", "ES256")
    curve, _ = desk.issuer.keys["curve"]
    token = jwt.encode(desk.issuer.claims(), curve, "ES256", headers={"kid": "first"})
    assert desk.get(token).status_code == 401


def test_a_changed_token_is_refused(desk: Desk) -> None:
    """Other claims under an old signature, a signature of another key, and pieces of a token."""
    head, _, signature = desk.issuer.token(sub="bob").split(".")
    assert desk.get(f"{head}.{part(desk.issuer.claims())}.{signature}").status_code == 401
    desk.issuer.add_key("second")
    second, _ = desk.issuer.keys["second"]
    forged = jwt.encode(desk.issuer.claims(), second, "RS256", headers={"kid": "first"})
    for token in (forged, f"{head}..{signature}", "..", f"{head}.{head}.", "a.b.c"):
        assert desk.get(token).status_code == 401


def test_a_key_inside_the_token_counts_for_nothing(desk: Desk) -> None:
    """A token that brings its own key, or says where one lies, is refused unfetched."""
    from tests.oidc_issuer import make_key, public

    own = make_key("RS256")
    headers = {"kid": "mine", "jwk": public("mine", own, "RS256"), "jku": f"{desk.issuer.url}/jku"}
    token = jwt.encode(desk.issuer.claims(), own, "RS256", headers=headers)
    assert desk.get(token).status_code == 401
    assert "/jku" not in desk.issuer.asked


def test_a_new_key_is_fetched_and_unknown_ones_do_not_make_the_service_ask_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotated key is found at once; a hundred unknown ones cost one more look in ten seconds."""
    assert desk.get(desk.issuer.token()).status_code == 200
    monkeypatch.setattr(oidc, "_RETRY_SECONDS", 3600.0)
    desk.call.app.state.service.access._issuer._next_fetch = 0.0
    desk.issuer.add_key("second")
    assert desk.get(desk.issuer.token("second")).status_code == 200
    asked = len(desk.issuer.asked)
    stray, _ = desk.issuer.keys["second"]
    for number in range(100):
        token = jwt.encode(desk.issuer.claims(), stray, "RS256", headers={"kid": f"no-{number}"})
        assert desk.get(token).status_code == 401
    assert len(desk.issuer.asked) == asked


def test_a_withdrawn_key_is_forgotten_with_the_next_look(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are believed for a time; then those that the issuer shows no longer do not count."""
    monkeypatch.setattr(oidc, "_KEYS_SECONDS", 0.2)
    monkeypatch.setattr(oidc, "_RETRY_SECONDS", 0.0)
    token = desk.issuer.token()
    assert desk.get(token).status_code == 200
    desk.issuer.keys.clear()
    desk.issuer.add_key("second")
    time.sleep(0.3)
    assert desk.get(token).status_code == 401


@pytest.mark.parametrize("fault", ["status", "silent", "other issuer", "plain address", "list"])
def test_an_issuer_that_fails_is_503_for_its_users_alone(
    desk: Desk, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys go on, and so do tokens once the issuer is well again."""
    monkeypatch.setattr(oidc, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(issuer_documents, "_SECONDS", 0.3)
    desk.call = desk.connect()
    issuer = desk.issuer
    if fault == "status":
        issuer.status = 500
    elif fault == "silent":
        issuer.delay = 1.0
    else:
        wrong = {
            "other issuer": {"issuer": "https://x"},
            "plain address": {"jwks_uri": "http://x/"},
        }
        issuer.said = wrong.get(fault, {"jwks_uri": [1]})
    answer = desk.get(issuer.token())
    assert (answer.status_code, answer.json()["error"]) == (503, "StorageError")
    assert desk.get(desk.key).status_code == 200
    issuer.status, issuer.delay, issuer.said = 200, 0.0, {}
    assert desk.get(issuer.token()).status_code == 200


def test_keys_that_were_fetched_outlast_a_short_failure(desk: Desk) -> None:
    """An issuer that is away for some minutes is not missed."""
    assert desk.get(desk.issuer.token()).status_code == 200
    desk.issuer.status = 500
    assert desk.get(desk.issuer.token()).status_code == 200


@pytest.mark.parametrize(
    ("kind", "name", "claims", "status"),
    [
        ("group", "lab", {"groups": ["x", "lab"]}, 200),
        ("group", "lab", {"groups": "x lab"}, 200),
        ("group", "lab", {"groups": ["laboratory"]}, 404),
        ("group", "lab", {"groups": {"lab": 1}}, 404),
        ("group", "lab", {"groups": [["lab"]]}, 404),
        ("group", "lab", {"sub": "lab"}, 404),
        ("user", "lab", {"groups": ["lab"]}, 404),
        ("authenticated", "", {}, 200),
    ],
)
def test_grants_reach_groups_and_everyone_who_is_signed_in(
    desk: Desk, kind: str, name: str, claims: dict[str, Any], status: int
) -> None:
    """Groups are those of the token, a list or words; users and groups are not mixed up."""
    desk.grant(kind, name)
    assert desk.get(desk.issuer.token(**{"sub": "carol", **claims})).status_code == status


def test_names_and_groups_may_stand_in_other_claims(desk: Desk) -> None:
    """A claim within another is named with dots; an e-mail address must be verified."""
    desk.grant("group", "lab")
    desk.grant("user", "dora@lab.example")
    desk.call = desk.connect(oidc_groups_claim="realm_access.roles", oidc_name_claim="email")
    claims = {"sub": "x", "email": "dora@lab.example"}
    assert desk.get(desk.issuer.token(**claims)).status_code == 401
    assert desk.get(desk.issuer.token(**claims, email_verified=False)).status_code == 401
    assert desk.get(desk.issuer.token(**claims, email_verified=True)).status_code == 200
    other = {"email": "eve@lab.example", "email_verified": True}
    assert desk.get(desk.issuer.token(**other)).status_code == 404
    inside = {"realm_access": {"roles": ["lab"]}}
    assert desk.get(desk.issuer.token(**other, **inside)).status_code == 200


def test_without_an_issuer_signed_tokens_are_401(desk: Desk) -> None:
    """Nobody vouches for anybody, and nothing is fetched."""
    desk.call = desk.connect(oidc_issuer="")
    assert desk.get(desk.issuer.token()).status_code == 401
    assert desk.issuer.asked == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oidc_issuer": "http://issuer.example"}, "https"),
        ({"oidc_issuer": "https://me:word@issuer.example"}, "https"),
        ({"oidc_issuer": "issuer.example"}, "https"),
        ({"oidc_issuer": "https://issuer.example"}, "oidc_audience"),
    ],
)
def test_an_issuer_that_could_be_imitated_is_refused(changes: dict[str, str], words: str) -> None:
    """Keys come over TLS, or from this machine; and tokens must name an audience."""
    with pytest.raises(InputError, match=words):
        Settings(root="/data", **changes)  # type: ignore[arg-type] - texts
