"""Where the arrays of a layer lie: a layer that is replaced keeps its old ones until then.

The first version of a layer lies in ``0, 1, 2 …``, later ones in ``v2/0 …``, ``v3/0 …``; the
layer's metadata names the arrays that count, and writing it is the moment of the change.
"""

import re
from dataclasses import dataclass

from microtome_core.store.layer import array_paths, ensure_group
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

    def array(self, level: int) -> str:
        """Return the folder of a level's array below the root."""
        return f"{self.layer}/{self.prefix}{level}"

    @property
    def next(self) -> "Place":
        """The place of the version after this one."""
        match = _VERSION.fullmatch(self.prefix)
        return Place(self.layer, f"v{int(match[1]) + 1 if match else 2}/")


def visible_place(store: Store, layer: str) -> Place | None:
    """Return where the arrays of a visible layer lie, None if there is none."""
    for path in array_paths(store, layer):
        folder, slash, _ = path.rpartition("/")
        return Place(layer, folder + slash)
    return None


def prepare(store: Store, layer: str) -> tuple[Place, Place | None]:
    """Return an empty place for a new version, and that of the visible one.

    What earlier attempts left is removed.
    """
    visible = visible_place(store, layer)
    place = visible.next if visible else Place(layer)
    sweep(store, layer, visible)
    if place.prefix:
        ensure_group(store, f"{layer}/{place.prefix.rstrip('/')}")
    return place, visible


def sweep(store: Store, layer: str, keep: Place | None) -> None:
    """Remove the arrays of every version but one; labels that lie below the layer stay."""
    for name in store.children(layer):
        prefix = "" if name.isdigit() else f"{name}/"
        is_ours = name.isdigit() or _VERSION.fullmatch(prefix)
        if is_ours and (keep is None or prefix != keep.prefix):
            store.delete(f"{layer}/{name}")
