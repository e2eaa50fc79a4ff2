"""How often values occur: the counts, and the drawing of them."""

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service.histogram import draw, histogram

URL = "/api/datasets/demo/brain/neurons/histogram"


def test_every_voxel_of_a_level_is_counted(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Counts of each channel are NumPy's own."""
    voxels = np.random.default_rng(4).integers(0, 300, (2, 6, 20, 30)).astype("uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "czyx", voxels, levels=2)
    found = connect(disk_store).get(f"{URL}.json?level=0").json()
    assert [each["channel"] for each in found] == [0, 1]
    for each, channel in zip(found, voxels, strict=True):
        assert (each["low"], each["high"]) == (channel.min(), channel.max())
        expected, _ = np.histogram(channel, 128, (channel.min(), channel.max()))
        assert each["counts"] == expected.tolist()


@pytest.mark.parametrize("value", [0.0, np.nan, 5.0])
def test_one_value_alone_is_drawn(
    value: float,
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Constant volumes, and those without a number, have a histogram that is a picture."""
    make_builder(disk_store).layer("demo/brain/neurons", "yx", np.full((9, 9), value, "float32"))
    call = connect(disk_store)
    drawn = ElementTree.fromstring(call.get(f"{URL}.svg").text)
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert sum(call.get(f"{URL}.json").json()[0]["counts"]) == (0 if np.isnan(value) else 81)


@pytest.mark.parametrize(
    "values",
    [
        np.full(9, 3e38, "float32"),
        np.array([1e8, 1e8 + 8] * 3, "float32"),
        np.array([1.0, np.nextafter(1.0, 2.0)]),
        np.array([-1.7e308, 1.7e308]),
        np.array([0.0, 5e-324]),
        np.full(9, 2**64 - 1, "uint64"),
        np.array([-(2**63), 2**63 - 1]),
    ],
)
def test_values_too_near_or_far_for_bins_are_counted(values: np.ndarray[Any, Any]) -> None:
    """Each of them once, and drawn."""
    found = histogram(values, 0)
    assert sum(found.counts) == values.size
    assert ElementTree.fromstring(draw([found], ())).tag.endswith("svg")


def test_channels_of_which_nothing_is_told_are_drawn(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Other software may tell of one channel, where there are three."""
    voxels = np.random.default_rng(4).integers(0, 300, (3, 9, 9)).astype("uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "cyx", voxels)
    path = "demo/brain/neurons/zarr.json"
    document = json.loads(disk_store.read(path) or b"")
    del document["attributes"]["ome"]["omero"]["channels"][1:]
    disk_store.write(path, json.dumps(document).encode())
    answer = connect(disk_store).get(f"{URL}.svg")
    assert answer.status_code == 200
    assert ElementTree.fromstring(answer.text).tag.endswith("svg")


def test_layers_of_one_version_have_each_their_own(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Nobody is given what was made of another layer, whichever its version."""
    builder = make_builder(disk_store)
    for number, name in enumerate(("open", "closed")):
        builder.layer(f"demo/{name}/neurons", "yx", np.full((8, 8), number, "uint8"))
    call = connect(disk_store)
    urls = [f"/api/datasets/demo/{name}/neurons" for name in ("open", "closed")]
    assert call.get(urls[0]).json()["version"] == call.get(urls[1]).json()["version"]
    low, high = (call.get(f"{url}/histogram.json").json()[0]["low"] for url in urls)
    assert (low, high) == (0, 1)


def test_labels_have_no_values_to_count(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Their ids are names: 400."""
    ids = np.ones((4, 8, 8), "uint32")
    builder = make_builder(disk_store)
    builder.layer("demo/brain/image", "zyx", ids)
    builder.layer("demo/brain/neurons", "zyx", ids, labels_of="image")
    assert connect(disk_store).get(f"{URL}.json").status_code == 400
