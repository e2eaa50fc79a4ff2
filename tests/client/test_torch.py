"""PyTorch's loaders read crops, shared out over workers and ranks."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome.crops import Crops, ListedBoxes, random_boxes
from microtome.errors import InputError
from microtome_core.region import Region
from tests.client.pairs import Pair, serving
from tests.later import Later

torch, data, ours = Later("torch"), Later("torch.utils.data"), Later("microtome.torch")
lent = Later("microtome.lent")

# Workers are forked while the test's own service runs in threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _torch() -> None:
    """Import it, or skip."""
    pytest.importorskip("torch", reason="torch is not installed, see .ci/packages")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An image and its labels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


@pytest.fixture
def crops(pair: Pair) -> Crops:
    """Twenty numbered boxes of both volumes."""
    boxes = random_boxes(pair.image, (4, 8, 8), 20, seed=7)
    listed = ListedBoxes([boxes.box(i) for i in range(20)], [{"number": i} for i in range(20)])
    return Crops({"image": pair.image, "labels": pair.labels}, listed)


def check(crops: Crops, batch: dict[str, Any]) -> list[int]:
    """Compare a batch with the samples of its numbers, and return these."""
    numbers = [int(n) for n in batch["number"]]
    for i, number in enumerate(numbers):
        sample = crops[number]
        np.testing.assert_array_equal(batch["image"][i].numpy(), sample["image"])
        np.testing.assert_array_equal(batch["labels"][i].numpy(), sample["labels"])
    return numbers


def test_a_map_dataset_is_one_request_a_batch(pair: Pair, crops: Crops) -> None:
    """A DataLoader shuffles it as any other; tensors are of types that torch computes with."""
    before = pair.asked()
    found = list(data.DataLoader(ours.CropDataset(crops), batch_size=8, shuffle=True))
    assert pair.asked() - before == 2 * 3
    assert (found[0]["image"].dtype, found[0]["labels"].dtype) == (torch.int32, torch.uint8)
    assert sorted(n for batch in found for n in check(crops, batch)) == list(range(20))


def test_samplers_of_ranks_share_a_map_dataset_out(crops: Crops) -> None:
    """As PyTorch's own DistributedSampler does."""
    crop_data, found = ours.CropDataset(crops), []
    for rank in range(2):
        sampler = data.DistributedSampler(crop_data, num_replicas=2, rank=rank)
        for batch in data.DataLoader(crop_data, batch_size=5, sampler=sampler):
            found += batch["number"].tolist()
    assert sorted(found) == list(range(20))


def test_a_stream_shares_out_over_workers_and_ranks(crops: Crops) -> None:
    """Two forked workers in each of two ranks read each sample once."""
    found = []
    for rank in range(2):
        stream = ours.CropStream(crops, 3, shuffle=True, rank=rank, world=2)
        for batch in data.DataLoader(stream, batch_size=None, num_workers=2):
            assert len(batch["number"]) in {2, 3}
            found += check(crops, batch)
    assert sorted(found) == list(range(20))


@pytest.mark.parametrize("transform", [None, lambda sample, _: sample])
@pytest.mark.parametrize("keep", [True, False])
def test_workers_fill_memory_again_that_nobody_has(
    crops: Crops,
    keep: bool,
    transform: Any,  # noqa: ANN401
) -> None:
    """Batches that are kept stay as they are, and those that go make room."""
    boxes = [crops.boxes.box(i % 20) for i in range(80)]
    listed = ListedBoxes(boxes, [{"number": i % 20} for i in range(80)])
    given = Crops(crops.volumes, listed, transform=transform)
    kept = []
    for batch in data.DataLoader(ours.CropStream(given, 2), batch_size=None, num_workers=2):
        kept.append(batch)
        if not keep:
            check(crops, kept.pop())
    assert len(kept) == (40 if keep else 0)
    for batch in kept:
        check(crops, batch)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int64", "float32"])
@pytest.mark.parametrize("kind", ["of one batch", "that is lent"])
def test_rooms_become_tensors_as_they_are(kind: str, dtype: str) -> None:
    """Nothing is copied; what no tensor can hold is refused all the same."""
    from microtome.torch import _room

    make = _room if kind == "of one batch" else lent.Segments().room
    room = make((2, 3), np.dtype(dtype))
    room[...] = np.arange(6).reshape(2, 3)
    tensor = ours.tensors({"a": room})["a"]
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensor.data_ptr() == room.ctypes.data
    if dtype == "uint64":
        room[1, 1] = 2**63
        with pytest.raises(InputError, match="9223372036854775808 is more"):
            ours.tensors({"a": room})


def test_epochs_reach_workers_that_live_on(crops: Crops) -> None:
    """`set_epoch` changes the order in workers that are kept."""
    stream = ours.CropStream(crops, 20, shuffle=True)
    loader = data.DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([n for batch in loader for n in batch["number"].tolist()])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(20))


def test_epochs_of_a_map_dataset_move_its_boxes(pair: Pair) -> None:
    """Random boxes of another epoch lie elsewhere."""
    boxes = random_boxes(pair.labels, (4, 8, 8), 20, seed=7)
    crop_data = ours.CropDataset(Crops(pair.image, boxes))
    first = crop_data[3]["image"]
    crop_data.set_epoch(1)
    assert not torch.equal(crop_data[3]["image"], first)
    np.testing.assert_array_equal(
        crop_data[-17]["image"].numpy(), pair.voxels[(slice(None), *boxes.box(3, 1).slices)]
    )
    with pytest.raises(IndexError):
        crop_data[20]


def test_ranks_come_from_the_environment(crops: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torchrun, unless they are given; a worker that is spawned is told its parent's."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    stream = ours.CropStream(crops, 20)
    assert stream.place == (1, 2)
    assert next(iter(stream))["number"].tolist() == list(range(1, 20, 2))
    copied = pickle.loads(pickle.dumps(stream))
    monkeypatch.setenv("RANK", "x")
    assert copied.place == (1, 2)
    with pytest.raises(InputError, match="RANK='x'"):
        _ = stream.place
    monkeypatch.delenv("RANK")
    assert stream.place == (0, 1)
    assert ours.CropStream(crops, 20, rank=3, world=4).place == (3, 4)


def test_the_process_group_goes_before_the_environment(
    crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once torch.distributed is set up, its rank is the one."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        assert ours.CropStream(crops, 20).place == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_spawned_workers_read(crops: Crops, context: str) -> None:
    """A worker that begins from nothing reads as a forked one does."""
    words: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": context}
    map_style = data.DataLoader(ours.CropDataset(crops), batch_size=10, **words)
    stream = data.DataLoader(ours.CropStream(crops, 10), batch_size=None, **words)
    for loader in (map_style, stream):
        assert sorted(n for batch in loader for n in check(crops, batch)) == list(range(20))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "uint8"), ("uint16", "int32"), ("uint32", "int64"), ("uint64", "int64"),
     ("int16", "int16"), ("float32", "float32")],
)  # fmt: skip
def test_types_are_those_that_torch_computes_with(dtype: str, expected: str) -> None:
    """Values stay what they are, also of arrays that were turned around."""
    values = np.arange(12, dtype=dtype).reshape(3, 4)[:, ::-1]
    tensor = ours.tensors({"a": values})["a"]
    assert tensor.dtype == getattr(torch, expected)
    np.testing.assert_array_equal(tensor.numpy(), values)


def test_an_array_that_was_turned_around_stays_so() -> None:
    """Though the memory is a tensor's of the same shape."""
    values = torch.arange(12).reshape(3, 4).numpy().view(np.uint64)
    for turned in (values, values[:, ::-1], values[::-1]):
        np.testing.assert_array_equal(ours.tensors({"a": turned})["a"].numpy(), turned)


def test_other_values_stay_as_they_are() -> None:
    """Numbers and words; a label that no tensor can hold is refused."""
    box = Region("yx", (0, 0), (1, 1))
    assert ours.tensors({"n": np.int64(3), "box": box}) == {"n": 3, "box": box}
    with pytest.raises(InputError, match="a: 18446744073709551615 is more"):
        ours.tensors({"a": np.array([2**64 - 1], np.uint64)})


def test_wrong_words_are_refused(crops: Crops) -> None:
    """A rank without its world, a batch of nothing."""
    with pytest.raises(InputError, match="both or neither"):
        ours.CropStream(crops, 4, rank=1)
    with pytest.raises(InputError, match="batch_size=0"):
        ours.CropStream(crops, 0)
