"""What an OpenID Connect issuer is asked over HTTP: its description, its keys, and for tokens.

Source: OpenID Connect Discovery 1.0, section 4; RFC 6749 (OAuth 2.0), sections 4.1.3 and 2.3.1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import urllib3

from microtome_core.errors import InputError, StorageError
from microtome_service.auth.addresses import check_issuer_url

_SECONDS = 5.0
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Discovery:
    """What an issuer says of itself.

    Parameters
    ----------
    keys : mapping of str or None to PyJWK
        With which it signs, by their ids.
    authorization, token : str
        Where browsers are sent to sign in, and where codes become tokens; empty if it does not
        say so.
    methods : tuple of str
        How services may show who they are where codes become tokens.
    names_itself : bool
        Whether it sends its name back with a code (RFC 9207).
    """

    keys: Mapping[str | None, jwt.PyJWK] = field(default_factory=dict)
    authorization: str = ""
    token: str = ""
    methods: tuple[str, ...] = ("client_secret_basic",)
    names_itself: bool = False


class IssuerDocuments:
    """Asks one issuer; what it does blocks.

    Parameters
    ----------
    issuer : str
    """

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(_SECONDS), retries=False, maxsize=2
        )

    def discover(self) -> Discovery:
        """Return what the issuer says of itself, and its keys.

        Raises
        ------
        StorageError
            It does not answer, or its description names another issuer or an address without TLS.
        """
        told = self._json("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != self._issuer:
            raise StorageError(f"issuer {self._issuer}: its own description names another")
        methods = told.get("token_endpoint_auth_methods_supported")
        try:
            keys = jwt.PyJWKSet.from_dict(self._json("GET", _address(told, "jwks_uri"))).keys
            return Discovery(
                {key.key_id: key for key in keys if key.public_key_use in (None, "sig")},
                _address(told, "authorization_endpoint", optional=True),
                _address(told, "token_endpoint", optional=True),
                tuple(map(str, methods)) if isinstance(methods, list) else Discovery().methods,
                told.get("authorization_response_iss_parameter_supported") is True,
            )
        except (InputError, jwt.PyJWTError) as error:
            raise StorageError(f"issuer {self._issuer}: {error}") from error

    def exchange(
        self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return what the token endpoint answers to a form; a refusal (400, 401) is told, too.

        Raises
        ------
        StorageError
            It does not answer, or not in JSON.
        """
        return self._json("POST", url, (200, 400, 401), fields=fields, headers=headers)

    def _json(
        self,
        method: str,
        url: str,
        statuses: tuple[int, ...] = (200,),
        **sent: Mapping[str, str],
    ) -> dict[str, Any]:
        words: dict[str, Any] = {**sent, "encode_multipart": False} if sent else {}
        try:
            answer = self._http.request(method, url, redirect=False, preload_content=False, **words)
            try:
                body = answer.read(_LARGEST + 1)
            finally:
                answer.close()
            if answer.status not in statuses or len(body) > _LARGEST:
                raise StorageError(f"{url}: status {answer.status}, {len(body)} bytes")
            document = json.loads(body)
        except (urllib3.exceptions.HTTPError, ValueError, RecursionError) as error:
            raise StorageError(f"{url}: {error}") from error
        if not isinstance(document, dict):
            raise StorageError(f"{url}: not a JSON object")
        return document


def _address(told: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    address = told.get(name)
    if optional and address is None:
        return ""
    return check_issuer_url(name, address if isinstance(address, str) else "")
