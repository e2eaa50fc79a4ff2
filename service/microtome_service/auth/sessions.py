"""Sessions of browsers: whoever has shown a key once is known by a cookie for half a day.

A session is a random token, of which the database keeps the digest; it gives what its key gives,
and ends with it. Source of the attributes: RFC 6265bis, sections 4.1.2 and 8.8.
"""

import secrets
from time import time
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


def create_session(connection: Connection, key_id: str) -> str:
    """Keep a new session of a key, let the oldest beyond 200 of it go, and return its token."""
    now, token = int(time()), secrets.token_urlsafe(32)
    connection.execute(delete(SESSIONS).where(SESSIONS.c.expires <= now))
    own = select(SESSIONS.c.digest).where(SESSIONS.c.key_id == key_id)
    kept = own.order_by(SESSIONS.c.created.desc()).limit(_MOST - 1)
    old = SESSIONS.c.digest.not_in(connection.execute(kept).scalars().all())
    connection.execute(delete(SESSIONS).where(SESSIONS.c.key_id == key_id, old))
    values = {"digest": digest(token), "key_id": key_id, "created": now, "expires": now + SECONDS}
    connection.execute(insert(SESSIONS).values(**values))
    return token


def end_session(connection: Connection, token: str) -> None:
    """Forget a session."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.digest == digest(token)))


def key_of_session(connection: Connection, token: str) -> str | None:
    """Return the id of the key of a session that holds, else None."""
    holds = (SESSIONS.c.digest == digest(token), SESSIONS.c.expires > int(time()))
    found: str | None = connection.execute(select(SESSIONS.c.key_id).where(*holds)).scalar()
    return found


def read_sessions(connection: Connection) -> dict[str, str]:
    """Return the ids of keys by the digests of the sessions that hold."""
    holds = select(SESSIONS.c.digest, SESSIONS.c.key_id).where(SESSIONS.c.expires > int(time()))
    return {row.digest: row.key_id for row in connection.execute(holds)}
