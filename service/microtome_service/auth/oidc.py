"""Users whom an OpenID Connect issuer vouches for, by signed tokens (JWT).

Source: OpenID Connect Discovery 1.0, section 4; RFC 7519 (JWT), RFC 8725 (best practices).
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hmac import compare_digest
from time import monotonic
from typing import Any

import jwt

from microtome_core.errors import InputError, StorageError
from microtome_service.auth.issuer_documents import Discovery, IssuerDocuments
from microtome_service.auth.rules import check_name_of
from microtome_service.errors import Unauthenticated, Unreadable
from microtome_service.principal import Principal, check_free
from microtome_service.settings import Settings

_LOG = logging.getLogger(__name__)
# Signatures with a public key alone: with a shared secret, the public key would be one.
_FAMILIES: Mapping[str, str] = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
_LEEWAY = 30
_KEYS_SECONDS = 600.0
_RETRY_SECONDS = 10.0
_LONGEST_TOKEN = 8192


@dataclass(frozen=True, slots=True)
class _Told:
    discovery: Discovery
    until: float

    @property
    def keys(self) -> Mapping[str | None, jwt.PyJWK]:
        return self.discovery.keys


class Issuer:
    """One issuer: its keys are fetched when a token needs them, and kept for ten minutes.

    Parameters
    ----------
    settings : Settings
        Of which ``oidc_issuer``, ``oidc_audience`` and the names of claims matter.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, "oidc")
        self.documents = IssuerDocuments(settings.oidc_issuer)
        self._set = _Told(Discovery(), 0.0)
        self._next_fetch = 0.0
        self._failure: StorageError | None = None
        self._flight: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def identify(self, token: str) -> Principal:
        """Return whom the issuer vouches for.

        Raises
        ------
        Unauthenticated
            The token is not the issuer's, not for this service, or not valid now.
        Unreadable
            The issuer does not tell its keys.
        """
        return self._principal(await self._claims(token, self._settings.oidc_audience))

    async def identify_by_id_token(self, token: str, nonce: str) -> Principal:
        """Return whom an ID token names that was asked for with `nonce`; raises as `identify`.

        Source: OpenID Connect Core 1.0, section 3.1.3.7.
        """
        client = self._settings.oidc_client_id
        claims = await self._claims(token, client)
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else client) != client:
            raise _refusal("it is for another service")
        said = claims.get("nonce")
        if not (isinstance(said, str) and compare_digest(said.encode(), nonce.encode())):
            raise _refusal("it was not asked for by this browser")
        return self._principal(claims)

    async def discover(self) -> Discovery:
        """Return what the issuer says of itself, at most ten minutes old.

        Raises
        ------
        Unreadable
            It does not answer.
        """
        if monotonic() >= self._set.until:
            await self._fetch_once()
        return self._set.discovery

    async def _claims(self, token: str, audience: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = str(header.get("alg")), header.get("kid")
            if algorithm not in _FAMILIES:
                raise _refusal("its algorithm is not accepted")
            key = _usable(await self._key(kid), algorithm)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=audience,
                issuer=self._settings.oidc_issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise _refusal(_reason(error)) from error
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name = _claim(claims, self._settings.oidc_name_claim)
        if self._settings.oidc_name_claim == "email" and claims.get("email_verified") is not True:
            raise _refusal("its e-mail address is not verified")
        try:
            check_free(check_name_of("user", name if isinstance(name, str) else ""))
        except InputError as error:
            raise _refusal(f"its claim {self._settings.oidc_name_claim} names nobody") from error
        groups = _claim(claims, self._settings.oidc_groups_claim)
        listed = groups.split() if isinstance(groups, str) else groups or []
        words = listed if isinstance(listed, list) else []
        return Principal(str(name), frozenset(w for w in words if isinstance(w, str)), True)

    async def _key(self, kid: object) -> jwt.PyJWK:
        """Return a key, after another look at the issuer's if it is not among those known."""
        if monotonic() >= self._set.until or self._find(kid) is None:
            await self._fetch_once()
        key = self._find(kid)
        if key is None and self._failure is not None:
            raise Unreadable("the issuer of sign-ins does not answer") from self._failure
        if key is None:
            raise _refusal("the issuer has no such key")
        return key

    def _find(self, kid: object) -> jwt.PyJWK | None:
        if kid is None and len(self._set.keys) == 1:
            return next(iter(self._set.keys.values()))
        return self._set.keys.get(kid) if isinstance(kid, str) else None

    async def _fetch_once(self) -> None:
        """Fetch the keys, together with all who need them, and not more often than allowed."""
        if self._flight is None or self._flight.done():
            if monotonic() < self._next_fetch:
                self._check_fresh()
                return
            self._flight = asyncio.create_task(self._fetch())
        await asyncio.shield(self._flight)
        self._check_fresh()

    def _check_fresh(self) -> None:
        if monotonic() >= self._set.until:
            raise Unreadable("the issuer of sign-ins does not answer") from self._failure

    async def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            told = await loop.run_in_executor(self._pool, self.documents.discover)
        except StorageError as error:
            self._failure = error
            _LOG.error("%s", error)
        else:
            self._failure = None
            self._set = _Told(told, monotonic() + _KEYS_SECONDS)
        self._next_fetch = monotonic() + _RETRY_SECONDS


def looks_like_jwt(text: str) -> bool:
    """Tell whether a credential may be a signed token.

    >>> looks_like_jwt("a.b.c"), looks_like_jwt("mt_abc_def")
    (True, False)
    """
    return text.count(".") == 2 and len(text) <= _LONGEST_TOKEN


def _usable(key: jwt.PyJWK, algorithm: str) -> jwt.PyJWK:
    said = key._jwk_data.get("alg")
    if key.key_type != _FAMILIES[algorithm] or said not in (None, algorithm):
        raise _refusal("its algorithm is not that of the key")
    return key


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim, also one within others, as ``realm_access.roles``."""
    if path in claims:
        return claims[path]
    found: object = claims
    for word in path.split("."):
        found = found.get(word) if isinstance(found, dict) else None
    return found


def _reason(error: jwt.PyJWTError) -> str:
    words: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
        (jwt.ExpiredSignatureError, "it has expired"),
        (jwt.ImmatureSignatureError, "it is not valid yet"),
        (jwt.InvalidAudienceError, "it is for another service"),
        (jwt.InvalidIssuerError, "it is of another issuer"),
        (jwt.MissingRequiredClaimError, "a claim is missing"),
        (jwt.InvalidSignatureError, "its signature does not hold"),
    )
    return next((text for kind, text in words if isinstance(error, kind)), "it cannot be read")


def _refusal(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the sign-in does not hold: {reason}", invalid=True)
