"""Layers on disk: visible once published, found by their address, never half read."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from microtome_core.errors import NotFound, StorageError
from microtome_core.levels import pyramid
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.array import ArraySpec, create_array
from microtome_core.store.layer import (
    ensure_groups,
    find_layer,
    label_names,
    labels_path,
    list_datasets,
    publish_layer,
    read_layer,
)
from microtome_core.store.location import Store
from microtome_core.store.ome import Ome, multiscale, omero
from microtome_core.wire import Channel

BRAIN = LayerId("demo", "mouse", "brain")
Write = Callable[[Store, str], dict[str, Any]]


@pytest.fixture
def write() -> Write:
    """Return a function that writes the arrays of a layer and returns its attributes."""

    def write(store: Store, path: str) -> dict[str, Any]:
        levels = pyramid("zyx", (8, 64, 64), (1.0, 0.5, 0.5), (8, 16, 16))
        for index, level in enumerate(levels):
            chunk = tuple(map(min, (8, 16, 16), level.shape))
            shard = tuple(map(min, (8, 32, 32), level.shape))
            create_array(
                store, f"{path}/{index}", ArraySpec("zyx", level.shape, chunk, shard, "uint16")
            )
        scales = multiscale("brain", "zyx", ("micrometer",) * 3, levels, "mean")
        shown = omero([Channel("GFP", "00FF00", (1, 9))], 0, 65535)
        return {"ome": Ome(multiscales=[scales], omero=shown).to_json(), "nwb": {"who": "me"}}

    return write


def test_a_layer_is_visible_once_it_is_published(store: Store, write: Write) -> None:
    """Arrays alone are no layer; with their metadata they are, with all that one needs to know."""
    attributes = write(store, str(BRAIN))
    with pytest.raises(NotFound, match="demo/mouse/brain"):
        read_layer(store, BRAIN)
    ensure_groups(store, BRAIN.parent)
    publish_layer(store, str(BRAIN), attributes)
    info = read_layer(store, BRAIN).info
    assert (info.axes, info.dtype, info.shape, info.kind) == ("zyx", "uint16", (8, 64, 64), "image")
    assert (info.levels[0].chunk, info.levels[0].shard) == ((8, 16, 16), (8, 32, 32))
    assert info.channels == (Channel("GFP", "00FF00", (1, 9)),)
    assert info.attrs == {"who": "me"}
    assert list(list_datasets(store)) == [DatasetId("demo", "mouse")]


def test_publishing_anew_changes_the_version(store: Store, write: Write) -> None:
    """Whoever holds the old description can tell."""
    attributes = write(store, str(BRAIN))
    publish_layer(store, str(BRAIN), attributes)
    before = read_layer(store, BRAIN).info.version
    publish_layer(store, str(BRAIN), {**attributes, "nwb": {"who": "you"}})
    assert read_layer(store, BRAIN).info.version != before


def test_labels_are_listed_with_their_image(store: Store, write: Write) -> None:
    """Label layers below an image are in its list, and found by their own address."""
    publish_layer(store, str(BRAIN), write(store, str(BRAIN)))
    for name in ("somas", "axons"):
        path = labels_path(BRAIN, name)
        attributes = write(store, path)
        attributes["ome"]["image-label"] = {"version": "0.5"}
        publish_layer(store, path, attributes)
    assert label_names(store, str(BRAIN)) == ["axons", "somas"]
    somas = LayerId("demo", "mouse", "somas")
    assert find_layer(store, somas) == "demo/mouse/brain/labels/somas"
    assert read_layer(store, somas).info.kind == "labels"


def test_labels_that_are_listed_but_hidden_are_not_found(store: Store, write: Write) -> None:
    """A label layer that is being replaced is absent, not damaged."""
    publish_layer(store, str(BRAIN), write(store, str(BRAIN)))
    path = labels_path(BRAIN, "somas")
    publish_layer(store, path, write(store, path))
    store.remove(f"{path}/zarr.json")
    with pytest.raises(NotFound, match="demo/mouse/somas"):
        read_layer(store, LayerId("demo", "mouse", "somas"))


def test_a_dataset_named_labels_lists_none(store: Store, write: Write) -> None:
    """Only the folder of that name below an image is a list of labels."""
    brain = LayerId("demo", "labels", "brain")
    ensure_groups(store, brain.parent)
    publish_layer(store, str(brain), write(store, str(brain)))
    assert label_names(store, "demo") == []
    assert read_layer(store, brain).info.id == "demo/labels/brain"


def test_transformations_of_a_pyramid_follow_those_of_its_levels(
    store: Store, write: Write
) -> None:
    """So other software tells the voxel size of all levels at once: sizes and places follow it."""
    attributes = write(store, str(BRAIN))
    scales = attributes["ome"]["multiscales"][0]
    scales["coordinateTransformations"] = [
        {"type": "identity"},
        {"type": "scale", "scale": [2.0, 10.0, 10.0]},
        {"type": "translation", "translation": [1.0, 0.0, -3.0]},
    ]
    publish_layer(store, str(BRAIN), attributes)
    first, second = read_layer(store, BRAIN).info.levels[:2]
    assert (first.scale, first.translation) == ((2.0, 5.0, 5.0), (1.0, 0.0, -3.0))
    assert (second.scale, second.translation) == ((2.0, 10.0, 10.0), (1.0, 2.5, -0.5))


@pytest.mark.parametrize("count", [0, 2])
def test_channels_that_an_image_lacks_are_not_told(store: Store, write: Write, count: int) -> None:
    """Where other software lists more or fewer than there are, each is shown by its number."""
    attributes = write(store, str(BRAIN))
    attributes["ome"]["omero"]["channels"] *= count
    publish_layer(store, str(BRAIN), attributes)
    assert read_layer(store, BRAIN).info.channels == (
        Channel("channel-0", "FFFFFF", (0.0, 65535.0)),
    )


@pytest.mark.parametrize("told", [{}, {"label": ""}])
def test_a_channel_without_a_name_is_numbered(
    store: Store, write: Write, told: dict[str, str]
) -> None:
    """OME-Zarr asks channels for a colour and a window, not for a label."""
    attributes = write(store, str(BRAIN))
    shown = attributes["ome"]["omero"]["channels"][0]
    del shown["label"]
    shown |= told
    publish_layer(store, str(BRAIN), attributes)
    assert [c.name for c in read_layer(store, BRAIN).info.channels] == ["channel-0"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{",
        b'{"attributes": []}',
        b'{"attributes": {"ome": 5}}',
        b'{"attributes": {"ome": {"version": "0.5", "multiscales": []}}}',
        b'{"attributes": {"ome": {"version": "9", "multiscales": [{}]}}}',
    ],
)
def test_damaged_metadata_is_a_storage_error(store: Store, document: bytes) -> None:
    """Metadata that cannot be read is a failure of storage that names the layer."""
    store.write(f"{BRAIN}/zarr.json", document)
    with pytest.raises(StorageError, match="demo/mouse/brain"):
        read_layer(store, BRAIN)


def test_a_missing_array_is_a_storage_error(store: Store, write: Write) -> None:
    """Metadata without its voxels is no empty volume."""
    publish_layer(store, str(BRAIN), write(store, str(BRAIN)))
    store.delete(f"{BRAIN}/0")
    with pytest.raises(StorageError, match="demo/mouse/brain/0"):
        read_layer(store, BRAIN)


def test_groups_above_a_layer_keep_what_they_hold(store: Store) -> None:
    """Folders above become Zarr groups; attributes that are there stay."""
    record = {"zarr_format": 3, "node_type": "group", "attributes": {"license": "CC0"}}
    store.write("demo/mouse/zarr.json", json.dumps(record).encode())
    ensure_groups(store, BRAIN.parent)
    assert json.loads(store.read("demo/mouse/zarr.json") or b"") == record
    assert json.loads(store.read("demo/zarr.json") or b"")["node_type"] == "group"
