"""Where the arrays of a layer lie: a layer that is replaced keeps its old ones until then.

The first version of a layer lies in ``0, 1, 2 …``, later ones in ``v2/0 …``, ``v3/0 …``; the
layer's metadata names the arrays that count, and writing it is the moment of the change.
"""

import re
from dataclasses import dataclass

from microtome_core.store.layer import array_paths
from microtome_core.store.ledger import FOLDER
from microtome_core.store.location import Store

_ABANDONED = f"{FOLDER}/abandoned.json"
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
    return place_after(store, layer, visible), visible


def place_after(store: Store, layer: str, visible: Place | None) -> Place:
    """Return where the version after the visible one goes; one that was begun is gone on with."""
    least = visible.next if visible else Place(layer)
    for place in versions(store, layer):
        if place.number >= least.number:
            least = place.next if _is_abandoned(store, place) else place
    return least


def versions(store: Store, layer: str) -> list[Place]:
    """Return every version of which anything is there, visible or not."""
    names = store.children(layer)
    prefixes = {"" if name.isdigit() else f"{name}/" for name in names}
    places = [Place(layer, p) for p in prefixes if not p or _VERSION.fullmatch(p)]
    return sorted(places, key=lambda place: place.number)


def abandon(store: Store, place: Place) -> None:
    """Give an unfinished version up: the next one gets a folder of its own.

    A process that died, or that lost its claim, may still have a write under way.
    """
    store.write(f"{place.folder}/{_ABANDONED}", b"{}")
    for name in filter(str.isdigit, store.children(place.folder)):
        store.delete(f"{place.folder}/{name}/c")


def _is_abandoned(store: Store, place: Place) -> bool:
    return store.read(f"{place.folder}/{_ABANDONED}") is not None


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
