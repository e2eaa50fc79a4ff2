"""Creating layers that are empty and can be written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from microtome_core.errors import Conflict, InputError, NotFound, StorageError
from microtome_core.levels import pyramid
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.create import NewLayer, create_layer, labels_like
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store

SEG = LayerId("demo", "brain", "seg")
UM = ("micrometer",) * 3
NEW = NewLayer("zyx", (40, 70, 70), "uint32", (2.0, 1.0, 1.0), UM, chunk=(8, 16, 16))


def test_a_created_layer_is_there_empty_and_writable(tmp_path: Path) -> None:
    """Every level reads as zeros, by microtome and by zarr-python; its levels are the ingest's."""
    store = Store(str(tmp_path))
    create_layer(store, SEG, NEW)
    layer = read_layer(store, SEG)
    assert layer.info.writable
    assert layer.info.kind == "labels"
    planned = pyramid("zyx", NEW.shape, NEW.scale, (8, 16, 16))
    assert [level.shape for level in layer.info.levels] == [level.shape for level in planned]
    assert [level.translation for level in layer.info.levels] == [p.translation for p in planned]
    group = zarr.open_group(tmp_path / "demo/brain/seg", mode="r")
    for number, level in enumerate(layer.info.levels):
        assert not layer.voxels[number].load(Region.whole("zyx", level.shape)).any()
        array = group[str(number)]
        assert isinstance(array, zarr.Array)
        assert array.shape == level.shape
        assert not np.asarray(array[...]).any()


def test_a_created_layer_holds_a_list_of_empty_shards(tmp_path: Path) -> None:
    """Without its list a layer cannot be opened: nothing would tell empty shards from lost ones."""
    store = Store(str(tmp_path))
    path = create_layer(store, SEG, NEW)
    store.remove(f"{path}/0/ledger/empty.json")
    with pytest.raises(StorageError, match="list of empty shards is missing"):
        read_layer(store, SEG)


def test_a_layer_that_exists_is_not_created_again(tmp_path: Path) -> None:
    """Neither with the same words nor with others; it stays as it is."""
    store = Store(str(tmp_path))
    path = create_layer(store, SEG, NEW)
    before = store.read(f"{path}/zarr.json")
    for new in (NEW, replace(NEW, shape=(1, 2, 3)), replace(NEW, dtype="uint8")):
        with pytest.raises(Conflict, match="exists"):
            create_layer(store, SEG, new)
    assert store.read(f"{path}/zarr.json") == before


def test_a_creation_that_died_is_gone_on_with(tmp_path: Path) -> None:
    """The same words finish it; other words are told what lies there."""
    store = Store(str(tmp_path))
    path = create_layer(store, SEG, NEW)
    store.remove(f"{path}/zarr.json")
    with pytest.raises(Conflict, match="not finished"):
        create_layer(store, SEG, replace(NEW, dtype="uint8"))
    assert create_layer(store, SEG, NEW) == path
    assert read_layer(store, SEG).info.writable


def test_labels_of_an_image_have_its_levels(tmp_path: Path) -> None:
    """They lie in the image's folder, are found by their own name, and leave its channels out."""
    store = Store(str(tmp_path))
    image = NewLayer("czyx", (2, 40, 70, 70), "uint16", (1.0, 2.0, 1.0, 1.0), (None, *UM), "image")
    create_layer(store, LayerId("demo", "brain", "raw"), image)
    info = read_layer(store, LayerId("demo", "brain", "raw")).info
    assert [c.name for c in info.channels] == ["channel-0", "channel-1"]
    path = create_layer(store, SEG, labels_like(info))
    assert path == "demo/brain/raw/labels/seg"
    labels = read_layer(store, SEG).info
    assert labels.axes == "zyx"
    assert [level.shape for level in labels.levels] == [level.shape[1:] for level in info.levels]
    assert [level.scale for level in labels.levels] == [level.scale[1:] for level in info.levels]


def test_labels_of_another_shape_than_their_image_are_refused(tmp_path: Path) -> None:
    """OME-Zarr wants the same levels; the message says which."""
    store = Store(str(tmp_path))
    image = replace(NEW, kind="image", dtype="uint16")
    create_layer(store, LayerId("demo", "brain", "raw"), image)
    with pytest.raises(InputError, match=r"shape 40,70,70"):
        create_layer(store, SEG, replace(NEW, shape=(40, 70, 71), labels_of="raw"))
    with pytest.raises(NotFound):
        create_layer(store, SEG, replace(NEW, labels_of="none"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": "xyz"}, "in that order"),
        ({"shape": (0, 1, 1)}, "expected 1 to"),
        ({"shape": (1, 1)}, "one for each of zyx"),
        ({"scale": (1.0, 0.0, 1.0)}, "positive"),
        ({"scale": (1.0, float("nan"), 1.0)}, "positive"),
        ({"units": ("pixel",) * 3}, "unit"),
        ({"dtype": "float32"}, "labels are one of"),
        ({"dtype": "complex64"}, "expected one of"),
        ({"kind": "image", "labels_of": "raw"}, "only labels"),
        ({"channels": ("a", "b")}, "2 names for 1"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    """Before anything is written; the message says what was expected."""
    with pytest.raises(InputError, match=words):
        replace(NEW, **change)


def test_of_two_who_create_one_layer_one_is_told_that_it_exists(
    tmp_path: Path, at_once: Callable[..., list[Any]]
) -> None:
    """Whoever comes second changes nothing of what the first has made."""

    def create(number: int) -> bool:
        try:
            create_layer(Store(str(tmp_path)), SEG, replace(NEW, created=f"time {number}"))
        except Conflict:
            return False
        return True

    assert sum(at_once(create, range(8))) == 1
