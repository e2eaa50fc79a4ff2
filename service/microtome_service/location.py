"""Whether the root of a store is there."""

from pathlib import Path
from urllib.parse import urlsplit

from microtome_core.errors import StorageError
from microtome_core.store.location import Store


def check_root(store: Store) -> None:
    """Return if the root can be reached. Blocks.

    Of S3 only the connection can be told: a bucket that is absent answers like an empty one.

    Raises
    ------
    StorageError
        No such folder, or storage that does not answer.
    """
    parts = urlsplit(store.url)
    # The path stands in the URL as it is, not percent-encoded.
    folder = store.url.removeprefix("file://")
    if parts.scheme == "file" and not Path(folder).is_dir():
        raise StorageError(f"root {folder}: no such folder")
    store.read("zarr.json")
