"""Stores: the same calls on files, in memory and on S3."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from microtome_core.errors import InputError, StorageError
from microtome_core.store.location import StorageOptions, Store


def test_objects_are_written_read_and_removed(store: Store) -> None:
    """What was written is read; what was removed or never was is None."""
    assert store.read("a/b.json") is None
    store.write("a/b.json", b"one")
    store.write("a/b.json", b"two")
    assert store.read("a/b.json") == b"two"
    store.remove("a/b.json")
    store.remove("a/b.json")
    assert store.read("a/b.json") is None


def test_folders_are_listed_one_step_deep(store: Store) -> None:
    """Listing names the folders directly below, sorted, and none of a folder that is not there."""
    for path in ("c/d/l/zarr.json", "c/d/l/0/c/0/0", "c/d/k/zarr.json", "c/zarr.json", "b/x/y"):
        store.write(path, b"x")
    assert store.children() == ["b", "c"]
    assert store.children("c/d") == ["k", "l"]
    assert store.children("c/nothing") == []


def test_deleting_a_folder_spares_its_neighbours(store: Store) -> None:
    """Only what lies below the folder goes; names that begin alike stay."""
    for path in ("a/1", "a/b/2", "ab/3", "a.c/4", "a-/5"):
        store.write(path, b"x")
    store.delete("a")
    assert store.read("a/1") is None
    assert store.read("a/b/2") is None
    assert [store.read(p) for p in ("ab/3", "a.c/4", "a-/5")] == [b"x"] * 3


def test_concurrent_updates_lose_nothing(store: Store) -> None:
    """Read-modify-write of one object by several threads keeps every change."""

    def add(n: int) -> None:
        store.update("list", lambda old: (old or b"") + bytes([n]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(16)))
    assert sorted(store.read("list") or b"") == list(range(16))


def test_a_store_travels_to_another_process(tmp_path: object) -> None:
    """Pickling keeps the address and the options."""
    there = pickle.loads(pickle.dumps(Store(str(tmp_path), StorageOptions(cache_bytes=5))))
    assert there.url == f"file://{tmp_path}"
    assert there.options.cache_bytes == 5


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "s3://", "gopher:", "http://host/x", "file://folder/x"]
)
def test_an_address_that_is_no_store_is_refused(url: str) -> None:
    """The message names what would do."""
    with pytest.raises(InputError, match="expected a folder"):
        Store(url)


def test_storage_that_fails_is_a_storage_error(s3_store: Store) -> None:
    """A bucket that is not there is a failure of storage, not an empty answer."""
    gone = Store("s3://no-such-bucket-here/root", s3_store.options)
    with pytest.raises(StorageError, match="no-such-bucket-here"):
        gone.write("a", b"x")
    with pytest.raises(StorageError):
        gone.children()


def test_credentials_come_from_the_usual_variables() -> None:
    """Keys in the environment are used, and an unsigned request can be asked for."""
    read = StorageOptions.from_environment
    assert read({"AWS_ACCESS_KEY_ID": "k"}).credentials == "environment"
    assert read({}).credentials == "default"
    assert read({"AWS_NO_SIGN_REQUEST": "true"}).credentials == "anonymous"
    assert read({"AWS_ENDPOINT_URL": "http://h"}).endpoint == "http://h"
