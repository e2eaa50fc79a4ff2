"""Crops are what indexing gives, in batches of one request, whoever shares the work."""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome.boxes import ListedBoxes
from microtome.crops import Crops, Flips, grid_boxes, random_boxes, stack
from microtome.errors import InputError, RegionError
from microtome_core.region import Region
from tests.client.pairs import Pair, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An image and its labels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


@pytest.fixture
def crops(pair: Pair) -> Crops:
    """Fifty random crops of both."""
    boxes = random_boxes(pair.image, (4, 8, 8), 50, seed=7)
    return Crops({"image": pair.image, "labels": pair.labels}, boxes)


def test_samples_are_the_same_place_of_every_volume(pair: Pair, crops: Crops) -> None:
    """Each is what indexing gives, with the axes of its volume."""
    assert len(crops) == 50
    for i in (0, 49, -1):
        z, y, x = crops.boxes.box(i % 50).slices
        sample = crops[i]
        np.testing.assert_array_equal(sample["image"], pair.voxels[:, z, y, x])
        np.testing.assert_array_equal(sample["labels"], pair.ids[z, y, x])
    with pytest.raises(IndexError, match="sample 50 of 50"):
        crops[50]
    assert len(list(crops)) == 50


def test_a_batch_is_one_request_to_each_volume(pair: Pair, crops: Crops) -> None:
    """Stacked, in the order of the numbers; the last batch may be short."""
    before = pair.asked()
    found = list(crops.batches(16))
    assert pair.asked() - before == 2 * 4
    assert [batch["image"].shape for batch in found] == [(16, 2, 4, 8, 8)] * 3 + [(2, 2, 4, 8, 8)]
    for name in ("image", "labels"):
        every = np.concatenate([batch[name] for batch in found])
        np.testing.assert_array_equal(every, np.stack([crops[i][name] for i in range(50)]))


@given(
    st.integers(0, 60), st.integers(1, 9), st.booleans(), st.integers(0, 3), st.booleans(),
    st.integers(1, 7),
)  # fmt: skip
def test_parts_share_no_sample_and_lose_none(
    count: int, parts: int, shuffle: bool, epoch: int, drop: bool, size: int
) -> None:
    """Whatever the number of parts; with `drop_last` all have equally many whole batches."""
    crops = Numbered(count)
    words: dict[str, Any] = {"shuffle": shuffle, "epoch": epoch, "drop_last": drop, "prefetch": 0}
    each = [
        [batch["number"].tolist() for batch in crops.batches(size, shard=(part, parts), **words)]
        for part in range(parts)
    ]
    found = [number for part in each for batch in part for number in batch]
    if drop:
        assert {len(part) for part in each} == {count // parts // size}
        assert {len(batch) for part in each for batch in part} <= {size}
        assert len(set(found)) == len(found)
    else:
        assert sorted(found) == list(range(count))


class Numbered(Crops):
    """Crops whose samples are their numbers, and that read nothing."""

    def __init__(self, count: int) -> None:
        self.boxes, self.seed = ListedBoxes([Region("yx", (0, 0), (1, 1))] * count), 4

    def read_stacked(
        self, indices: Sequence[int], epoch: int = 0, room: object = None
    ) -> dict[str, Any]:
        """Return numbers."""
        del epoch, room
        return stack([{"number": index} for index in indices])


def test_the_order_depends_on_seed_and_epoch() -> None:
    """And is theirs again whenever it is asked for."""
    crops = Numbered(40)
    orders = [crops.order(epoch=epoch, shuffle=True).tolist() for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert crops.order().tolist() == list(range(40))
    with pytest.raises(InputError, match="shard="):
        crops.order(shard=(2, 2))
    with pytest.raises(InputError, match="size=0"):
        crops.batches(0)


def test_transforms_are_the_same_however_a_sample_is_read(pair: Pair, crops: Crops) -> None:
    """Their random numbers are those of seed, epoch and number; all arrays are turned alike."""
    turned = Crops(crops.volumes, crops.boxes, transform=Flips(), seed=3)
    batch = next(turned.batches(20))
    alone = [turned[i] for i in range(20)]
    np.testing.assert_array_equal(batch["image"], [sample["image"] for sample in alone])
    assert any((a["image"] != crops[i]["image"]).any() for i, a in enumerate(alone[:5]))
    steps = {tuple(step) for i in range(20) for step in found_flips(crops[i], alone[i])}
    assert len(steps) > 4
    again = turned.read([3], epoch=1)[0]
    assert again["image"].shape == alone[3]["image"].shape


def found_flips(plain: dict[str, Any], turned: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    """Yield by which flips of the last axes the image became what it is; labels must agree."""
    for steps in np.ndindex(2, 2, 2):
        index = (..., *(slice(None, None, -1 if step else 1) for step in steps))
        if np.array_equal(plain["image"][index], turned["image"]):
            np.testing.assert_array_equal(plain["labels"][index], turned["labels"])
            yield steps


def test_a_single_volume_is_named_by_its_kind(pair: Pair) -> None:
    """And notes of boxes are part of a sample."""
    box = Region("zyx", (0, 0, 0), (2, 3, 4))
    sample = Crops(pair.labels, ListedBoxes([box], [{"region": 2}]))[0]
    assert sample["labels"].shape == (2, 3, 4)
    assert sample["region"] == 2


def test_crops_are_pickled(crops: Crops) -> None:
    """As workers need them to be."""
    copied = pickle.loads(pickle.dumps(crops))
    np.testing.assert_array_equal(copied[5]["image"], crops[5]["image"])


def test_a_grid_puts_a_volume_together_again(pair: Pair) -> None:
    """What is predicted box by box goes back by the boxes' slices."""
    crops = Crops(pair.labels, grid_boxes(pair.labels, (10, 16, 20)))
    whole = np.full_like(pair.ids, 9)
    for i, sample in enumerate(crops):
        whole[crops.boxes.box(i).slices] = sample["labels"]
    np.testing.assert_array_equal(whole, pair.ids)


def test_a_fault_ends_the_loop(pair: Pair) -> None:
    """A box outside of the volume is an error, not a batch that lacks a sample."""
    inside, outside = (Region("zyx", (0, 0, n), (2, 2, n + 2)) for n in (0, 49))
    batches = Crops(pair.labels, ListedBoxes([inside] * 4 + [outside])).batches(2, prefetch=0)
    assert next(batches)["labels"].shape == (2, 2, 2, 2)
    assert next(batches)["labels"].shape == (2, 2, 2, 2)
    with pytest.raises(RegionError, match=r"box z=0:2,y=0:2,x=49:51: demo/brain/labels has x=0:50"):
        next(batches)


def test_wrong_words_are_refused(pair: Pair, crops: Crops) -> None:
    """No volume, volumes of other grids, a negative seed, samples that differ."""
    with pytest.raises(InputError, match="no volume"):
        Crops({}, crops.boxes)
    with pytest.raises(InputError, match="coarse does not lie on the grid of image"):
        Crops({"image": pair.image, "coarse": pair.image.level(1)}, crops.boxes)
    with pytest.raises(InputError, match="seed=-1"):
        Crops(pair.image, crops.boxes, seed=-1)
    with pytest.raises(InputError, match="do not make one batch"):
        stack([{"a": np.zeros(2)}, {"a": np.zeros(3)}])
