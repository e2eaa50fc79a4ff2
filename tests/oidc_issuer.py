"""A small OpenID Connect issuer on a real socket: it shows its keys, signs, and signs people in."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "microtome-tests"
CLIENT = "microtome-pages"
_WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass
class OidcIssuer:
    """An issuer, whose keys can be changed and which can be made to fail.

    Parameters
    ----------
    url : str
    keys : dict
        Private keys with their algorithm, by key id; those shown to others.
    said : dict
        What its description says otherwise than it should.
    status : int
        Of every answer.
    delay : float
        Seconds before every answer.
    asked : list of str
        The paths that were asked for.
    secret : str
        Of its one client; a public client has none.
    signs : dict
        What the ID token says otherwise than it should; None omits a claim.
    codes : dict
        What was asked for, by the codes that were given out and not used.
    """

    url: str
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)
    secret: str = ""
    signs: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_key(self, kid: str, algorithm: str = "RS256") -> None:
        """Make a key and show it."""
        self.keys[kid] = (make_key(algorithm), algorithm)

    def token(self, kid: str = "first", /, **changes: Any) -> str:  # noqa: ANN401 - any claim
        """Return a signed token of an hour for alice, changed as given; None omits a claim."""
        key, algorithm = self.keys[kid]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid})

    def claims(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any claim
        """Return what a token says."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": now + 3600, "iat": now}
        return {name: v for name, v in (claims | changes).items() if v is not None}

    def document(self, path: str) -> Any:  # noqa: ANN401 - a JSON value
        """Return what lies at a path."""
        if path == _WELL_KNOWN:
            told = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            told |= {"authorization_endpoint": f"{self.url}/authorize"}
            return told | {"token_endpoint": f"{self.url}/token"} | self.said
        return {"keys": [public(kid, *key) for kid, key in self.keys.items()]}

    def approve(self, address: str) -> str:
        """Return where a browser is sent that came to `address` and let alice be signed in."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        words = urlencode({"code": code, "state": asked["state"], "session_state": "x.y"})
        return f"{asked['redirect_uri']}?{words}"

    def exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return status and answer of the token endpoint: each code is good once."""
        if not self._knows(form, authorization):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), {})
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        kept = (asked.get("code_challenge"), asked.get("redirect_uri"))
        if form.get("grant_type") != "authorization_code" or kept != (
            challenge,
            form.get("redirect_uri"),
        ):
            return 400, {"error": "invalid_grant", "error_description": "no such code"}
        claims = {"aud": CLIENT, "nonce": asked["nonce"], "groups": ["lab"], **self.signs}
        return 200, {"token_type": "Bearer", "id_token": self.token(**claims)}

    def _knows(self, form: dict[str, str], authorization: str) -> bool:
        if not self.secret:
            return form.get("client_id") == CLIENT and not authorization
        if self.said.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        return [unquote_plus(word) for word in pair.split(":")] == [CLIENT, self.secret]


def make_key(algorithm: str) -> Any:  # noqa: ANN401 - one of three kinds
    """Return a new private key."""
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def public(kid: str, key: Any, algorithm: str) -> dict[str, Any]:  # noqa: ANN401 - one of three kinds
    """Return the public part of a key as JSON Web Key."""
    kinds = {"E": OKPAlgorithm if algorithm == "EdDSA" else ECAlgorithm}
    shown = kinds.get(algorithm[0], RSAAlgorithm).to_jwk(key.public_key(), as_dict=True)
    return {**shown, "kid": kid, "use": "sig", "alg": algorithm}


@contextmanager
def issuing() -> Iterator[OidcIssuer]:
    """Run an issuer with one RSA key, named ``first``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    issuer = OidcIssuer(f"http://127.0.0.1:{server.server_port}")
    issuer.add_key("first")
    server.issuer = issuer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer: OidcIssuer = self.server.issuer  # type: ignore[attr-defined]
        issuer.asked.append(self.path)
        time.sleep(issuer.delay)
        if self.path.startswith("/authorize?"):
            back = escape(issuer.approve(self.path))
            self._answer(issuer.status, f"<title>x</title><a href='{back}'>Continue</a>".encode())
            return
        self._answer(issuer.status, json.dumps(issuer.document(self.path)).encode())

    def do_POST(self) -> None:
        issuer: OidcIssuer = self.server.issuer  # type: ignore[attr-defined]
        issuer.asked.append(self.path)
        time.sleep(issuer.delay)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        sent = self.headers.get("Authorization", "")
        status, told = issuer.exchange(dict(parse_qsl(body)), sent)
        self._answer(status if issuer.status == 200 else issuer.status, json.dumps(told).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        kind = "application/json" if body[:1] == b"{" else "text/html"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
