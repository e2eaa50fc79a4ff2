"""A recording at a glance: what is drawn where, and what is left out."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from microtome_core.store.location import StorageOptions, Store
from microtome_service.recording_picture import draw
from tests.recording_made import make_recording

URL = "/api/datasets/demo/sensorium/mouse/picture.webp"


@pytest.fixture(scope="module")
def made(make_caller: Callable[[Store], Any]) -> Any:  # noqa: ANN401 - a caller and what it calls
    """A caller of a store with one recording, and that."""
    store = Store("memory://glance", StorageOptions(cache_bytes=1 << 24))
    return make_caller(store), make_recording(store, "demo/sensorium/mouse")


def test_a_recording_has_a_picture(made: Any) -> None:  # noqa: ANN401
    """Of the asked width, kept by browsers for ever by its version, and made once."""
    call, _ = made
    answer = call.get(f"{URL}?size=200")
    assert answer.status_code == 200
    assert Image.open(BytesIO(answer.content)).size == (200, 150)
    summary = call.get("/api/datasets/demo/sensorium").json()["recordings"][0]
    versioned = call.get(f"{summary['links']['picture']}?size=200&version={summary['version']}")
    assert "immutable" in versioned.headers["cache-control"]
    again = call.get(f"{URL}?size=200", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert call("HEAD", f"{URL}?size=200").headers["etag"] == answer.headers["etag"]
    assert call.get(f"{URL}?version=other").status_code == 409


def test_pages_show_it_and_say_how_much_it_is(made: Any) -> None:  # noqa: ANN401
    """The catalog, and the page of its dataset, which tells its subject, too."""
    call, _ = made
    for path in ("/", "/demo/sensorium"):
        page = call.get(path).text
        assert "/mouse/picture.webp?size=" in page, path
    summary = call.get("/api/datasets/demo/sensorium").json()["recordings"][0]
    assert summary["nbytes"] > 0
    assert call.get("/demo").headers["location"] == "/?collection=demo"
    assert call.get("/other").status_code == 404


def test_the_frame_lies_above_the_responses() -> None:
    """Square pixels in the middle; below a row a neuron, each against its own largest value."""
    film = np.full((10, 20, 1), 200, np.uint8)
    film[:, 10:] = 0
    raster = np.zeros((2, 4), np.float32)
    raster[0, 3], raster[1, 0] = 9, 0.001
    page = draw(film, raster, 200)
    assert page.shape == (150, 200, 3)
    above = page[:90]
    left, right = (np.flatnonzero(above.max(axis=(0, 2))))[[0, -1]]
    assert (left, right) == (10, 99)
    below = page[92:].max(axis=-1)
    assert below[5, 195] == below[50, 5] == 255
    assert below[5, 5] < 30
    assert below[50, 195] < 30


def test_what_is_not_there_is_left_out() -> None:
    """A film alone, responses alone, and values that nobody knows."""
    assert draw(np.ones((10, 40, 1), np.uint8), None, 200).shape == (50, 200, 3)
    assert draw(None, np.ones((3, 4), np.float32), 200).shape == (150, 200, 3)
    unknown = draw(None, np.full((3, 4), np.nan, np.float32), 200)
    assert (unknown == (60, 60, 70)).all()
    infinite = np.array([[[np.inf], [0.0], [1.0]]], np.float32)
    assert draw(infinite, None, 90)[0, [0, 45, 89], 0].tolist() == [0, 0, 255]


def test_a_picture_that_costs_too_much_is_refused(
    made: Any,  # noqa: ANN401
    connect: Callable[..., Any],
) -> None:
    """Before anything is read."""
    service = made[0].app.state.service
    answer = connect(service.store, max_thumbnail_bytes=1).get(URL)
    assert answer.status_code == 413
