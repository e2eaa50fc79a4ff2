"""Who sent a request, and the rules that hold for them."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import TypeVar

from sqlalchemy import Connection

from microtome_core.errors import StorageError
from microtome_service.auth import records
from microtome_service.auth.code_flow import CodeFlow
from microtome_service.auth.current import Current, Seen
from microtome_service.auth.database import Database, default_url
from microtome_service.auth.keys import Key, digest, split
from microtome_service.auth.oidc import Issuer, looks_like_jwt
from microtome_service.auth.rules import Rules
from microtome_service.auth.sessions import (
    Bearer,
    bearer_of,
    create_session,
    end_session,
    read_sessions,
)
from microtome_service.errors import Unauthenticated, Unreadable
from microtome_service.principal import ANONYMOUS, KEY_PREFIX, Principal
from microtome_service.settings import Settings

_LOG = logging.getLogger(__name__)
_SCHEMES = ("bearer", "token")
# What intern sends unless told otherwise.
_NOBODY = "public"
# A key that is revoked must end within seconds, however long the store's own state is believed.
_LONGEST_BELIEF = 2.0
_PATIENCE = 600.0
_USE_NOTED = 600
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What the database said at one time."""

    rules: Rules
    keys: dict[str, Key] = field(default_factory=dict)
    sessions: dict[str, Bearer] = field(default_factory=dict)


class Access:
    """Tells who asks.

    Parameters
    ----------
    settings : Settings
    root : str
        URL of the store, beside whose folder the database lies unless settings name one.
    """

    def __init__(self, settings: Settings, root: str) -> None:
        url = settings.database_url or default_url(root)
        self.database = Database(url) if url else None
        self._needed = bool(settings.database_url)
        self._rules = Rules(settings.default_visibility == "public")
        self._pool = ThreadPoolExecutor(2, "access")
        seconds = min(settings.recheck_seconds, _LONGEST_BELIEF)
        self._known = Current(self._load, self._pool, seconds, _PATIENCE)
        self._issuer_url = settings.oidc_issuer
        self._issuer = Issuer(settings) if settings.oidc_issuer else None
        self.code_flow = None
        if self._issuer is not None and self.database is not None and settings.oidc_client_id:
            self.code_flow = CodeFlow(settings, self._issuer)
        self._noted: dict[str, int] = {}

    def close(self) -> None:
        """Let threads and connections go; what a thread does with the database is waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self.code_flow is not None:
            self.code_flow.close()
        if self._issuer is not None:
            self._issuer.close()
        if self.database is not None:
            self.database.close()

    def check(self) -> None:
        """Return if the service may start; blocks.

        A database in a file is brought up to this version, one on a server is not.

        Raises
        ------
        StorageError
            The database cannot be used, or is named and not there.
        """
        if self.database is None:
            return
        if self.database.exists() and self.database.file is not None and _writable(self.database):
            self.database.upgrade()
        if self.database.exists() or self._needed:
            self.database.check()

    async def identify(
        self, credentials: Sequence[str], session: str | None = None
    ) -> tuple[Principal, Rules]:
        """Return who asks, and the rules.

        Parameters
        ----------
        credentials : sequence of str
            Every header ``Authorization`` of the request.
        session : str, optional
            Of its cookie, which counts where there is no such header; one that has ended is
            nobody's.

        Raises
        ------
        Unauthenticated
            Credentials that do not hold.
        Unreadable
            Neither can be told: the database or the issuer does not answer.
        """
        try:
            known = await self._known.get(wait=bool(credentials or session))
        except StorageError as error:
            raise Unreadable("the database of keys and grants cannot be read") from error
        if not credentials:
            return await self._visitor(session, known), known.value.rules
        return await self._bearer(credentials, known), known.value.rules

    async def _bearer(self, credentials: Sequence[str], known: Seen[Known]) -> Principal:
        secret = _secret(credentials)
        if secret == _NOBODY:
            return ANONYMOUS
        if known.outdated:
            raise Unreadable("the database of keys and grants cannot be read")
        parts = split(secret)
        if parts is not None:
            return self._key_bearer(*parts, known.value.keys)
        if self._issuer is not None and looks_like_jwt(secret):
            return await self._issuer.identify(secret)
        raise Unauthenticated("the credentials are not known here", invalid=True)

    async def rules(self) -> Rules:
        """Return the rules; raises Unreadable."""
        return (await self.identify([]))[1]

    async def sign_in(self, secret: str) -> str:
        """Return the token of a new session for whoever shows a key.

        Raises
        ------
        Unauthenticated
            The key does not hold.
        Unreadable
            The database does not answer.
        """
        principal, _ = await self.identify([f"Bearer {secret}"])
        parts = split(secret)
        if parts is None or principal.anonymous:
            raise Unauthenticated("expected an API key, which begins with mt_", invalid=True)
        return await self._run(lambda connection: create_session(connection, Bearer(parts[0])))

    async def sign_in_user(self, user: Principal) -> str:
        """Return the token of a new session for whom the issuer vouches; raises Unreadable."""
        bearer = Bearer("", self._issuer_url, user.name, user.groups)
        token = await self._run(lambda connection: create_session(connection, bearer), _making)
        # The database may be a new one, of which nothing is known.
        self._known.forget()
        return token

    async def sign_out(self, token: str) -> None:
        """End a session; raises Unreadable."""
        await self._run(lambda connection: end_session(connection, token))
        self._known.forget()

    async def _run(
        self,
        work: Callable[[Connection], T],
        connect: Callable[[Database], AbstractContextManager[Connection]] = Database.write,
    ) -> T:
        def run() -> T:
            with connect(self._open()) as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except StorageError as error:
            raise Unreadable("the database of keys and grants cannot be used") from error

    async def _visitor(self, session: str | None, known: Seen[Known]) -> Principal:
        if session is None or self.database is None or not self._needed:
            return ANONYMOUS
        if known.outdated:
            raise Unreadable("the database of keys and grants cannot be read")
        bearer = known.value.sessions.get(digest(session))
        if bearer is None:
            # It may have begun after the last look.
            bearer = await self._run(lambda c: bearer_of(c, session), Database.read)
        if bearer is not None and bearer.user and bearer.issuer == self._issuer_url:
            return Principal(bearer.user, bearer.groups, signed_in=True)
        key = known.value.keys.get(bearer.key_id) if bearer is not None else None
        if key is None or not key.holds(time()):
            return ANONYMOUS
        return Principal(f"{KEY_PREFIX}{key.name}", own={key.place: key.role})

    def _key_bearer(self, key_id: str, secret: str, keys: dict[str, Key]) -> Principal:
        now = time()
        key = keys.get(key_id)
        if key is None or not key.fits(secret) or not key.holds(now):
            raise Unauthenticated("the key is unknown, expired or revoked", invalid=True)
        self._note_use(key, int(now))
        return Principal(f"{KEY_PREFIX}{key.name}", own={key.place: key.role})

    def _note_use(self, key: Key, now: int) -> None:
        """Keep when a key was last seen, to some minutes, without making anyone wait."""
        if now - max(key.used or 0, self._noted.get(key.id, 0)) >= _USE_NOTED:
            self._noted[key.id] = now
            self._pool.submit(self._write_use, key.id, now)

    def _write_use(self, key_id: str, now: int) -> None:
        try:
            with self._open().write() as connection:
                records.note_use(connection, key_id, now)
        except StorageError as error:
            _LOG.warning("when key mt_%s was used could not be kept: %s", key_id, error)

    def _load(self) -> Known:
        if self.database is None:
            return Known(self._rules)
        # One that was there once and is not any more is no licence to read everything.
        if not (self._needed or self.database.exists()):
            return Known(self._rules)
        self._needed = True
        with self.database.read() as connection:
            rules = records.read_rules(connection, self._rules.default_public)
            return Known(rules, records.read_keys(connection), read_sessions(connection))

    def _open(self) -> Database:
        if self.database is None:
            raise StorageError("there is no database")
        return self.database


def _secret(credentials: Sequence[str]) -> str:
    if len(credentials) > 1:
        raise Unauthenticated("Authorization is given more than once", invalid=True)
    scheme, _, secret = credentials[0].strip().partition(" ")
    if scheme.lower() not in _SCHEMES or not secret.strip():
        raise Unauthenticated("expected Authorization: Bearer … or Token …", invalid=True)
    return secret.strip()


@contextmanager
def _making(database: Database) -> Iterator[Connection]:
    """Yield what `Database.write` does, of a database that is made where there never was one."""
    database.make()
    with database.write() as connection:
        yield connection


def _writable(database: Database) -> bool:
    return database.file is not None and os.access(Path(database.file), os.W_OK)
