"""What there is, as the store is now; damage in one place hides nothing elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.store.location import Store
from microtome_core.wire import LayerInfo

VOXELS = np.arange(8 * 9 * 10, dtype="uint16").reshape(8, 9, 10)


@pytest.fixture
def builder(service_store: Store, make_builder: Callable[..., Any]) -> Any:  # noqa: ANN401 - the folder's own class
    """A store with an image, its labels and a second dataset."""
    made = make_builder(service_store)
    made.layer("demo/brain/neurons", "zyx", VOXELS, levels=2, record={"source_format": "TIFF"})
    made.layer("demo/brain/cells", "zyx", VOXELS, labels_of="neurons")
    made.layer("prasad2020/tomography/scan", "zyx", VOXELS)
    return made


def test_datasets_are_listed_with_their_layers(
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """The list names every dataset and, in short, its layers, images before labels."""
    listed = connect(builder.store).get("/api/datasets").json()
    assert listed["total"] == 2
    assert [d["id"] for d in listed["datasets"]] == ["demo/brain", "prasad2020/tomography"]
    first = listed["datasets"][0]
    assert [layer["id"] for layer in first["layers"]] == ["demo/brain/neurons", "demo/brain/cells"]
    assert first["layers"][0]["shape"] == [8, 9, 10]
    assert first["layers"][1]["kind"] == "labels"


@pytest.mark.parametrize(
    ("query", "ids", "total"),
    [
        ("q=BRAIN", ["demo/brain"], 1),
        ("q=tomo prasad", ["prasad2020/tomography"], 1),
        ("q=nothing", [], 0),
        ("limit=1", ["demo/brain"], 2),
        ("limit=1&offset=1", ["prasad2020/tomography"], 2),
        ("offset=7", [], 2),
    ],
)
def test_the_list_is_filtered_and_paged(
    query: str,
    ids: list[str],
    total: int,
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """Words filter by address, and total counts what they let pass."""
    listed = connect(builder.store).get(f"/api/datasets?{query}").json()
    assert [d["id"] for d in listed["datasets"]] == ids
    assert listed["total"] == total


def test_a_layer_is_described_in_the_words_that_clients_share(
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """LayerInfo reads the JSON back; links lead to answers."""
    call = connect(builder.store)
    document = call.get("/api/datasets/demo/brain/neurons").json()
    info = LayerInfo.from_json(document)
    assert (info.id, info.kind, info.axes, info.dtype) == (
        "demo/brain/neurons",
        "image",
        "zyx",
        "uint16",
    )
    assert [level.shape for level in info.levels] == [(8, 9, 10), (4, 5, 5)]
    assert info.units == ("micrometer",) * 3
    assert info.channels[0].window == (0.0, 200.0)
    assert info.attrs == {"source_format": "TIFF"}
    links = document["links"]
    assert call.get(links["page"]).status_code == 200
    assert call.get(links["thumbnail"]).status_code == 200
    assert call.get(links["cutout"].partition("{")[0]).status_code == 200
    plane = {"plane": "xy", "level": 0, "index": 0, "row": 0, "col": 0, "extension": "png"}
    assert call.get(links["tiles"].partition("{?")[0].format(**plane)).status_code == 200


@pytest.mark.parametrize(
    "url", ["/api/datasets/demo/none", "/api/datasets/none/brain", "/api/datasets/demo/brain/none"]
)
def test_what_is_not_there_is_404(
    url: str,
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """An unknown collection, dataset or layer is a problem document of status 404."""
    answer = connect(builder.store).get(url)
    assert answer.status_code == 404
    assert answer.json()["error"] == "NotFound"


def test_a_new_layer_appears_and_a_replaced_one_changes_without_a_restart(
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """A running service sees what is published after it began, voxels and version alike."""
    call = connect(builder.store)
    assert call.get("/api/datasets/demo/brain/late").status_code == 404
    builder.layer("demo/brain/late", "zyx", VOXELS)
    before = call.get("/api/datasets/demo/brain/late").json()
    cutout = "/api/datasets/demo/brain/late/cutout?format=raw"
    assert call.get(cutout).content == VOXELS.tobytes()
    builder.store.delete("demo/brain/late")
    other = (VOXELS + 1)[:, :5]
    builder.layer("demo/brain/late", "zyx", other, record={"source_format": "other"})
    after = call.get("/api/datasets/demo/brain/late").json()
    assert after["version"] != before["version"]
    assert after["levels"][0]["shape"] == [8, 5, 10]
    assert call.get(cutout).content == other.tobytes()
    assert "demo/brain/late" in call.get("/api/datasets").text
    builder.store.delete("demo/brain/late")
    assert call.get(cutout).status_code == 404


def _scales(document: dict[str, Any]) -> dict[str, Any]:
    scales: dict[str, Any] = document["attributes"]["ome"]["multiscales"][0]
    return scales


def _short_scale(document: dict[str, Any]) -> None:
    short = [{"type": "scale", "scale": [1.0]}]
    _scales(document)["datasets"][0]["coordinateTransformations"] = short


def _nan_window(document: dict[str, Any]) -> None:
    channel = document["attributes"]["ome"]["omero"]["channels"][0]
    channel["window"]["start"] = float("nan")


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": dict.clear,
    "attributes are a list": lambda d: d.update(attributes=[1]),
    "ome is a list": lambda d: d["attributes"].update(ome=["multiscales"]),
    "no level": lambda d: _scales(d).update(datasets=[]),
    "level is absent": lambda d: _scales(d)["datasets"][0].update(path="7"),
    "scale is short": _short_scale,
    "axes are strange": lambda d: _scales(d).update(axes=[{"name": "z", "type": "space"}] * 3),
    "window is NaN": _nan_window,
    "record is a list": lambda d: d["attributes"].update(nwb=[1]),
    "record holds half a character": lambda d: d["attributes"].update(nwb={"a": "\ud800"}),
    "record is too deep": lambda d: d["attributes"].update(nwb=_nested(400)),
}


def _break(store: Store, how: str) -> None:
    path = "demo/brain/bad/zarr.json"
    document = json.loads(store.read(path) or b"")
    DAMAGE[how](document)
    store.write(path, json.dumps(document).encode() if document else b"{")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_layer_is_named_and_hides_no_other(
    how: str,
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """The list reports it with its error, serves the others, and itself it is 503."""
    builder.layer("demo/brain/bad", "zyx", VOXELS)
    _break(builder.store, how)
    call = connect(builder.store)
    answer = call.get("/api/datasets/demo/brain")
    assert answer.status_code == 200
    by_id = {layer["id"]: layer for layer in answer.json()["layers"]}
    assert "damaged" in by_id["demo/brain/bad"]["error"]
    assert by_id["demo/brain/neurons"]["shape"] == [8, 9, 10]
    assert call.get("/api/datasets").json()["total"] == 2
    assert "damaged" in call.get("/demo/brain").text
    alone = call.get("/api/datasets/demo/brain/bad")
    assert alone.status_code == 503
    assert call.get("/api/datasets/demo/brain/bad/cutout").status_code == 503
    root = builder.store.url.removeprefix("file://")
    assert root.startswith("memory") or root not in alone.text + answer.text


def test_a_folder_that_cannot_be_listed_is_503(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Storage that fails is not an empty list: the answer is 503 and names no path."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", VOXELS)
    root = Path(disk_store.url.removeprefix("file://"))
    (root / "demo/brain").rename(root / "moved")
    (root / "demo/brain").symlink_to(root / "demo/brain")
    call = connect(disk_store)
    answer = call.get("/api/datasets/demo/brain/neurons")
    assert answer.status_code == 503
    assert str(root) not in answer.text


def test_who_has_the_description_gets_304(
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """A layer's JSON has an ETag of its version."""
    call = connect(builder.store)
    url = "/api/datasets/demo/brain/neurons"
    etag = call.get(url).headers["etag"]
    assert call.get(url, headers={"If-None-Match": etag}).status_code == 304


def test_voxels_of_labels_are_read_by_their_own_name(
    builder: Any,  # noqa: ANN401 - the folder's own class
    connect: Callable[..., Any],
) -> None:
    """A label layer lies below its image on disk, and beside it over HTTP."""
    answer = connect(builder.store).get("/api/datasets/demo/brain/cells/cutout?format=raw")
    read: NDArray[Any] = np.frombuffer(answer.content, "<u2").reshape(VOXELS.shape)
    np.testing.assert_array_equal(read, VOXELS)
