"""Whether the root of a store is there."""

from pathlib import Path

from microtome_core.errors import InputError, StorageError
from microtome_core.store.location import Store


def check_folder(store: Store) -> None:
    """Return unless the root is a local folder that does not exist.

    Raises
    ------
    InputError
        No such folder: at the start a misspelt word, rather than storage that failed.
    """
    folder = _absent_folder(store)
    if folder is not None:
        raise InputError(f"root {folder}: no such folder")


def check_root(store: Store) -> None:
    """Return if the root can be reached. Blocks.

    Of S3 only the connection can be told: a bucket that is absent answers like an empty one.

    Raises
    ------
    StorageError
        No such folder, or storage that does not answer.
    """
    folder = _absent_folder(store)
    if folder is not None:
        raise StorageError(f"root {folder}: no such folder")
    store.read("zarr.json")


def _absent_folder(store: Store) -> str | None:
    # The path stands in the URL as it is, not percent-encoded.
    folder = store.url.removeprefix("file://")
    return folder if folder != store.url and not Path(folder).is_dir() else None
