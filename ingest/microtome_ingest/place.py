"""Where the arrays of a layer lie: a layer that is replaced keeps its old ones until then.

The first version of a layer lies in ``0, 1, 2 …``, later ones in ``v2/0 …``, ``v3/0 …``; the
layer's metadata names the arrays that count, and writing it is the moment of the change.
"""

import re
from dataclasses import dataclass

from microtome_core.store.layer import array_paths
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

_VERSION = re.compile(r"v(\d+)/")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one version of a layer.

    Parameters
    ----------
    layer : str
        The layer's folder below the root.
    prefix : str
        Empty for the first version, then ``v2/`` and so on.
    """

    layer: str
    prefix: str = ""

    @property
    def folder(self) -> str:
        """The folder in which the arrays and the ledger lie."""
        return f"{self.layer}/{self.prefix}".rstrip("/")

    def array(self, level: int) -> str:
        """Return the folder of a level's array below the root."""
        return f"{self.layer}/{self.prefix}{level}"

    @property
    def number(self) -> int:
        """1 for the first version."""
        match = _VERSION.fullmatch(self.prefix)
        return int(match[1]) if match else 1

    @property
    def next(self) -> "Place":
        """The place of the version after this one."""
        return Place(self.layer, f"v{self.number + 1}/")


def visible_place(store: Store, layer: str) -> Place | None:
    """Return where the arrays of a visible layer lie, None if there is none."""
    for path in array_paths(store, layer):
        folder, slash, _ = path.rpartition("/")
        return Place(layer, folder + slash)
    return None


def next_place(store: Store, layer: str) -> tuple[Place, Place | None]:
    """Return where the next version of a layer goes, and where the visible one lies.

    Where none is visible but one was begun, that is gone on with.
    """
    visible = visible_place(store, layer)
    if visible is not None:
        return visible.next, visible
    begun = (p for p in versions(store, layer) if store.read(f"{p.folder}/{FOLDER}/job.json"))
    return max(begun, key=lambda place: place.number, default=Place(layer)), None


def versions(store: Store, layer: str) -> list[Place]:
    """Return every version of which anything is there, visible or not."""
    names = store.children(layer)
    prefixes = {"" if name.isdigit() else f"{name}/" for name in names}
    return [Place(layer, p) for p in sorted(prefixes) if not p or _VERSION.fullmatch(p)]


def clear(store: Store, place: Place) -> None:
    """Remove an unfinished version, but for the claims of those who write it."""
    # The manifest goes first: nobody may go on with a version that is half removed.
    store.remove(f"{place.folder}/{FOLDER}/job.json")
    for name in filter(str.isdigit, store.children(place.folder)):
        kept = [key for key, _ in store.sizes(f"{place.folder}/{name}") if "/claims/" in key]
        if not kept:
            store.delete(f"{place.folder}/{name}")
            continue
        for key, _ in store.sizes(f"{place.folder}/{name}"):
            if key not in kept:
                store.remove(key)


def older(store: Store, place: Place) -> list[Place]:
    """Return the versions before one."""
    return [each for each in versions(store, place.layer) if each.number < place.number]


def sweep(store: Store, place: Place) -> None:
    """Remove the versions before the one that is kept; labels below the layer stay."""
    for each in older(store, place):
        if each.prefix:
            store.delete(each.folder)
            continue
        for name in filter(str.isdigit, store.children(place.layer)):
            store.delete(f"{place.layer}/{name}")
