"""What lies in a store, dataset by dataset, and whether it has changed since it was last seen."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod

import numpy as np

from microtome_core.errors import StorageError
from microtome_core.names import DatasetId
from microtome_core.store.annotations import FOLDER, list_annotations
from microtome_core.store.layer import Layer, label_names
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_service.catalog import Catalog, Damaged
from microtome_service.documents import short
from microtome_service.search.facts import Facts, facts_of

# What an index of another form holds is looked at anew: raise it when rows would differ.
_FORM = "4"


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """A layer as the index keeps it.

    Parameters
    ----------
    kind : str
        Empty for one that is damaged.
    nbytes : int
        Of its finest level, uncompressed.
    summary : str
        What lists say of it, as JSON without addresses.
    facts : Facts
    """

    kind: str
    nbytes: int
    summary: str
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset as the index keeps it.

    Parameters
    ----------
    id : DatasetId
    digest : str
        Another one whenever anything of it may have changed; empty if it is to be looked at again.
    layers : tuple of LayerEntry
    annotations : tuple of str
    listed : bool
        Something is in it or was said of it. An ingest that failed or goes on leaves a folder more.
    """

    id: DatasetId
    digest: str
    layers: tuple[LayerEntry, ...] = ()
    annotations: tuple[str, ...] = ()
    listed: bool = True


class Looking:
    """Looks at datasets; it may be called from many threads.

    Parameters
    ----------
    store : Store
    catalog : Catalog
        Which opens what has changed.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog
        # What an object's metadata said when it had a tag; reading it costs more than asking.
        self._seen: dict[str, tuple[str, str]] = {}

    def datasets(self) -> tuple[DatasetId, ...]:
        """Return every dataset of the store; raises Unreadable. Blocks."""
        return self._catalog.find_datasets()

    def look(self, dataset: DatasetId, known: str | None) -> DatasetEntry | None:
        """Return a dataset, or None if it is as it was when its digest was `known`. Blocks.

        Raises
        ------
        NotFound
            It has gone.
        Unreadable
            Storage failed, so that nothing can be said of the dataset at all.
        """
        digest = self._digest_of(dataset)
        if digest and digest == known:
            return None
        found = self._catalog.look(dataset)
        annotations = self._catalog.find_skeletons(dataset)
        # Damage may be mended where no digest shows it: one level's metadata, or the storage.
        if any(isinstance(layer, Damaged) for layer in found):
            digest = ""
        entries = tuple(map(_entry, found))
        names = tuple(each.layer for each in annotations)
        listed = bool(entries or names) or self._is_described(dataset)
        return DatasetEntry(dataset, digest, entries, names, listed)

    def forget_all_but(self, datasets: frozenset[str]) -> None:
        """Drop what is remembered of datasets that are not there any more."""
        for path in [p for p in self._seen if "/".join(p.split("/")[:2]) not in datasets]:
            self._seen.pop(path, None)

    def _is_described(self, dataset: DatasetId) -> bool:
        """Tell whether anything was written down of a dataset itself."""
        try:
            document = json.loads(self._store.read(f"{dataset}/zarr.json") or b"{}")
            return bool(document.get("attributes"))
        except (ValueError, AttributeError):
            return True  # damaged: to be seen

    def _digest_of(self, dataset: DatasetId) -> str:
        """Return the digest of all metadata of a dataset; empty where some of it cannot be read."""
        try:
            parts = list(self._parts(dataset))
        except (StorageError, TypeError, AttributeError, ValueError):
            return ""  # the catalog tells what is wrong with which layer
        return sha256("\n".join([_FORM, *parts]).encode("utf-8", "replace")).hexdigest()

    def _parts(self, dataset: DatasetId) -> Iterator[str]:
        names = self._store.children(str(dataset))
        for name in names:
            path = f"{dataset}/{name}"
            if (own := self._metadata(path)) is None:
                continue
            yield f"{name} {own}"
            for label in map(str, label_names(self._store, path)):
                yield f"{name}/{label} {self._metadata(f'{path}/labels/{label}')}"
        if FOLDER in names:
            yield from (str(each) for each in list_annotations(self._store, dataset))

    def _metadata(self, path: str) -> str | None:
        """Return the digest of a folder's ``zarr.json``, or None where there is none."""
        stat = self._store.stat(f"{path}/zarr.json")
        if stat is None:
            return None
        seen = self._seen.get(path)
        if seen is not None and seen[0] == stat.tag:
            return seen[1]
        # Taken before reading: what is written in between is seen as another tag next time.
        digest = sha256(self._store.read(f"{path}/zarr.json") or b"").hexdigest()
        self._seen[path] = (stat.tag, digest)
        return digest


def unreadable(dataset: DatasetId, error: Exception) -> DatasetEntry:
    """Return what is kept of a dataset of which storage says nothing: its name, and why."""
    summary = json.dumps({"id": str(dataset), "error": str(error)})
    return DatasetEntry(dataset, "", (LayerEntry("", 0, summary),))


def _entry(part: Layer | Recording | Damaged) -> LayerEntry:
    told = short(part)
    summary = json.dumps(told)
    if isinstance(part, Damaged):
        return LayerEntry("", 0, summary)
    nbytes = _recorded_bytes(part) if isinstance(part, Recording) else part.info.nbytes
    return LayerEntry(told["kind"], nbytes, summary, facts_of(part))


def _recorded_bytes(recording: Recording) -> int:
    """Return the bytes of all values, uncompressed."""
    arrays = [array for facts in recording.variables.values() for array in facts.arrays]
    return sum(prod(array.shape) * np.dtype(array.dtype).itemsize for array in arrays)
