"""A layer from three sides: what is drawn where, what lies over it, and that it is made once."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from microtome_core.store.location import Store

URL = "/api/datasets/demo/brain/neurons/montage.webp"
SHAPE = (8, 20, 30)


def picture(answer: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - httpx's
    """Read a body."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    return np.asarray(Image.open(BytesIO(answer.content)).convert("RGB"))


@pytest.fixture
def call(disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]) -> Any:  # noqa: ANN401 - the folder's own class
    """A caller of a dark volume with one bright corner, and labels in another."""
    builder = make_builder(disk_store)
    voxels = np.zeros(SHAPE, "uint16")
    voxels[:2, :5, :10] = 200
    ids = np.zeros(SHAPE, "uint32")
    ids[6:, 15:, 20:] = 7
    builder.layer("demo/brain/neurons", "zyx", voxels, levels=2)
    builder.layer("demo/brain/cells", "zyx", ids, labels_of="neurons")
    return connect(disk_store)


@pytest.mark.parametrize("what", ["montage.webp", "thumbnail.png", "histogram.json"])
def test_what_other_limits_show_is_another_picture(
    what: str, disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """The middle planes of a volume are not what was kept of its whole depth."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((40, 20, 30), "uint16"))
    narrow = {"max_thumbnail_bytes": 50_000, "max_decoded_bytes": 50_000}
    answers = [
        connect(disk_store, **limits).get(f"/api/datasets/demo/brain/neurons/{what}")
        for limits in ({}, narrow)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].headers["etag"] != answers[1].headers["etag"]


def test_three_planes_lie_side_by_side(call: Any) -> None:  # noqa: ANN401
    """Voxels are 2 µm deep and 0.5 wide: the panes are 15 by 10, 15 by 16 and 16 by 10 µm."""
    drawn = picture(call.get(f"{URL}?size=248"))
    rows, columns = drawn.shape[:2]
    assert (columns - 2) / (rows - 2) == pytest.approx((15 + 16) / (10 + 16), rel=0.02)
    right, down = round((columns - 2) * 15 / 31), round((rows - 2) * 10 / 26)
    bright = drawn[..., 1] > 150
    # In xy the bright corner is a third of the width and a quarter of the height.
    assert bright[: down // 4 - 2, : right // 3 - 2].all()
    assert not bright[down // 4 + 4 : down, :right].any()
    # In yz z runs to the right: the first quarter of the pane; in xz it runs down.
    assert bright[: down // 4 - 2, right + 4 : right + (columns - right) // 4 - 4].all()
    assert bright[down + 4 : down + (rows - down) // 4 - 4, : right // 3 - 2].all()


def test_labels_lie_over_their_image(call: Any) -> None:  # noqa: ANN401
    """Pixels of an id get colour, all others stay as they were."""
    plain, over = (
        picture(call.get(f"{URL}?size=248")),
        picture(call.get(f"{URL}?labels=cells&size=248")),
    )
    changed = np.abs(plain.astype(int) - over).max(axis=-1) > 24
    # The pane of xy is 107 by 72 pixels; the id covers its last third and quarter.
    assert changed[57:69, 75:104].all()
    assert not changed[:50, :68].any()


def test_a_wrong_question_is_told(call: Any) -> None:  # noqa: ANN401
    """Labels that are absent or none, a size that is too small, another version."""
    for words, status in (
        ("?labels=none", 404),
        ("?labels=neurons", 400),
        ("?labels=A", 422),
        ("?size=3", 422),
        ("?version=0", 409),
        ("?other=1", 400),
    ):
        assert call.get(f"{URL}{words}").status_code == status, words


def test_it_is_made_once(
    call: Any,  # noqa: ANN401 - the folder's own class
    disk_store: Store,
    shards: Callable[[Store], list[Any]],
) -> None:
    """What was made is given again without a look at the voxels, and not at all to who has it."""
    first = call.get(URL)
    for shard in shards(disk_store):
        shard.unlink()
    assert call.get(URL).content == first.content
    held = call.get(URL, headers={"If-None-Match": first.headers["etag"]})
    assert held.status_code == 304
    assert call("HEAD", URL).headers["etag"] == first.headers["etag"]


def test_where_all_of_it_costs_too_much_the_middle_planes_are_shown(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """The voxels of the middle are drawn; those of other planes are not projected over them."""
    voxels = np.zeros((64, 64, 64), "uint8")
    voxels[0] = 200
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    assert picture(connect(disk_store).get(URL)).max() > 150
    few = connect(disk_store, max_thumbnail_bytes=3 * 64 * 64 * 8)
    drawn = picture(few.get(URL))
    # Of z = 0 no more is seen than the edges of xz and yz, which it crosses.
    assert drawn[: drawn.shape[0] // 5, : drawn.shape[1] // 5].max() < 20
    assert drawn.max() > 100


def test_a_plane_has_one_pane(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Without z the picture is the plane."""
    make_builder(disk_store).layer("demo/brain/neurons", "yx", np.full((30, 40), 200, "uint8"))
    assert picture(connect(disk_store).get(f"{URL}?size=80")).shape == (60, 80, 3)
