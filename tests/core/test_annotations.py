"""Annotations: files of a dataset, kept to the byte, visible only when they are whole."""

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from microtome_core.errors import Conflict, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.annotations import (
    Annotation,
    Box,
    annotation_path,
    list_annotations,
    read_annotation,
    write_annotation,
)
from microtome_core.store.location import Store
from microtome_core.store.record import SourceFile

NAME = LayerId("demo", "brain", "cell-7")
PATH = "demo/brain/annotations/cell-7.swc"


def about(content: bytes, created: str = "2026-01-01T00:00:00+00:00") -> Annotation:
    """Return what is known of a file."""
    digest = sha256(content).hexdigest()
    return Annotation(
        size=len(content),
        sha256=digest,
        source=SourceFile(name="a.swc", size=len(content), sha256=digest),
        created=created,
        unit="micrometer",
        nodes=1,
        roots=1,
        types={"1": 1},
        bounding_box=Box(low=(0, 0, 0), high=(1, 2, 3)),
    )


def test_an_annotation_is_kept_to_the_byte(store: Store) -> None:
    """It lies where it should, is listed, and comes back with what is known of it."""
    assert write_annotation(store, NAME, b"1 1 0 0 0 1 -1\r\n", about(b"1 1 0 0 0 1 -1\r\n"))
    assert annotation_path(NAME) == PATH
    assert store.read(PATH) == b"1 1 0 0 0 1 -1\r\n"
    assert list_annotations(store, DatasetId("demo", "brain")) == (NAME,)
    assert list_annotations(store, DatasetId("demo", "other")) == ()
    content, info = read_annotation(store, NAME)
    assert (content, info) == (store.read(PATH), about(content))
    assert store.read("demo/brain/zarr.json") is not None


def test_another_is_only_replaced_when_asked(store: Store) -> None:
    """The same again is nothing to do; another one is a conflict unless it is to replace."""
    assert write_annotation(store, NAME, b"a", about(b"a"))
    assert not write_annotation(store, NAME, b"a", about(b"a", "2027-01-01T00:00:00+00:00"))
    with pytest.raises(Conflict, match=r"demo/brain/cell-7: another annotation .* --restart"):
        write_annotation(store, NAME, b"b", about(b"b"))
    other_unit = about(b"a").model_copy(update={"unit": None})
    with pytest.raises(Conflict):
        write_annotation(store, NAME, b"a", other_unit)
    assert read_annotation(store, NAME)[0] == b"a"
    assert write_annotation(store, NAME, b"b", about(b"b"), replace=True)
    assert read_annotation(store, NAME)[0] == b"b"


def test_what_is_not_whole_is_not_visible(store: Store) -> None:
    """A file without its JSON is no annotation; the same command makes it one."""
    store.write(PATH, b"a")
    assert list_annotations(store, NAME.parent) == ()
    with pytest.raises(NotFound, match="no annotation demo/brain/cell-7"):
        read_annotation(store, NAME)
    with pytest.raises(Conflict):
        write_annotation(store, NAME, b"b", about(b"b"))
    assert write_annotation(store, NAME, b"a", about(b"a"))
    assert read_annotation(store, NAME)[0] == b"a"


def test_damage_is_told(store: Store) -> None:
    """A file that is not what was written, and a JSON that is none, are errors."""
    write_annotation(store, NAME, b"a", about(b"a"))
    store.write(PATH, b"b")
    with pytest.raises(StorageError, match="not what was written"):
        read_annotation(store, NAME)
    store.write(f"{PATH}.json", b"{}")
    with pytest.raises(StorageError, match="no annotation"):
        read_annotation(store, NAME)


def test_a_layer_of_that_name_is_left_alone(store: Store) -> None:
    """Nothing is written into a layer that is called annotations."""
    store.write("demo/brain/annotations/zarr.json", b"{}")
    with pytest.raises(Conflict, match="a layer has the name"):
        write_annotation(store, NAME, b"a", about(b"a"))


def test_of_many_writers_one_wins(store: Store) -> None:
    """Of several that write different files at once one does, and it is whole."""
    together = threading.Barrier(4)

    def write(content: bytes) -> bytes | None:
        together.wait()
        try:
            return content if write_annotation(store, NAME, content, about(content)) else None
        except Conflict:
            return None

    with ThreadPoolExecutor(4) as pool:
        won = [one for one in pool.map(write, [b"a", b"b", b"c", b"d"]) if one]
    assert won == [read_annotation(store, NAME)[0]]
