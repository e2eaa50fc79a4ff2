"""Values within values of JSON."""

from collections.abc import Iterable, Mapping


def value_at(document: object, path: Iterable[str]) -> object:
    """Return what lies at a path of keys; None where there is no such key.

    >>> value_at({"subject": {"sex": "F"}}, ("subject", "sex")), value_at([], ("subject",))
    ('F', None)
    """
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document
