"""Roles, and the places on which they are held."""

from enum import IntEnum

from microtome_core.errors import InputError
from microtome_core.names import DatasetId, check_name

EVERYWHERE = "*"


class Role(IntEnum):
    """What may be done in a dataset; each includes those before it."""

    NONE = 0
    READER = 1
    WRITER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As commands and messages call it."""
        return self.name.lower()


def parse_place(text: str) -> str:
    """Return a place: ``*``, ``collection`` or ``collection/dataset``.

    >>> parse_place("demo/brain")
    'demo/brain'

    Raises
    ------
    InputError
        Anything else.
    """
    parts = text.split("/")
    if text == EVERYWHERE:
        return text
    if len(parts) > 2:
        raise InputError(f"{text[:200]!r}: expected COLLECTION, COLLECTION/DATASET or '*'")
    return "/".join(map(check_name, parts))


def places_of(dataset: DatasetId) -> tuple[str, str, str]:
    """Return the places that hold a dataset, the widest first.

    >>> places_of(DatasetId("demo", "brain"))
    ('*', 'demo', 'demo/brain')
    """
    return EVERYWHERE, dataset.collection, f"{dataset.collection}/{dataset.dataset}"
