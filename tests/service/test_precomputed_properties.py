"""What is known of segments, as Neuroglancer's ``segment_properties``."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.store.location import Store
from microtome_service.precomputed.properties import has_properties, segment_properties

URL = "/precomputed/demo/brain/cells"


def served(
    store: Store,
    made: Callable[..., Any],
    connect: Callable[..., Any],
    properties: object,
) -> Any:  # noqa: ANN401 - a caller
    """Write labels of which something is known, as other software does."""
    made(store).layer("demo/brain/image", "zyx", np.ones((2, 2, 2), "uint8"))
    ids = np.ones((2, 2, 2), "uint64")
    made(store).layer("demo/brain/cells", "zyx", ids, labels_of="image")
    path = "demo/brain/image/labels/cells/zarr.json"
    document = json.loads(store.read(path) or b"")
    document["attributes"]["ome"]["image-label"]["properties"] = properties
    store.write(path, json.dumps(document).encode())
    return connect(store)


def test_properties_of_labels_are_listed(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """What stands in ``image-label`` is found by way of ``info``, in every view."""
    known = [{"label-value": 2**64 - 1, "name": "soma", "area": 12}, {"label-value": 7, "area": 3}]
    app = served(disk_store, make_builder, connect, known)
    for view in ("", "/raw"):
        folder = app.get(f"{URL}{view}/info").json()["segment_properties"]
        told = app.get(f"{URL}{view}/{folder}/info").json()
        assert told == {
            "@type": "neuroglancer_segment_properties",
            "inline": {
                "ids": ["18446744073709551615", "7"],
                "properties": [
                    {"id": "name", "type": "label", "values": ["soma", ""]},
                    {"id": "area", "type": "number", "data_type": "uint8", "values": [12, 3]},
                ],
            },
        }


@pytest.mark.parametrize("properties", [None, [], 5, ["x"], [{"label-value": 1}], [{"area": 1}],
                                        [{"label-value": -1, "a": 1}]])  # fmt: skip
def test_where_nothing_is_known_nothing_is_said(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    properties: object,
) -> None:
    """``info`` names no properties, and there are none, whatever others wrote in their place."""
    app = served(disk_store, make_builder, connect, properties)
    assert "segment_properties" not in app.get(f"{URL}/info").json()
    assert app.get(f"{URL}/segment_properties/info").status_code == 404


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"a": 1, "b": 2}, ("number", "uint8")),
        ({"a": -1, "b": 2}, ("number", "int8")),
        ({"a": 70000, "b": 2}, ("number", "uint32")),
        ({"a": -70000, "b": 2}, ("number", "int32")),
        ({"a": 1 << 40, "b": 2}, ("number", "float32")),
        ({"a": 0.5, "b": 2}, ("number", "float32")),
        ({"a": 1}, ("string", None)),
        ({"a": True, "b": 2}, ("string", None)),
        ({"a": float("nan"), "b": 2}, ("string", None)),
        ({"a": "x", "b": 2}, ("string", None)),
        ({"a": [1], "b": {}}, ("string", None)),
    ],
)
def test_numbers_stay_numbers_where_all_have_one(
    values: dict[str, object], kind: tuple[str, str | None]
) -> None:
    """The smallest type that holds them; else text, and nothing is lost."""
    places = {"a": 1, "b": 2}
    segments = [
        {"label-value": number, **({"size": values[key]} if key in values else {})}
        for key, number in places.items()
    ]
    [told] = segment_properties(segments)["inline"]["properties"]
    assert (told["type"], told.get("data_type")) == kind
    assert len(told["values"]) == 2
    if kind[0] == "string":
        assert all(isinstance(value, str) for value in told["values"])


def test_of_each_word_of_the_format_there_is_one() -> None:
    """A second label or tags that are none become text; tags are sorted, each id's by place."""
    segments: list[dict[str, Any]] = [
        {"label-value": 1, "label": "a", "Name": "A", "description": "d", "tags": ["x", "b", "x"]},
        {"label-value": 2, "label": "b", "tags": ["b"], "Tags": ["two words"]},
        {"label-value": 1, "label": "again"},
    ]
    assert has_properties(segments)
    told = segment_properties(segments)["inline"]
    assert told["ids"] == ["1", "2"]
    kinds = {one["id"]: one["type"] for one in told["properties"]}
    assert kinds == {"label": "label", "Name": "string", "description": "description",
                     "tags": "tags", "Tags": "string"}  # fmt: skip
    tags = next(one for one in told["properties"] if one["type"] == "tags")
    assert (tags["tags"], tags["values"]) == (["b", "x"], [[0, 1], [0]])
