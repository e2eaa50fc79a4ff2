"""Reading and writing keys, visibility and grants over a connection."""

from dataclasses import replace
from time import time

from sqlalchemy import Connection, delete, insert, select, update

from microtome_core.errors import NotFound
from microtome_service.auth.keys import Key, digest, new_id, new_secret
from microtome_service.auth.models import GRANTS, KEYS, VISIBILITY
from microtome_service.auth.roles import EVERYWHERE, Role
from microtome_service.auth.rules import SIGNED_IN, Rules, Subject, check_name_of


def read_rules(connection: Connection, default_public: bool) -> Rules:
    """Return visibility and grants as they are.

    `default_public`: of what nothing is said, if nothing is said of everything.
    """
    public = {row.place: bool(row.public) for row in connection.execute(select(VISIBILITY))}
    default_public = public.pop(EVERYWHERE, default_public)
    grants: dict[Subject, dict[str, Role]] = {}
    for row in connection.execute(select(GRANTS)):
        subject = Subject(row.kind, row.subject)
        grants.setdefault(subject, {})[row.place] = Role(row.role)
    return Rules(default_public, public, grants)


def read_keys(connection: Connection, *, ended: bool = False) -> dict[str, Key]:
    """Return the keys by id, the oldest first; those that were revoked or expired if `ended`."""
    rows = connection.execute(select(KEYS).order_by(KEYS.c.created, KEYS.c.id))
    keys = (Key(**row._mapping) for row in rows)
    known = (replace(key, role=Role(key.role)) for key in keys)
    now = time()
    return {key.id: key for key in known if ended or key.holds(now)}


def create_key(
    connection: Connection, name: str, role: Role, place: str, seconds: int | None
) -> tuple[Key, str]:
    """Make a key and return it with its whole text, which nobody can tell later."""
    check_name_of("name", name)
    secret, now = new_secret(), int(time())
    expires = None if seconds is None else now + seconds
    key = Key(new_id(), name, digest(secret), role, place, now, expires)
    values = {column.name: getattr(key, column.name) for column in KEYS.columns}
    connection.execute(insert(KEYS).values(**values | {"role": int(role)}))
    return key, f"mt_{key.id}_{secret}"


def revoke_key(connection: Connection, key_id: str) -> None:
    """End a key for good.

    Raises
    ------
    NotFound
        No such key, or one that was revoked before.
    """
    change = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None))
    if connection.execute(change.values(revoked=int(time()))).rowcount == 0:
        raise NotFound(f"no key mt_{key_id[:40]} that could be revoked")


def note_use(connection: Connection, key_id: str, when: int) -> None:
    """Keep when a key was last seen."""
    connection.execute(update(KEYS).where(KEYS.c.id == key_id).values(used=when))


def read_everywhere(connection: Connection) -> bool | None:
    """Return whether everything is said to be public; None where that is not said."""
    said = select(VISIBILITY.c.public).where(VISIBILITY.c.place == EVERYWHERE)
    public = connection.execute(said).scalar_one_or_none()
    return None if public is None else bool(public)


def set_visibility(connection: Connection, place: str, public: bool | None) -> None:
    """Say whether anyone may read at a place; None forgets what was said of it."""
    connection.execute(delete(VISIBILITY).where(VISIBILITY.c.place == place))
    if public is not None:
        connection.execute(insert(VISIBILITY).values(place=place, public=public))


def grant(connection: Connection, place: str, subject: Subject, role: Role) -> None:
    """Give a role at a place, in place of another that the subject may have there."""
    kind, name = subject
    if subject != SIGNED_IN:
        check_name_of(kind, name)
    _forget(connection, place, subject)
    connection.execute(insert(GRANTS).values(place=place, kind=kind, subject=name, role=int(role)))


def revoke(connection: Connection, place: str, subject: Subject) -> None:
    """Take the role at a place away.

    Raises
    ------
    NotFound
        There is none.
    """
    if _forget(connection, place, subject) == 0:
        raise NotFound(f"{subject}: nothing was granted on {place}")


def _forget(connection: Connection, place: str, subject: Subject) -> int:
    kind, name = subject
    where = (GRANTS.c.place == place, GRANTS.c.kind == kind, GRANTS.c.subject == name)
    return connection.execute(delete(GRANTS).where(*where)).rowcount
