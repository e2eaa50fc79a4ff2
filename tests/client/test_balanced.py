"""Each class has its turn, however rare."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from microtome import balanced
from microtome.balanced import balanced_boxes
from microtome.errors import InputError
from tests.client.pairs import Pair, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Labels of which 0 fills nearly all, 1 a plate, 2 three voxels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


def test_classes_take_turns(pair: Pair) -> None:
    """Of three boxes in a row each is for another class, in random order, and holds it."""
    boxes = balanced_boxes(pair.labels, (4, 6, 6), 300, seed=5)
    assert boxes.classes == (0, 1, 2)
    orders = set()
    for turn in range(100):
        wanted = [boxes._class(3 * turn + i, 0) for i in range(3)]
        orders.add(tuple(wanted))
        assert sorted(wanted) == [0, 1, 2]
        for i, number in enumerate(wanted):
            box = boxes.box(3 * turn + i)
            assert box.shape == (4, 6, 6)
            assert number in pair.ids[box.slices]
    assert len(orders) == 6
    assert boxes.box(7, 1) != boxes.box(7, 0)


def test_the_voxel_lies_anywhere_in_its_box(pair: Pair) -> None:
    """Not always in its middle, from which a network would learn the class."""
    boxes = balanced_boxes(pair.labels, (1, 8, 8), 400, classes=[2], seed=1)
    found = Counter(40 - boxes.box(i).start[2] for i in range(400))
    assert set(range(-2, 8)) >= set(found) >= set(range(8))


def test_classes_are_chosen_or_made(pair: Pair) -> None:
    """`classes=` leaves others out; `by=` makes classes of ids."""
    assert balanced_boxes(pair.labels, (2, 2, 2), 9, classes=[2, 1]).classes == (2, 1)
    made = balanced_boxes(pair.labels, (2, 2, 2), 9, by=lambda ids: ids > 0)
    assert made.classes == (0, 1)
    within = balanced_boxes(pair.labels, (2, 2, 2), 50, within={"z": (4, 8), "x": (10, 20)})
    assert all(within.box(i) in within.region for i in range(50))
    assert within.classes == (0, 1)


def test_large_labels_are_searched_at_a_coarser_level(pair: Pair) -> None:
    """Places are those of the volume's own level; what is gone there is said to be missing."""
    boxes = balanced_boxes(pair.labels, (3, 4, 4), 60, classes=[1], max_voxels=8000)
    assert boxes.step == (2, 2, 2)
    assert all(1 in pair.ids[boxes.box(i).slices] for i in range(60))
    with pytest.raises(InputError, match=r"no voxel of class 7 in demo/brain/labels at level 1: f"):
        balanced_boxes(pair.labels, (3, 4, 4), 60, classes=[1, 7], max_voxels=8000)


def test_places_that_are_kept_are_a_fair_choice(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many voxels some are remembered, from all blocks alike."""
    monkeypatch.setattr(balanced, "_KEPT", 500)
    boxes = balanced_boxes(pair.labels, (1, 1, 1), 9, classes=[0, 2], seed=2)
    assert {number: len(found) for number, found in boxes.places.items()} == {0: 500, 2: 3}
    halves = Counter((boxes.places[0][:, 0] >= 12).tolist())
    assert abs(halves[True] - 500 * 12 / 22) < 60
    assert len(np.unique(boxes.places[0], axis=0)) == 500


def test_ids_are_not_taken_for_classes(pair: Pair) -> None:
    """More than 256 of them are refused, with what to do."""
    with pytest.raises(InputError, match="pass classes= or by="):
        balanced_boxes(
            pair.labels, (1, 1, 1), 9, by=lambda ids: np.arange(ids.size).reshape(ids.shape)
        )
    with pytest.raises(InputError, match="count=0"):
        balanced_boxes(pair.labels, (1, 1, 1), 0)
