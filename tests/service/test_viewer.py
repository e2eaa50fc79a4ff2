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
from microtome_service.scene import shader
from microtome_service.scene_space import is_measured, space_of

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
    told = call.get("/api/scenes/demo/brain?layer=dyes").json()
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


@pytest.mark.parametrize("axes", ["cyx", "tcyx"])
def test_an_image_of_whose_looks_nothing_is_told_is_seen(
    axes: str, disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Other software tells of no channels, or of a window without width: all values are seen."""
    for name in ("bare", "flat"):
        voxels = np.ones([2 if axis in "tc" else 8 for axis in axes], "uint16")
        make_builder(disk_store).layer(f"demo/{name}/em", axes, voxels, window=(5, 5))
    path = "demo/bare/em/zarr.json"
    document = json.loads(disk_store.read(path) or b"")
    del document["attributes"]["ome"]["omero"]
    disk_store.write(path, json.dumps(document).encode())
    call = connect(disk_store)
    for name in ("bare", "flat"):
        told = call.get(f"/api/scenes/demo/{name}").json()["layers"]
        text = "".join(each["shader"] for each in told)
        assert text.count("#uicontrol invlerp") == 2
        assert text.count("range=[0.0, 65535.0]") == 2


def test_a_unit_that_nobody_knows_counts_as_none() -> None:
    """Other software may write any word; it hides no other layer of the dataset."""
    odd, known = _info("tzyx", ("frames", *["parsec"] * 3)), _info("zyx", ("micrometer",) * 3)
    assert not is_measured(odd)
    space = space_of([odd, known], alone=True)
    assert (space.timed, space.step(odd, "x")) == (False, [pytest.approx(2e-9), "m"])
    assert space_of([odd], alone=True).step(odd, "t") == [2.0, ""]


def test_what_has_time_points_has_an_axis_of_time(call: Any) -> None:  # noqa: ANN401
    """It is read as Zarr; the first look is at the time that is asked for, or at the last."""
    told = call.get("/api/scenes/demo/brain?t=9").json()
    film = next(each for each in told["layers"] if each["name"] == "film")
    assert film["source"]["url"] == "zarr3://http://test/zarr/demo/brain/film"
    assert list(told["dimensions"]) == ["x", "y", "z", "t"]
    assert told["displayDimensions"] == ["x", "y", "z"]
    assert told["position"][3] == 2.5
    dyes = next(each for each in told["layers"] if each["name"] == "dyes")
    assert dyes["source"] == "precomputed://http://test/precomputed/demo/brain/dyes"


def test_a_type_that_the_viewer_lacks_is_shown_a_time_point_at_a_time(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """As a precomputed volume of another type; of fewer time points the last."""
    voxels = np.zeros((3, 4, 5), "float64")
    make_builder(disk_store).layer("demo/long/film", "tyx", voxels)
    told = connect(disk_store).get("/api/scenes/demo/long?t=9").json()
    assert told["layers"][0]["source"].endswith("/precomputed/demo/long/film/t2")
    assert "t" not in told["dimensions"]


def _info(axes: str, units: tuple[str | None, ...], **changes: Any) -> LayerInfo:  # noqa: ANN401
    shape = tuple({"t": 3, "c": 2}.get(axis, 8) for axis in axes)
    level = LevelInfo(shape, shape, shape, (2.0,) * len(axes), (0.0,) * len(axes))
    made = LayerInfo("a/b/raw", "image", axes, units, "uint8", (level,), (), "", {})
    return replace(made, **changes)


def test_an_unknown_unit_is_none_where_nothing_else_has_one() -> None:
    """Axes without a unit; beside what is measured a length stands for it, and the page says so."""
    raw = _info("zyx", (None,) * 3)
    assert not is_measured(raw)
    alone = space_of([raw], alone=True)
    assert alone.by_zarr(raw)
    assert alone.transform(raw)["outputDimensions"] == {axis: [2.0, ""] for axis in "zyx"}
    known = _info("zyx", ("micrometer",) * 3)
    for space in (space_of([raw, known], alone=True), space_of([raw], alone=False)):
        assert not space.by_zarr(raw)
        assert space.step(raw, "x") == [pytest.approx(2e-9), "m"]
    assert space_of([known], alone=True).step(known, "z") == [pytest.approx(2e-6), "m"]
    signed = _info("zyx", (None,) * 3, kind="labels", dtype="int32")
    assert not space_of([raw, signed], alone=True).by_zarr(raw)
    told = {
        "title": "", "base": "", "name": "a/b/raw", "page": "", "scene": "", "links": False,
        "build": {"digest": ""}, "t": 0, "times": 1, "unknown": ["a/b/raw"],
    }  # fmt: skip
    page = bytes(Pages("Brains").page("viewer.html", told).body).decode()
    assert "Nobody knows the size of the voxels of a/b/raw" in page


def test_times_are_in_seconds_if_any_is_known() -> None:
    """One axis has one unit."""
    known = _info("tyx", ("millisecond", "micrometer", "micrometer"))
    unknown = _info("tyx", (None, "micrometer", "micrometer"))
    space = space_of([known, unknown], alone=True)
    assert space.step(known, "t") == [pytest.approx(0.002), "s"]
    assert space.step(unknown, "t") == [2.0, "s"]
    assert space_of([unknown], alone=True).step(unknown, "t") == [2.0, ""]


def test_every_time_point_can_be_reached(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,  # noqa: ANN401
) -> None:
    """By the viewer's own axis, or else by a form; it opens on the one that is asked for."""
    builder = make_builder(disk_store)
    for name, dtype in (("film", "uint8"), ("long", "float64")):
        builder.layer(f"demo/brain/{name}", "tyx", np.zeros((3, 4, 5), dtype))
    call = connect(disk_store)
    built = tmp_path / "build.json"
    built.write_text(json.dumps({"neuroglancer": "2", "digest": "abc123"}))
    monkeypatch.setattr(viewer, "BUILT", built)
    page = call.get("/view/demo/brain/long?t=2").text
    assert 'name="t" type="number" min="0" max="2" value="2"' in page
    page = call.get("/view/demo/brain/film?t=2").text
    assert "layer=film&amp;t=2" in page
    assert 'name="t"' not in page


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
