"""How often each value of a field occurs among datasets."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from microtome_service.search.facts import FIELDS
from microtome_service.search.held import Mask, Numbers
from microtome_service.search.tables import DATASETS

_MOST_VALUES = 100
# Bytes of a label and its objects, about.
_LABEL = 200

Counts = dict[str, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Terms:
    """Which datasets have which values: two pairs of columns, and what their numbers mean.

    Parameters
    ----------
    labels : tuple of (str, str, str)
        Field, term, and how it is spelt; sorted.
    spelt, spellers : ndarray
        Number of a label, and the place of a dataset with it, each once.
    terms : tuple of (str, str)
        Field and term, sorted.
    termed, havers : ndarray
        Number of a term, and the place of a dataset with it, each once however it is spelt.
    """

    labels: tuple[tuple[str, str, str], ...]
    spelt: Numbers
    spellers: Numbers
    terms: tuple[tuple[str, str], ...]
    termed: Numbers
    havers: Numbers

    @property
    def nbytes(self) -> int:
        """About what all this takes in memory."""
        columns = (self.spelt, self.spellers, self.termed, self.havers)
        return sum(c.nbytes for c in columns) + _LABEL * (len(self.labels) + len(self.terms))


def read_terms(connection: Connection, root: str, places: Callable[[Numbers], Numbers]) -> Terms:
    """Read the values of all datasets of a store; `places` finds datasets by their keys."""
    asked = select(DATASETS.c.facets, DATASETS.c.key).where(DATASETS.c.root == root)
    # Many datasets have the very same values.
    alike: dict[str, list[int]] = {}
    for facets, key in connection.execute(asked):
        alike.setdefault(facets, []).append(key)
    values = {facets: _values(facets) for facets in alike}
    labels = tuple(sorted({label for held in values.values() for label in held}))
    terms = tuple(dict.fromkeys(label[:2] for label in labels))
    label_numbers = {label: number for number, label in enumerate(labels)}
    term_numbers = {term: number for number, term in enumerate(terms)}
    spelt: list[tuple[int, Numbers]] = []
    termed: list[tuple[int, Numbers]] = []
    for facets, keys in alike.items():
        there = places(np.array(keys, np.int64))
        spelt += [(label_numbers[label], there) for label in values[facets]]
        termed += [(term_numbers[term], there) for term in {v[:2] for v in values[facets]}]
    return Terms(labels, *_columns(spelt), terms, *_columns(termed))


def count(terms: Terms, fits: Mask) -> Counts:
    """Return the values that datasets have, and how many have each: the most frequent first.

    Of several spellings the first is told that one of these datasets has: those of others, which
    the caller may not see, tell nothing.
    """
    counts = np.bincount(terms.termed[fits[terms.havers]], minlength=len(terms.terms))
    spelt = np.bincount(terms.spelt[fits[terms.spellers]], minlength=len(terms.labels))
    told: dict[tuple[str, str], str] = {}
    for number in np.flatnonzero(spelt).tolist():
        field, term, label = terms.labels[number]
        told.setdefault((field, term), label)
    found: dict[str, list[tuple[str, int]]] = {field: [] for field in FIELDS}
    # Sorted by field and term before: of those as frequent the first by its term comes first.
    for number in np.argsort(-counts, kind="stable").tolist():
        field, term = terms.terms[number]
        if counts[number] and field in found and len(found[field]) < _MOST_VALUES:
            found[field].append((told[field, term], int(counts[number])))
    return {field: tuple(values) for field, values in found.items()}


def _values(facets: str) -> list[tuple[str, str, str]]:
    return [(field, term, label) for field, term, label in json.loads(facets or "[]")]


def _columns(held: Sequence[tuple[int, Numbers]]) -> tuple[Numbers, Numbers]:
    """Return numbers and places, one beside the other."""
    none = np.zeros(0, np.int64)
    numbers = [np.full(len(places), number, np.int64) for number, places in held]
    return np.concatenate([none, *numbers]), np.concatenate([none, *(p for _, p in held)])
