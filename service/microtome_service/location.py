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


class Root:
    """The root of a store, and whether it has gone since it was there.

    The folder of a mount that is lost is often there and empty: what tells is the ``zarr.json`` of
    the root, which every writer of microtome's leaves and none removes.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = False

    def note(self) -> None:
        """Remember that the root is there, once it is known. Blocks."""
        if not self._seen:
            self._seen = self._store.read("zarr.json") is not None

    def check(self) -> None:
        """Return if what is not found may be called absent. Blocks.

        Raises
        ------
        StorageError
            The root is not there any more, or storage does not answer.
        """
        folder = _absent_folder(self._store)
        if folder is not None:
            raise StorageError(f"root {folder}: no such folder")
        there = self._store.read("zarr.json") is not None
        if self._seen and not there:
            raise StorageError(f"root {self._store.url}: empty, and it was not before")
        self._seen = there


def _absent_folder(store: Store) -> str | None:
    # The path stands in the URL as it is, not percent-encoded.
    folder = store.url.removeprefix("file://")
    return folder if folder != store.url and not Path(folder).is_dir() else None
