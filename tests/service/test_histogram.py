"""How often values occur: the counts, and the drawing of them."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from microtome_core.store.location import Store

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


def test_labels_have_no_values_to_count(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Their ids are names: 400."""
    ids = np.ones((4, 8, 8), "uint32")
    builder = make_builder(disk_store)
    builder.layer("demo/brain/image", "zyx", ids)
    builder.layer("demo/brain/neurons", "zyx", ids, labels_of="image")
    assert connect(disk_store).get(f"{URL}.json").status_code == 400
