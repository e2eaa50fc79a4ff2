"""MTNeuro's tiles are the published ones, and none reaches into another region or split."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from microtome.errors import InputError
from microtome.mtneuro import REGIONS, SPLITS, region_of, tiles


@pytest.mark.parametrize(("split", "count"), [("train", 1076), ("validation", 116), ("test", 200)])
def test_splits_have_the_published_numbers_of_tiles(split: str, count: int) -> None:
    """As many for each region, of 256 by 256 voxels, one plane each."""
    found = tiles(split)
    assert len(found) == count
    assert Counter(found.notes(i)["region"] for i in range(count)) == dict.fromkeys(
        range(4), count // 4
    )
    assert {found.box(i).shape for i in range(count)} == {(1, 256, 256)}


@pytest.mark.parametrize("depth", [1, 7, 8])
def test_no_box_reaches_into_another_region_or_split(depth: int) -> None:
    """Whether the depth divides the planes of a split or not."""
    every = [(s, f.box(i), f.notes(i)) for s in SPLITS for f in [tiles(s, depth=depth)]
             for i in range(len(f))]  # fmt: skip
    for split, box, notes in every:
        low, high = SPLITS[split]
        extents = list(REGIONS.values())[notes["region"]]
        assert low <= box.start[0] < box.stop[0] == box.start[0] + depth <= high
        assert (box.start[1], box.stop[1]) == extents["y"]
        assert (box.start[2], box.stop[2]) == extents["x"]
    boxes = [box for _, box, _ in every[::3]]
    assert all((one & other) is None for one, other in combinations(boxes[:300], 2))


def test_blocks_of_eight_planes_leave_the_rest_out() -> None:
    """33, 3 and 6 of each region."""
    assert [len(tiles(split, depth=8)) for split in SPLITS] == [132, 12, 24]


def test_a_part_of_the_volume_has_its_own_coordinates() -> None:
    """Boxes are counted from its first voxel; a region's class stays what it is among all."""
    found = tiles("validation", regions=["ZI"], origin={"z": 380, "y": 650, "x": 1543})
    assert (len(found), found.notes(0)) == (29, {"region": 3})
    assert (found.box(0).start, found.box(28).start) == ((0, 0, 0), (28, 0, 0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"split": "dev"}, "split 'dev': expected one of train, validation, test"),
        ({"split": "train", "regions": ["HIP"]}, "region 'HIP': expected some of CTX, STR, VP, ZI"),
        ({"split": "validation", "depth": 30}, "depth=30: split validation has 29 planes"),
    ],
)
def test_wrong_words_are_refused(words: dict[str, object], message: str) -> None:
    """What there is, is named."""
    with pytest.raises(InputError, match=message):
        tiles(**words)  # type: ignore[arg-type]


def test_region_labels_tell_the_class_by_their_mode() -> None:
    """Nine labels make four classes; another one belongs to none."""
    classes = [region_of(np.full((2, 2), label, np.uint64)) for label in range(9)]
    assert classes == [0, 0, 1, 2, 2, 3, 3, 3, 1]
    with pytest.raises(InputError, match="region label 9"):
        region_of(np.array([9, 9, 1]))
