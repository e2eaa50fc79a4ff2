"""What a caller may see, as a condition of SQL that agrees with `View.sees`."""

import json
from collections.abc import Iterable
from hashlib import sha256

from sqlalchemy import and_, bindparam, cast, column, false, func, not_, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from microtome_service.auth.roles import EVERYWHERE, Role
from microtome_service.auth.rules import Rules
from microtome_service.principal import Principal
from microtome_service.search.tables import DATASETS

_PLACE, _COLLECTION = DATASETS.c.place, DATASETS.c.collection


def visible(rules: Rules, principal: Principal, sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that `principal` may read a dataset."""
    granted = rules.places(principal, Role.READER)
    if EVERYWHERE in granted:
        return true()
    own, shared = _by_kind(granted)
    return or_(
        _public(rules, sqlite), _among(_PLACE, own, sqlite), _among(_COLLECTION, shared, sqlite)
    )


def rights(shown: str, rules: Rules, principal: Principal) -> tuple[str, ...]:
    """Return all that `visible` depends on: two for whom it is equal see the same.

    Parameters
    ----------
    shown : str
        `digest_of` the rules.
    """
    granted = rules.places(principal, Role.READER)
    return (EVERYWHERE,) if EVERYWHERE in granted else (shown, *sorted(granted))


def digest_of(rules: Rules) -> str:
    """Return a digest of what rules say of everybody."""
    told = [rules.default_public, sorted(rules.public.items())]
    return sha256(json.dumps(told).encode()).hexdigest()


def _public(rules: Rules, sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that anyone may; a dataset's own entry counts before another."""
    shown, shown_collections = _by_kind(p for p, public in rules.public.items() if public)
    hidden, hidden_collections = _by_kind(p for p, public in rules.public.items() if not public)
    if rules.default_public:
        collections = not_(_among(_COLLECTION, hidden_collections, sqlite))
    else:
        collections = _among(_COLLECTION, shown_collections, sqlite)
    own = _among(_PLACE, hidden, sqlite)
    return or_(_among(_PLACE, shown, sqlite), and_(not_(own), collections))


def _by_kind(places: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the datasets and the collections among places."""
    listed = sorted(places)
    return [p for p in listed if "/" in p], [p for p in listed if "/" not in p]


def _among(named: ColumnElement[str], names: list[str], sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a column holds one of many names, which are one parameter."""
    if not names:
        return false()
    given: BindParameter[str] = bindparam(None, json.dumps(names))
    if sqlite:
        each = func.json_each(given).table_valued("value")
        return named.in_(select(each.c.value))
    listed = func.jsonb_array_elements_text(cast(given, JSONB)).table_valued("value")
    return named.in_(select(column("value")).select_from(listed))
