"""Boxes lie where they should, and depend on seed, epoch and number alone."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.boxes import ListedBoxes, grid_boxes, random_boxes
from microtome.errors import InputError
from microtome_core.region import Region

# Boxes ask a volume for nothing but axes and shape.
VOLUME: Any = SimpleNamespace(axes="czyx", shape=(3, 20, 48, 40))
LINE: Any = SimpleNamespace(axes="yx", shape=(1, 12))


@given(st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 10**9))
def test_random_boxes_lie_within_their_regions(seed: int, epoch: int, index: int) -> None:
    """Each has the shape asked for, and lies wholly in one region."""
    within = [{"z": (0, 5), "y": (0, 17)}, {"z": (5, 20), "x": (30, 40)}]
    boxes = random_boxes(VOLUME, (5, 16, 10), 10**10, seed=seed, within=within)
    box = boxes.box(index, epoch)
    assert box.shape == (5, 16, 10)
    assert sum(box in region for region in boxes.regions) == 1
    assert boxes.box(index, epoch) == box


def test_every_place_is_equally_likely() -> None:
    """Regions count by the places that they have for a box; ends are among them."""
    boxes = random_boxes(LINE, (1, 4), 2000, seed=3, within=[{"x": (0, 5)}, {"x": (6, 12)}])
    found = Counter(boxes.box(i).start[1] for i in range(len(boxes)))
    assert sorted(found) == [0, 1, 6, 7, 8]
    assert all(abs(n - 400) < 80 for n in found.values())


def test_epochs_and_seeds_differ() -> None:
    """Of random boxes."""
    boxes, other = (random_boxes(VOLUME, (4, 4, 4), 50, seed=seed) for seed in (0, 1))
    kinds = [[b.box(i, e) for i in range(50)] for b in (boxes, other) for e in (0, 1)]
    assert len({tuple(map(str, kind)) for kind in kinds}) == 4


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 48), st.integers(1, 40)),
    st.tuples(st.integers(5, 9), st.integers(9, 20), st.integers(8, 20)),
    st.sampled_from(["shift", "drop"]),
)
@settings(max_examples=25, deadline=None)
def test_a_grid_covers_what_its_edge_says(
    shape: tuple[int, int, int], stride: tuple[int, int, int], edge: str
) -> None:
    """Shifted boxes reach the end of the region, dropped ones do not go beyond; all differ."""
    boxes = grid_boxes(VOLUME, shape, stride=stride, edge=edge)
    starts = {boxes.box(i).start for i in range(len(boxes))}
    assert len(starts) == len(boxes)
    for axis, extent in enumerate((20, 48, 40)):
        found = sorted({start[axis] for start in starts})
        regular = list(range(0, extent - shape[axis] + 1, stride[axis]))
        assert found[: len(regular)] == regular
        assert found[len(regular) :] in ([], [extent - shape[axis]])
        assert edge == "drop" or found[-1] + shape[axis] == extent


def test_a_grid_goes_region_by_region_in_c_order() -> None:
    """No box reaches from one region into the next."""
    boxes = grid_boxes(VOLUME, (8, 48, 40), within=[{"z": (0, 10)}, {"z": (10, 20)}], edge="drop")
    assert [boxes.box(i).start[0] for i in range(len(boxes))] == [0, 10]
    plane = grid_boxes(VOLUME, (20, 24, 20))
    assert [plane.box(i).start[1:] for i in range(4)] == [(0, 0), (0, 20), (24, 0), (24, 20)]
    with pytest.raises(IndexError):
        plane.box(4)


def test_listed_boxes_bring_their_notes() -> None:
    """One for each, or none."""
    box = Region("yx", (0, 0), (1, 4))
    boxes = ListedBoxes([box, box], [{"class": 3}, {"class": 4}])
    assert (len(boxes), boxes.box(1, 7), boxes.notes(1)) == (2, box, {"class": 4})
    with pytest.raises(InputError, match="1 notes on 2 boxes"):
        ListedBoxes([box, box], [{}])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"count": 0}, "count=0"),
        ({"seed": -1}, "seed=-1"),
        ({"within": []}, "no region"),
        ({"within": [{}, {"z": (0, 3)}]}, "z=4 do not fit"),
    ],
)
def test_wrong_words_are_refused(words: dict[str, Any], message: str) -> None:
    """Before anything is read."""
    with pytest.raises(InputError, match=message):
        random_boxes(VOLUME, (4, 4, 4), **{"count": 5, **words})
    with pytest.raises(InputError, match="edge='wrap'"):
        grid_boxes(VOLUME, (4, 4, 4), edge="wrap")
