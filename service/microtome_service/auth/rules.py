"""Who may do what, as the database said at one time. Plain values: nothing here waits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from microtome_core.errors import InputError
from microtome_core.names import DatasetId
from microtome_service.auth.roles import EVERYWHERE, Role, places_of
from microtome_service.principal import Principal

SubjectKind = Literal["user", "group", "authenticated"]


class Subject(NamedTuple):
    """Whom a grant is for; a group is never taken for a user of the same name."""

    kind: SubjectKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


_LONGEST = 200
SIGNED_IN = Subject("authenticated", "")


@dataclass(frozen=True, slots=True)
class Rules:
    """Visibility and grants.

    Parameters
    ----------
    default_public : bool
        Whether what is not listed may be read by anyone.
    public : mapping of str to bool
        Places that are listed, and whether anyone may read there. A dataset's own entry counts
        before its collection's.
    grants : mapping of Subject to mapping of str to Role
        The role of a subject at a place.
    """

    default_public: bool = True
    public: Mapping[str, bool] = field(default_factory=dict)
    grants: Mapping[Subject, Mapping[str, Role]] = field(default_factory=dict)

    def is_public(self, dataset: DatasetId) -> bool:
        """Tell whether anyone may read a dataset."""
        if not self.public:
            return self.default_public
        _, collection, own = places_of(dataset)
        return self.public.get(own, self.public.get(collection, self.default_public))

    @property
    def hides(self) -> bool:
        """Whether anything may be private."""
        return not (self.default_public and all(self.public.values()))

    def role(self, principal: Principal, dataset: DatasetId) -> Role:
        """Return what was given to a principal in a dataset, beside what is public."""
        if principal.anonymous:
            return Role.NONE
        return self._best(principal, places_of(dataset))

    def role_in_collection(self, principal: Principal, collection: str) -> Role:
        """Return what was given to a principal in all of a collection."""
        return self._best(principal, (EVERYWHERE, collection))

    def highest(self, principal: Principal) -> Role:
        """Return the best role that was given to a principal anywhere."""
        return max(
            (role for roles in self._held(principal) for role in roles.values()), default=Role.NONE
        )

    def places(self, principal: Principal, role: Role) -> frozenset[str]:
        """Return the places on which a principal was given at least `role`."""
        held = self._held(principal)
        return frozenset(p for roles in held for p, given in roles.items() if given >= role)

    def _best(self, principal: Principal, places: Iterable[str]) -> Role:
        held = self._held(principal)
        return max(roles.get(place, Role.NONE) for roles in held for place in places)

    def _held(self, principal: Principal) -> list[Mapping[str, Role]]:
        """Return what was given to a principal, by place."""
        given = (self.grants[s] for s in _subjects(principal) if s in self.grants)
        return [principal.own, *given]


def check_name_of(what: str, name: str) -> str:
    """Return a user's or group's name if it may be kept and logged.

    Raises
    ------
    InputError
        Empty, longer than 200 characters, or with characters that do not print.
    """
    if not (name.strip() and name.isprintable() and len(name) <= _LONGEST):
        raise InputError(f"{what} {name[:80]!r}: expected 1 to {_LONGEST} printable characters")
    return name


def _subjects(principal: Principal) -> list[Subject]:
    if not principal.signed_in:
        return []
    groups = (Subject("group", group) for group in principal.groups)
    return [SIGNED_IN, Subject("user", principal.name), *groups]
