"""Sessions of browsers: whoever has shown a key once, or signed in at the issuer, is known by a
cookie for half a day.

A session is a random token, of which the database keeps the digest. That of a key gives what the
key gives, and ends with it; that of a user keeps the groups that the issuer named. Source of the
attributes: RFC 6265bis, sections 4.1.2 and 8.8.
"""

import json
import secrets
from dataclasses import dataclass
from time import time
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select
from starlette.requests import Request

from microtome_service.auth.keys import digest
from microtome_service.auth.models import SESSIONS

COOKIE = "microtome_session"
SECONDS = 12 * 3600
# Of one key; the oldest make room.
_MOST = 200
_SAFE = ("GET", "HEAD", "OPTIONS")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose a session is: a key's by its id, or else a user's of an issuer."""

    key_id: str = ""
    issuer: str = ""
    user: str = ""
    groups: frozenset[str] = frozenset()


def session_of(request: Request, own: str) -> str | None:
    """Return the token of a request's session, where it counts.

    A request that may change something counts only if a page of this service sent it: other sites
    can make a browser send its cookies, but not tell another origin.

    Parameters
    ----------
    own : str
        Where people reach the service, if settings say so.
    """
    token = request.cookies.get(COOKIE)
    if not token or len(token) > _LONGEST:
        return None
    return token if request.method in _SAFE or same_origin(request, own) else None


def same_origin(request: Request, own: str) -> bool:
    """Tell whether a browser says that a page of this service sent a request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return site is not None
    url = request.url
    known = {f"{url.scheme}://{url.netloc}"}
    if own:
        parts = urlsplit(own)
        known.add(f"{parts.scheme}://{parts.netloc}")
    return origin in known


def create_session(connection: Connection, bearer: Bearer) -> str:
    """Keep a new session, let the oldest beyond 200 of its bearer go, and return its token."""
    now, token = int(time()), secrets.token_urlsafe(32)
    connection.execute(delete(SESSIONS).where(SESSIONS.c.expires <= now))
    own = (SESSIONS.c.key_id == bearer.key_id) & (SESSIONS.c.subject == bearer.user)
    kept = select(SESSIONS.c.digest).where(own).order_by(SESSIONS.c.created.desc())
    newest = connection.execute(kept.limit(_MOST - 1)).scalars().all()
    connection.execute(delete(SESSIONS).where(own, SESSIONS.c.digest.not_in(newest)))
    values = {
        "digest": digest(token), "key_id": bearer.key_id, "issuer": bearer.issuer,
        "subject": bearer.user, "subject_groups": json.dumps(sorted(bearer.groups)),
        "created": now, "expires": now + SECONDS,
    }  # fmt: skip
    connection.execute(insert(SESSIONS).values(**values))
    return token


def end_session(connection: Connection, token: str) -> None:
    """Forget a session."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.digest == digest(token)))


def bearer_of(connection: Connection, token: str) -> Bearer | None:
    """Return whose a session is if it holds, else None."""
    holds = (SESSIONS.c.digest == digest(token), SESSIONS.c.expires > int(time()))
    row = connection.execute(select(SESSIONS).where(*holds)).first()
    return None if row is None else _bearer(row)


def read_sessions(connection: Connection) -> dict[str, Bearer]:
    """Return bearers by the digests of the sessions that hold."""
    holds = select(SESSIONS).where(SESSIONS.c.expires > int(time()))
    return {row.digest: _bearer(row) for row in connection.execute(holds)}


def _bearer(row: Any) -> Bearer:  # noqa: ANN401 - a row of the table
    groups = frozenset(json.loads(row.subject_groups)) if row.subject_groups else frozenset()
    return Bearer(row.key_id, row.issuer, row.subject, groups)
