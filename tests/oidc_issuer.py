"""A small OpenID Connect issuer on a real socket: it shows its keys and signs."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "microtome-tests"
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
    """

    url: str
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)

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
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.said
        return {"keys": [public(kid, *key) for kid, key in self.keys.items()]}


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
        body = json.dumps(issuer.document(self.path)).encode()
        self.send_response(issuer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
