"""The link to Neuroglancer holds all that it needs."""

import json
from urllib.parse import unquote, urlsplit

import httpx
import pytest

import microtome
from microtome.errors import InputError
from microtome.neuroglancer import PUBLIC
from tests.client.served import Served


def test_the_link_is_a_state(served: Served) -> None:
    """Source, voxel size in meters, the middle, and a shader with each channel and its window."""
    volume = microtome.open(served.em)
    link = volume.neuroglancer(PUBLIC)
    assert link.startswith("https://neuroglancer-demo.appspot.com/#!")
    state = json.loads(unquote(urlsplit(link).fragment[1:]))
    assert state["dimensions"]["z"] == [pytest.approx(2e-6), "m"]
    assert state["position"] == [20.0, 24.0, 10.0]
    layer = state["layers"][0]
    assert (layer["type"], layer["name"]) == ("image", "em")
    low, high = volume.channels[1].window
    assert f"c1(range=[{low:g}, {high:g}], channel=1)" in layer["shader"]
    assert "c1() * vec3(1.000, 0.000, 1.000)" in layer["shader"]
    info = httpx.get(layer["source"].removeprefix("precomputed://") + "/info").json()
    assert info["num_channels"] == 2
    assert info["scales"][0]["resolution"][2] == pytest.approx(2000)


def test_the_services_own_viewer_is_the_default(served: Served) -> None:
    """It answers, and begins with the layer; at a position the address brings the whole state."""
    volume = microtome.open(served.em)
    link = volume.level(1).neuroglancer()
    assert link == f"{served.url}/view/demo/brain/em"
    assert httpx.get(link).headers["content-type"].startswith("text/html")
    placed = volume.neuroglancer(position={"z": 3})
    assert placed.startswith(f"{link}#!")
    assert json.loads(unquote(urlsplit(placed).fragment[1:]))["position"][2] == 3.5


def test_labels_are_a_segmentation(served: Served) -> None:
    """At the place and in the viewer asked for."""
    cells = microtome.open(f"{served.url}/demo/brain/cells")
    link = cells.neuroglancer("http://viewer/x/#old", position={"z": 3})
    assert link.startswith("http://viewer/x/#!")
    state = json.loads(unquote(urlsplit(link).fragment[1:]))
    assert state["layers"][0]["type"] == "segmentation"
    assert state["position"][2] == 3.5
    with pytest.raises(InputError, match="c=: expected voxels along x, y, z"):
        cells.neuroglancer(position={"c": 1})
    with pytest.raises(InputError, match="viewer='javascript:1'"):
        cells.neuroglancer("javascript:1")
