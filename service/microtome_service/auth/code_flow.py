"""Signing in at an issuer in the browser: the authorization code flow, with PKCE, state and nonce.

What must be remembered until the browser comes back is kept in the browser itself, in a cookie of
ten minutes: of a sign-in that was begun by somebody else, no other browser has it.

Source: OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (the issuer's name);
RFC 9700 (best practices).
"""

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from microtome_core.errors import StorageError
from microtome_service.auth.issuer_documents import Discovery
from microtome_service.auth.oidc import Issuer
from microtome_service.errors import Busy, Unauthenticated, Unreadable
from microtome_service.principal import Principal
from microtome_service.settings import Settings

_LOG = logging.getLogger(__name__)
# Of browsers that come back at one time; each waits for the issuer, five seconds at most.
_MOST = 32
_THREADS = 2
_LONGEST = 4096
_FIELDS = ("state", "nonce", "verifier", "to")


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way, as its browser remembers it.

    Parameters
    ----------
    state, nonce, verifier : str
        What comes back with the code, what stands in the ID token, and what proves that whoever
        has the code also began.
    to : str
        A page of this service.
    """

    state: str
    nonce: str
    verifier: str
    to: str

    @classmethod
    def anew(cls, to: str) -> "Begun":
        """Return one that nobody can guess."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, to)

    def to_cookie(self) -> str:
        """Return it in letters that a cookie may have."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def of_cookie(cls, text: str | None) -> "Begun | None":
        """Read what `to_cookie` wrote; None for anything else."""
        if not text or len(text) > _LONGEST:
            return None
        try:
            told = json.loads(base64.urlsafe_b64decode(text))
            values = [told[name] for name in _FIELDS]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        good = all(isinstance(value, str) and value and value.isascii() for value in values)
        return cls(*values) if good else None


class CodeFlow:
    """Sends browsers to the issuer, and takes them back.

    Parameters
    ----------
    settings : Settings
        Of which ``oidc_client_id``, ``oidc_client_secret`` and ``oidc_scopes`` matter.
    issuer : Issuer
    """

    def __init__(self, settings: Settings, issuer: Issuer) -> None:
        self._settings = settings
        self._issuer = issuer
        self._pool = ThreadPoolExecutor(_THREADS, "sign-in")
        self._waiting = 0

    @property
    def name(self) -> str:
        """What people call the issuer: its host."""
        return urlsplit(self._settings.oidc_issuer).hostname or ""

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def address(self, begun: Begun, back: str) -> str:
        """Return where a browser is sent to sign in.

        Parameters
        ----------
        begun : Begun
        back : str
            Where the issuer sends it then; the issuer must know this address.

        Raises
        ------
        Unreadable
            The issuer does not answer, or signs nobody in by browser.
        """
        endpoint = (await self._discover()).authorization
        challenge = base64.urlsafe_b64encode(sha256(begun.verifier.encode()).digest())
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._settings.oidc_client_id,
                "redirect_uri": back,
                "scope": " ".join(self._settings.oidc_scopes),
                "state": begun.state,
                "nonce": begun.nonce,
                "code_challenge": challenge.rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def finish(self, begun: Begun | None, given: Mapping[str, str], back: str) -> Principal:
        """Return who has signed in.

        Parameters
        ----------
        begun : Begun or None
            As the browser that comes back remembers it.
        given : mapping
            What the issuer wrote into the address: ``code`` and ``state``, or ``error``.
        back : str
            As for `address`.

        Raises
        ------
        Unauthenticated
            It was not begun by this browser, or the issuer refused, or what it sent does not hold.
        Busy, Unreadable
            Too many come back at one time; the issuer does not answer.
        """
        state = given.get("state", "")
        if begun is None or not compare_digest(state.encode(), begun.state.encode()):
            raise Unauthenticated(
                "this sign-in was begun in another browser or tab, or more than ten minutes ago"
            )
        discovery = await self._discover()
        self._check_from(discovery, given)
        if "error" in given:
            raise Unauthenticated(f"{self.name} did not sign you in: {_words(given)}")
        fields = {
            "grant_type": "authorization_code",
            "code": given.get("code", ""),
            "redirect_uri": back,
            "code_verifier": begun.verifier,
        }
        token = self._id_token(await self._exchange(discovery, fields))
        return await self._issuer.identify_by_id_token(token, begun.nonce)

    def _check_from(self, discovery: Discovery, given: Mapping[str, str]) -> None:
        """Refuse what another issuer sent."""
        said = given.get("iss")
        if said is None and not discovery.names_itself:
            return
        if said != self._settings.oidc_issuer:
            raise Unauthenticated("what came back is of another issuer")

    async def _discover(self) -> Discovery:
        told = await self._issuer.discover()
        if not (told.authorization and told.token):
            _LOG.error("issuer %s names no endpoints for browsers", self._settings.oidc_issuer)
            raise Unreadable("the issuer of sign-ins signs nobody in by browser")
        return told

    async def _exchange(self, told: Discovery, fields: Mapping[str, str]) -> dict[str, Any]:
        if self._waiting >= _MOST:
            raise Busy("too many are signing in just now")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._issuer.documents.exchange, told.token, *self._shown(told, fields)
            )
        except StorageError as error:
            _LOG.error("%s", error)
            raise Unreadable("the issuer of sign-ins does not answer") from error
        finally:
            self._waiting -= 1

    def _shown(
        self, told: Discovery, fields: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the form and the headers that say which service asks."""
        client, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        if not secret:
            return {**fields, "client_id": client}, {}
        if "client_secret_basic" in told.methods:
            pair = f"{quote_plus(client)}:{quote_plus(secret)}"
            return dict(fields), {
                "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"
            }
        return {**fields, "client_id": client, "client_secret": secret}, {}

    def _id_token(self, answer: Mapping[str, Any]) -> str:
        token = answer.get("id_token")
        if isinstance(token, str):
            return token
        if answer.get("error") == "invalid_grant":
            raise Unauthenticated("the sign-in was used already, or has expired")
        # The operator's business: a client or a secret that the issuer does not know.
        _LOG.error("issuer %s gave no ID token: %s", self._settings.oidc_issuer, _words(answer))
        raise Unreadable("the issuer of sign-ins does not know this service")


def _words(given: Mapping[str, Any]) -> str:
    """Return in short, and in letters that print, why an issuer refuses."""
    told = " ".join(str(given[k]) for k in ("error_description", "error") if given.get(k))
    return "".join(c for c in told if c.isprintable())[:200] or "no reason was given"
