"""What lies in a store, to be compared byte by byte."""

from microtome_core.store.location import Store


def tree(store: Store) -> dict[str, bytes]:
    """Return every object of a store, half-written files too."""
    found = {}
    for key, _ in store.sizes(""):
        with store.open(key) as stream:
            found[key] = stream.read()
    return found
