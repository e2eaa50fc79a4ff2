"""API keys: ``mt_`` and a public id, a stroke, and a secret that is kept as its digest alone.

A secret is 43 letters and digits, 256 bits: nobody guesses it, so SHA-256 is as good at rest as a
slow hash, and takes a microsecond.
"""

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

from microtome_core.errors import InputError
from microtome_service.auth.roles import Role

_LOWER = string.ascii_lowercase + string.digits
_ALL = string.ascii_letters + string.digits
_KEY = re.compile(r"mt_([a-z0-9]{12})_([A-Za-z0-9]{43})")
_UNITS: Mapping[str, int] = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept. Times are seconds since 1970.

    Parameters
    ----------
    id : str
        The public part, without ``mt_``.
    name : str
        Whose it is or what it is for.
    digest : str
        SHA-256 of the secret, in hexadecimal.
    role : Role
    place : str
        Where the role holds: ``*``, a collection or a dataset.
    created : int
    expires, revoked, used : int, optional
        When it ends, was ended, and was last seen, to some minutes.
    """

    id: str
    name: str
    digest: str = field(repr=False)
    role: Role
    place: str
    created: int
    expires: int | None = None
    revoked: int | None = None
    used: int | None = None

    def holds(self, now: float) -> bool:
        """Tell whether it may still be used."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def fits(self, secret: str) -> bool:
        """Tell whether `secret` is its own, in a time that tells nothing."""
        return compare_digest(self.digest, digest(secret))


def new_id() -> str:
    """Return a public id."""
    return "".join(secrets.choice(_LOWER) for _ in range(12))


def new_secret() -> str:
    """Return a secret."""
    return "".join(secrets.choice(_ALL) for _ in range(43))


def digest(secret: str) -> str:
    """Return what is kept of a secret."""
    return sha256(secret.encode()).hexdigest()


def split(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of what looks like a key, else None."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


def parse_duration(text: str) -> int:
    """Return the seconds of ``30d``, ``12h`` and the like.

    >>> parse_duration("30d")
    2592000

    Raises
    ------
    InputError
        Not a number from 1 on and one of m, h, d, w, y.
    """
    match = re.fullmatch(r"([0-9]{1,5})([mhdwy])", text.strip())
    if match is None or int(match[1]) == 0:
        raise InputError(f"{text[:40]!r}: expected for example 12h, 30d, 8w or 1y")
    return int(match[1]) * _UNITS[match[2]]
