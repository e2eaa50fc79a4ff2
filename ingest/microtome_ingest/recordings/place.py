"""Where the versions of a recording lie: beside each other, until the new one is visible."""

import json

from microtome_core.store.location import Store
from microtome_core.store.recordings import RECORDING
from microtome_ingest.place import Place, abandon, older, place_after

# The folders of a version; those of the first lie in the layer's own.
FOLDERS = ("data", "rows", "neurons", "files", "computed", "0")


def next_place(store: Store, layer: str) -> tuple[Place, Place | None]:
    """Return where the next version of a recording goes, and where the visible one lies."""
    visible = visible_place(store, layer)
    return place_after(store, layer, visible), visible


def visible_place(store: Store, layer: str) -> Place | None:
    """Return where a visible recording lies, None if there is none."""
    document = store.read(f"{layer}/zarr.json")
    attributes = json.loads(document).get("attributes", {}) if document else {}
    if RECORDING not in attributes:
        return None
    version = attributes.get("microtome", {}).get("version", "")
    return Place(layer, f"{version}/" if version else "")


def give_up(store: Store, place: Place) -> None:
    """Abandon an unfinished version: the next one gets a folder of its own."""
    abandon(store, place)
    for name in FOLDERS[:-1]:
        store.delete(f"{place.folder}/{name}")


def sweep(store: Store, place: Place) -> None:
    """Remove the versions before the one that is kept."""
    for each in older(store, place):
        if each.prefix:
            store.delete(each.folder)
            continue
        for name in FOLDERS:
            store.delete(f"{place.layer}/{name}")
