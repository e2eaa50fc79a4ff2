"""Who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from microtome_core.errors import InputError
from microtome_service.auth.roles import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks.

    Parameters
    ----------
    name : str
        As logs and audits call them; ``anonymous`` for those who show no credentials, ``key:NAME``
        for those with an API key, else what the issuer calls them.
    groups : frozenset of str
        As the issuer says.
    signed_in : bool
        Vouched for by the issuer: grants to their name, to their groups and to all who are signed
        in count.
    own : mapping of str to Role
        What an API key gives, by place; nothing else counts for its bearer.
    """

    name: str
    groups: frozenset[str] = frozenset()
    signed_in: bool = False
    own: Mapping[str, Role] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        """No credentials were shown."""
        return not self.signed_in and not self.own


ANONYMOUS = Principal("anonymous")
KEY_PREFIX = "key:"


def check_free(name: str) -> str:
    """Return a user's name if no log would take it for nobody's or a key's.

    Raises
    ------
    InputError
        It is one of the service's own.
    """
    if name == ANONYMOUS.name or name.startswith(KEY_PREFIX):
        raise InputError(f"user {name[:80]!r}: the name is the service's own")
    return name
