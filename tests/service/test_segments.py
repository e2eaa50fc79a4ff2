"""Ids of labels: which there are, and how far each reaches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.store.location import Store
from microtome_service import segments

IDS = "/api/datasets/demo/brain/cells/ids"
SHAPE = (10, 20, 30)


@pytest.fixture
def cells(disk_store: Store, make_builder: Callable[..., Any]) -> NDArray[Any]:
    """Write an image and labels of it into `disk_store` and return the ids."""
    rng = np.random.default_rng(3)
    ids = np.where(rng.random(SHAPE) < 0.02, rng.integers(1, 9, SHAPE), 0).astype("uint64")
    ids[2, 3, 4] = 2**64 - 1
    builder = make_builder(disk_store)
    builder.layer("demo/brain/em", "zyx", np.ones(SHAPE, "uint8"))
    builder.layer("demo/brain/cells", "zyx", ids, levels=2, labels_of="em")
    return ids


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Draw a box within the layer."""
    lows = [draw(st.integers(0, n - 1)) for n in SHAPE]
    return tuple((low, draw(st.integers(low + 1, n))) for low, n in zip(lows, SHAPE, strict=True))


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(box=boxes(), wanted=st.integers(1, 8))
def test_ids_and_reach_are_those_of_the_voxels(
    box: tuple[tuple[int, int], ...],
    wanted: int,
    disk_store: Store,
    cells: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """In any region, as NumPy finds them in the same voxels; an id that is absent is 404."""
    words = "&".join(f"{axis}={low}:{high}" for axis, (low, high) in zip("zyx", box, strict=True))
    block = cells[tuple(slice(*r) for r in box)]
    call = connect(disk_store)
    answer = call.get(f"{IDS}?{words}")
    assert [int(i) for i in answer.json()["ids"]] == [i for i in np.unique(block).tolist() if i]
    answer = call.get(f"{IDS}/{wanted}?{words}")
    where = np.argwhere(block == wanted)
    if not len(where):
        assert answer.status_code == 404
        assert f"no id {wanted}" in answer.json()["detail"]
        return
    origin = np.array([low for low, _ in box])
    assert answer.json()["start"] == (where.min(axis=0) + origin).tolist()
    assert answer.json()["stop"] == (where.max(axis=0) + 1 + origin).tolist()
    assert answer.json()["voxels"] == len(where)


def test_parts_are_joined(
    disk_store: Store,
    cells: NDArray[Any],
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is looked through part by part is one answer, at any level, of ids up to 2⁶⁴ - 1."""
    monkeypatch.setattr(segments, "_PART", dict.fromkeys("tczyx", 1))
    call = connect(disk_store)
    coarse = cells[::2, ::2, ::2]
    told = call.get(f"{IDS}?level=1").json()
    assert [int(i) for i in told["ids"]] == np.unique(coarse)[1:].tolist()
    assert str(2**64 - 1) in call.get(IDS).json()["ids"]
    reach = call.get(f"{IDS}/{2**64 - 1}").json()
    assert (reach["start"], reach["stop"], reach["voxels"]) == ([2, 3, 4], [3, 4, 5], 1)
    assert call.app.state.service.gate.used == 0


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (IDS.replace("cells", "em"), 400, "an image"),
        (f"{IDS}?z=5:50", 400, "z=0:10"),
        (f"{IDS}?level=7", 404, "no level 7"),
        (f"{IDS}/seven", 422, "id"),
        (f"{IDS}/-1", 404, "no id -1"),
        (f"{IDS}?w=1", 400, "unknown"),
        (f"{IDS}?version=old", 409, "version"),
    ],
)
def test_what_cannot_be_is_refused(
    path: str,
    status: int,
    words: str,
    disk_store: Store,
    cells: NDArray[Any],
    connect: Callable[..., Any],
) -> None:
    """Each fault has its status and names what is valid."""
    answer = connect(disk_store)("GET", path)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_too_much_to_look_through_is_413(
    disk_store: Store, cells: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """The bounds are those of a cutout's chunks, known before anything is read."""
    call = connect(disk_store, max_chunks=4)
    assert call.get(IDS).status_code == 413
    assert call.get(f"{IDS}/3").status_code == 413
    assert call.get(f"{IDS}?z=0:8&y=0:8&x=0:8").status_code == 200


def test_ids_are_kept_and_asked_for_again(
    disk_store: Store, cells: NDArray[Any], connect: Callable[..., Any]
) -> None:
    """Who has the answer gets 304."""
    call = connect(disk_store)
    tag = call.get(IDS).headers["etag"]
    assert call.get(IDS, headers={"If-None-Match": tag}).status_code == 304
