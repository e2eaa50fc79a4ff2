"""What people said of a layer or recording that is replaced, for the one that takes its place.

What its first ingest was given comes first, each change since then after it. The source speaks
before both, and what the new ingest is given after them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_core.store.record_changes import carry, said_since
from microtome_core.store.record_given import RecordRefused
from microtome_ingest.place import Place

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Carried:
    """What was said of a version.

    Parameters
    ----------
    given : tuple of dict
        In order, each as `with_given` takes it.
    notes : tuple of str
        Names of the notes of which it is part.
    """

    given: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def said_of(store: Store, place: Place, given: Sequence[Given]) -> Carried:
    """Return what was said of a visible version, that which its ingest was given first.

    Raises
    ------
    StorageError
        Storage failed, or a note is damaged.
    """
    since = said_since(store, place.layer, place.folder)
    told = (dict(each) for each in (*given, *since.values()) if each)
    return Carried(tuple(told), tuple(since))


def fitting(
    layer_id: LayerId,
    said: Sequence[Given],
    own: Given,
    check: Callable[[Sequence[Given]], object],
) -> tuple[dict[str, Any], ...]:
    """Return what was said before, and what is given now after it, as the new source bears it.

    Parameters
    ----------
    check : callable
        Raises RecordRefused for what cannot be said of the source.

    Raises
    ------
    InputError
        What was said does not fit, and nothing is given in its place.
    RecordRefused
        What is given now does not fit by itself.
    """
    told = [dict(each) for each in (*said, own) if each]
    # What is said again at each ingest is kept once.
    everything = tuple(each for each, _ in groupby(told))
    try:
        check(everything)
    except RecordRefused as refused:
        check([own] if own else [])
        if not own:
            raise InputError(
                f"what was said of {layer_id} before does not fit what replaces it ({refused}): "
                "say what is true of the new one with --metadata FILE, and only what fits is kept"
            ) from refused
        return _filtered(said, own, check)
    return everything


def _filtered(
    said: Sequence[Given], own: Given, check: Callable[[Sequence[Given]], object]
) -> tuple[dict[str, Any], ...]:
    """Return what fits of what was said, field by field, and what is given now."""
    kept: list[dict[str, Any]] = []
    for one in ({key: value} for each in said for key, value in each.items()):
        try:
            check([*kept, one, own])
        except RecordRefused:
            continue
        kept.append(one)
    return (*kept, dict(own))


def carry_history(store: Store, visible: Place | None, place: Place, said: Sequence[str]) -> None:
    """Copy the notes of the version that is visible to the one that is to replace it."""
    if visible is not None and visible != place:
        carry(store, place.layer, visible.folder, place.folder, said)
