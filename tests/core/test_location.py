"""Stores: the same calls on files, in memory and on S3."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from microtome_core.errors import AccessDenied, InputError, StorageError
from microtome_core.store.location import StorageOptions, Store
from tests.disks import read_only


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


@pytest.mark.slow
def test_long_lists_are_whole(store: Store) -> None:
    """More objects and folders than one answer of S3 holds, a thousand, are listed."""
    paths = [f"a/b/{n}/x" for n in range(1_100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(store.write, data=b"12"), paths))
    assert sorted(store.sizes("a")) == sorted((path, 2) for path in paths)
    assert store.children("a/b") == sorted(str(n) for n in range(1_100))


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


def test_one_of_many_creates_an_object(store: Store) -> None:
    """Of several with different data exactly one is told that its own lies there; doing the same
    again is no failure.
    """
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda n: store.create("one", b"%d" % n), range(8)))
    assert told.count(True) == 1
    assert store.read("one") == b"%d" % told.index(True)
    assert store.create("one", b"%d" % told.index(True))


def test_every_object_is_listed_with_its_size(store: Store) -> None:
    """However deep it lies; of a folder that is absent there is nothing to list."""
    for key, size in {"a/1": 3, "a/b/c/d/e/2": 5, "ab/3": 7}.items():
        store.write(key, bytes(size))
    assert dict(store.sizes("a")) == {"a/1": 3, "a/b/c/d/e/2": 5}
    assert dict(store.sizes("")) == {"a/1": 3, "a/b/c/d/e/2": 5, "ab/3": 7}
    assert not dict(store.sizes("nothing/there"))


def test_an_object_is_opened_as_a_file(store: Store) -> None:
    """It can be read from any place; one that is absent is an error that names it."""
    store.write("a/1", b"abcdef")
    with store.open("a/1") as stream:
        stream.seek(2)
        assert stream.read(3) == b"cde"
    with pytest.raises(StorageError, match="a/2"), store.open("a/2"):
        pass


def test_what_a_dead_writer_left_does_not_lengthen_the_next_object(tmp_path: Path) -> None:
    """TensorStore writes over a leftover without shortening it: it is removed first."""
    store = Store(str(tmp_path))
    (tmp_path / "key.__lock").write_bytes(b"x" * 100)
    store.write("key", b"short")
    assert store.read("key") == b"short"
    (tmp_path / "new.__lock").write_bytes(b"x" * 100)
    assert store.create("new", b"short")
    assert store.read("new") == b"short"


def test_storage_that_refuses_is_told_from_storage_that_fails(tmp_path: Path) -> None:
    """Trying again does not help where a folder may not be written."""
    with read_only(tmp_path), pytest.raises(AccessDenied, match=str(tmp_path)):
        Store(str(tmp_path)).write("a/b", b"x")


def test_a_store_travels_to_another_process(tmp_path: object) -> None:
    """Pickling keeps the address and the options."""
    there = pickle.loads(pickle.dumps(Store(str(tmp_path), StorageOptions(cache_bytes=5))))
    assert there.url == f"file://{tmp_path}"
    assert there.options.cache_bytes == 5


def test_a_root_is_found_from_the_folder_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps up in the path of a root are taken, through links as the system takes them."""
    (tmp_path / "far/lab").mkdir(parents=True)
    (tmp_path / "lab").symlink_to(tmp_path / "far/lab")
    monkeypatch.chdir(tmp_path / "lab")
    for url in ("../store", f"{tmp_path}/lab/../store", f"file://{tmp_path}/lab/../store"):
        Store(url).write("a", b"x")
        assert Store(f"{tmp_path}/far/store").read("a") == b"x"
        Store(url).remove("a")


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


def test_a_root_that_nobody_can_make_is_refused(tmp_path: Path) -> None:
    """Below a file there is no folder, whoever tries again."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"root .*/file/root: cannot be made: Not a directory"):
        Store(f"{tmp_path}/file/root").make_root()
