"""Who may do what, as the database said at one time. Plain values: nothing here waits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from microtome_core.names import DatasetId
from microtome_service.auth.roles import EVERYWHERE, Role, places_of
from microtome_service.principal import Principal

SubjectKind = Literal["user", "group", "signed-in"]


class Subject(NamedTuple):
    """Whom a grant is for; a group is never taken for a user of the same name."""

    kind: SubjectKind
    name: str


SIGNED_IN = Subject("signed-in", "")


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

    def role(self, principal: Principal, dataset: DatasetId) -> Role:
        """Return what was given to a principal in a dataset, beside what is public."""
        if principal.anonymous:
            return Role.NONE
        return self._best(principal, places_of(dataset))

    def role_in_collection(self, principal: Principal, collection: str) -> Role:
        """Return what was given to a principal in all of a collection."""
        return self._best(principal, (EVERYWHERE, collection))

    def _best(self, principal: Principal, places: Iterable[str]) -> Role:
        held = [principal.own, *(self.grants[s] for s in _subjects(principal) if s in self.grants)]
        return max(roles.get(place, Role.NONE) for roles in held for place in places)


def _subjects(principal: Principal) -> list[Subject]:
    if not principal.signed_in:
        return []
    groups = (Subject("group", group) for group in principal.groups)
    return [SIGNED_IN, Subject("user", principal.name), *groups]
