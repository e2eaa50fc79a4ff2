"""The ledger against what lies in the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from microtome_core.store.ledger import Ledger, parse_key
from microtome_core.store.leftovers import is_leftover
from microtome_core.store.location import Store

Fault = Literal["missing", "empty", "truncated", "extra", "changed", "unreadable", "differs"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A shard that is not as the ledger says.

    Parameters
    ----------
    key : str
        Of the object, below the layer's version.
    fault : str
        ``missing``; ``empty``: of no bytes; ``truncated``: shorter; ``extra``: not expected at all;
        ``changed``: of other bytes; ``unreadable``; ``differs``: of other voxels than its source.
    detail : str
    """

    key: str
    fault: Fault
    detail: str = ""


def compare_sizes(store: Store, folder: str, ledger: Ledger) -> Iterator[Finding]:
    """Yield what a listing of the store tells: objects that lack, are extra, or of another size."""
    seen = [ledger.empty(level) | ~ledger.done(level) for level in range(len(ledger.grids))]
    for level in range(len(ledger.grids)):
        for path, size in store.sizes(f"{folder}/{level}/c"):
            key = path.removeprefix(f"{folder}/")
            entry = ledger.expects(key)
            if entry is not None:
                seen[entry.level][entry.index] = True
            if entry is None or entry.length != size:
                yield _finding(key, entry.length if entry else 0, size)
    for level, there in enumerate(seen):
        for entry in ledger.entries(level):
            if not there[entry.index]:
                yield Finding(entry.key, "missing", f"expected {entry.length} bytes")


def _finding(key: str, expected: int, size: int) -> Finding:
    if not expected:
        return Finding(key, "extra", f"{size} bytes")
    fault: Fault = "changed" if size > expected else "truncated" if size else "empty"
    return Finding(key, fault, f"{size} bytes, expected {expected}")


def reconcile(store: Store, folder: str, ledger: Ledger) -> int:
    """Let an unfinished version and its ledger agree: what either alone knows is to be done anew.

    Returns
    -------
    int
        Shards that the ledger knew and that were lost or damaged since.
    """
    store.sweep(folder)
    lost = 0
    for found in list(compare_sizes(store, folder, ledger)):
        if is_leftover(found.key):
            continue  # of a worker that has not heard yet that its job has ended
        place = parse_key(found.key)
        if found.fault != "missing":
            store.remove(f"{folder}/{found.key}")
        if found.fault != "extra" and place is not None:
            ledger.forget(*place)
            lost += 1
    return lost
