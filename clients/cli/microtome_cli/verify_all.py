"""``microtome verify ROOT``: every layer and recording of a root, one after another."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from microtome_cli.main import DAMAGED
from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import label_names, list_datasets
from microtome_core.store.location import Store


def verify_all(
    store: Store,
    arguments: argparse.Namespace,
    verify: Callable[[Store, str, argparse.Namespace], bool],
) -> int:
    """Verify all that is visible, and say how many were damaged; return the exit code.

    What has no ledger, and what is not finished, is told on standard error and is no damage. Damage
    counts for more than storage that failed: to try again does not mend it.

    Raises
    ------
    InputError
        There is nothing below the root, or a source is named, which is that of one layer.
    StorageError
        Of a layer that could not be read; raised when all others have been verified and are whole.
    """
    if arguments.source is not None:
        raise InputError("--source is what one layer was made of: say which layer")
    verified = damaged = 0
    failures: list[StorageError] = []
    for name in _names(store):
        try:
            damaged += verify(store, name, arguments)
            verified += 1
        except (InputError, NotFound) as error:
            print(f"microtome: {name} is not verified: {error}", file=sys.stderr)
        except StorageError as error:
            print(f"microtome: {name}: {error}", file=sys.stderr)
            failures.append(error)
    _tell(store, verified, damaged, len(failures), as_json=arguments.json)
    if failures and not damaged:
        raise failures[-1]
    return DAMAGED if damaged else 0


def _names(store: Store) -> Iterator[str]:
    datasets = list(list_datasets(store))
    if not datasets:
        raise InputError(f"no dataset in {store.url}: expected a root, or name a layer")
    for dataset in datasets:
        yield from dict.fromkeys(_names_in(store, dataset))


def _names_in(store: Store, dataset: DatasetId) -> Iterator[str]:
    for folder in store.children(str(dataset)):
        for name in (folder, *label_names(store, f"{dataset}/{folder}")):
            try:
                yield str(LayerId(dataset.collection, dataset.dataset, name))
            except InputError:
                continue  # a folder that nobody could have made as a layer


def _tell(store: Store, verified: int, damaged: int, unread: int, *, as_json: bool) -> None:
    counts = {"damaged": damaged, "unread": unread}
    if as_json:
        words = {"event": "all", "root": store.url, "layers": verified, **counts}
        print(json.dumps(words), flush=True)
        return
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "all right"
    print(f"{store.url}: {verified} {'layer' if verified == 1 else 'layers'}: {found}", flush=True)
