"""The viewer's first scene, and its page as it is sent; what it draws is for the browser to say."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from microtome_core.names import DatasetId
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from microtome_core.wire import Channel, LayerInfo, LevelInfo
from microtome_service.pages import Pages
from microtome_service.routes import viewer
from microtome_service.scene import is_measured, shader

EVIL = 'dye"); } // </script>\n#uicontrol float x slider'


@pytest.fixture
def call(disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]) -> Any:  # noqa: ANN401 - the folder's own class
    """A caller of a store with two images, one of them in time, and labels."""
    builder = make_builder(disk_store)
    dice = np.random.default_rng(0)
    builder.layer("demo/brain/dyes", "czyx", dice.integers(0, 99, (8, 6, 20, 30), "uint16"))
    builder.layer("demo/brain/film", "tyx", dice.integers(0, 99, (3, 20, 30), "uint8"))
    builder.layer("demo/brain/cells", "zyx", dice.integers(0, 9, (6, 20, 30), "uint32"),
                  labels_of="dyes")  # fmt: skip
    return connect(disk_store)


def layers(call: Any, query: str = "") -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Return the layers of a scene by name."""
    told = call.get(f"/api/scenes/demo/brain{query}")
    assert told.status_code == 200, told.text
    return {each["name"]: each for each in told.json()["layers"]}


def test_a_scene_has_every_layer_and_shows_one_image(call: Any) -> None:  # noqa: ANN401
    """Images come first, one of them is visible, labels lie over it."""
    found = layers(call)
    assert list(found) == ["dyes", "film", "cells"]
    assert [each.get("visible", True) for each in found.values()] == [True, False, True]
    assert [each["type"] for each in found.values()] == ["image", "image", "segmentation"]
    assert found["cells"]["source"] == "precomputed://http://test/precomputed/demo/brain/cells"


def test_the_first_look_is_at_the_middle_in_meters(call: Any) -> None:  # noqa: ANN401
    """Voxel sizes are metres along x, y, z; the position is the middle voxel; planes fit."""
    told = call.get("/api/scenes/demo/brain").json()
    assert {a: round(v[0] * 1e9) for a, v in told["dimensions"].items()} == {
        "x": 500, "y": 500, "z": 2000,
    }  # fmt: skip
    assert told["position"] == [15, 10, 3]
    assert 30 / told["crossSectionScale"] == pytest.approx(360)
    assert told["layout"] == "4panel"
    assert call.get("/api/scenes/demo/brain?layer=film").json()["layout"] == "xy"


def test_each_channel_has_its_colour_contrast_and_switch(call: Any) -> None:  # noqa: ANN401
    """Of more than six channels the first six are on."""
    shader = layers(call)["dyes"]["shader"]
    for number, color in enumerate(("00FF00", "FF00FF", "FFFFFF", "FF8000") * 2):
        assert f"contrast{number}(channel={number}, range=[0.0, 200.0])" in shader
        assert f'color{number} color(default="#{color}")' in shader
        on = "true" if number < 6 else "false"
        assert f"show{number} checkbox(default={on})" in shader


def test_a_time_point_is_another_view(call: Any) -> None:  # noqa: ANN401
    """Layers without so many time points show their last."""
    found = layers(call, "?t=9")
    assert found["film"]["source"].endswith("/precomputed/demo/brain/film/t2")
    assert found["dyes"]["source"].endswith("/precomputed/demo/brain/dyes")


def test_an_unknown_unit_is_told() -> None:
    """The viewer knows nanometres alone, so its page says where they are none."""
    level = LevelInfo((4, 8, 8), (4, 8, 8), (4, 8, 8), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    raw = LayerInfo("a/b/raw", "image", "zyx", (None,) * 3, "uint8", (level,), (), "", {})
    told = {
        "title": "", "base": "", "name": "a/b/raw", "page": "", "scene": "", "links": False,
        "build": {"digest": ""}, "t": 0, "times": 1, "measured": is_measured(raw),
    }  # fmt: skip
    page = bytes(Pages("Brains").page("viewer.html", told).body).decode()
    assert "Nobody knows the size of these voxels" in page
    assert is_measured(replace(raw, units=("micrometer",) * 3))


def test_every_time_point_can_be_reached(
    call: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    """The viewer's page has a form for them, and opens on the one that is asked for."""
    built = tmp_path / "build.json"
    built.write_text(json.dumps({"neuroglancer": "2", "digest": "abc123"}))
    monkeypatch.setattr(viewer, "BUILT", built)
    page = call.get("/view/demo/brain/film?t=2").text
    assert 'name="t" type="number" min="0" max="2" value="2"' in page
    assert "layer=film&amp;t=2" in page
    assert 'name="t"' not in call.get("/view/demo/brain/dyes").text


def test_a_dataset_without_pictures_has_no_viewer(
    disk_store: Store, connect: Callable[..., Any]
) -> None:
    """Its address says so, and leads to the page of the dataset."""
    ensure_groups(disk_store, DatasetId("demo", "words"))
    answer = connect(disk_store).get("/view/demo/words")
    assert answer.status_code == 404
    assert '<a href="/demo/words">' in answer.text


def test_names_of_channels_stay_within_their_line() -> None:
    """A name is a comment and cannot end it."""
    lines = shader([Channel(EVIL, "FFFFFF", (0, 1))]).splitlines()
    assert sum("uicontrol" in line and not line.startswith("//") for line in lines) == 2
    assert shader([Channel("dye\\", "FFFFFF", (0, 1))]).splitlines()[0] == "// dye/"


@pytest.mark.parametrize(
    ("query", "status"), [("?layer=none", 404), ("?t=-1", 422), ("?wrong=1", 400)]
)
def test_a_wrong_question_is_told(call: Any, query: str, status: int) -> None:  # noqa: ANN401
    """An absent layer is 404, a bad number 422, an unknown word 400."""
    assert call.get(f"/api/scenes/demo/brain{query}").status_code == status


@pytest.mark.parametrize("path", ["demo/none", "demo/brain/none"])
def test_there_is_no_viewer_of_what_is_absent(call: Any, path: str) -> None:  # noqa: ANN401
    """Its page is 404, as the layer's own."""
    assert call.get(f"/view/{path}").status_code == 404


def test_without_a_build_the_page_says_how_to_make_one(
    call: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    """The page names the command to run."""
    monkeypatch.setattr(viewer, "BUILT", tmp_path / "build.json")
    answer = call.get("/view/demo/brain")
    assert answer.status_code == 200
    assert "make viewer" in answer.text


def test_the_page_starts_what_was_built_under_a_strict_policy(
    call: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    """Scripts come from this host alone, none of them inline."""
    built = tmp_path / "build.json"
    built.write_text(json.dumps({"neuroglancer": "2", "digest": "abc123"}))
    monkeypatch.setattr(viewer, "BUILT", built)
    answer = call.get("/view/demo/brain/dyes")
    assert answer.status_code == 200
    assert "main.bundle.js?abc123" in answer.text
    assert "/api/scenes/demo/brain?layer=dyes&amp;t=0" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "unsafe-inline" not in policy
