"""Workers lend batches, and fill their memory again once nobody has any of it."""

import copy
import gc
import os
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.later import Later

if TYPE_CHECKING:
    from microtome.lent import Segments

torch, lent = Later("torch"), Later("microtome.lent")
SHAPE = (3, 5)


@pytest.fixture(scope="module", autouse=True)
def _torch() -> None:
    """Import it, or skip."""
    pytest.importorskip("torch", reason="torch is not installed, see .ci/packages")


def batch(segments: "Segments", value: int, dtype: str = "uint16") -> dict[str, Any]:
    """Return a sample as a worker's loader has it, ready to be sent."""
    room = segments.room(SHAPE, np.dtype(dtype))
    room[...] = value
    image = torch.from_numpy(room.view(np.int64) if dtype == "uint64" else room)
    return copy.copy(segments.lend({"image": image, "number": torch.tensor([value])}))


def sent(sample: dict[str, Any]) -> dict[str, Any]:
    """Return what arrives."""
    return ForkingPickler.loads(ForkingPickler.dumps(sample))


def place(segments: "Segments") -> int:
    """Return where the next batch would lie, which is made and let go."""
    return int(segments.room(SHAPE, np.dtype("uint16")).ctypes.data)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32", "uint64", "float32"])
def test_what_arrives_is_what_was_lent(dtype: str) -> None:
    """A plain dict of tensors in the same order, of types that torch computes with."""
    found = sent(batch(lent.Segments(), 1, dtype))
    assert type(found) is dict
    assert list(found) == ["image", "number"]
    assert found["image"].tolist() == [[1] * 5] * 3
    assert found["number"].tolist() == [1]


def test_memory_is_filled_again_once_the_last_view_is_gone() -> None:
    """Not before: neither while it waits to be sent, nor while any part of it is kept."""
    segments = lent.Segments()
    first = place(segments)
    assert place(segments) == first
    sample = batch(segments, 7)
    assert place(segments) != first
    found = sent(sample)
    del sample
    view = found.pop("image")[1:]
    assert place(segments) != first
    assert view.tolist() == [[7] * 5] * 2
    del view
    gc.collect()
    assert place(segments) == first


def test_a_sample_that_was_changed_is_sent_as_any_other() -> None:
    """Its memory is not lent: a view under another name would outlive it unseen."""
    for change in ({"part": 0}, {"image": 0}):
        segments = lent.Segments()
        sample = batch(segments, 3)
        first = sample["image"].data_ptr()
        sample.update(dict.fromkeys(change, sample["image"][1:]))
        found = sent(sample)
        del sample
        gc.collect()
        assert all((found[name] == 3).all() for name in found if name != "number")
        segments.room(SHAPE, np.dtype("uint16"))[...] = 9
        assert all((found[name] == 3).all() for name in found if name != "number"), first


def test_memory_is_lent_once() -> None:
    """Whoever sends a batch twice sends the second by value."""
    segments = lent.Segments()
    sample = batch(segments, 4)
    one, two = sent(sample), sent(sample)
    del sample, one
    gc.collect()
    segments.room(SHAPE, np.dtype("uint16"))[...] = 9
    assert (two["image"] == 4).all()


def test_a_forked_process_gives_nothing_back() -> None:
    """What it drops is still the parent's."""
    segments = lent.Segments()
    sample = batch(segments, 5)
    first = sample["image"].data_ptr()
    found = sent(sample)
    del sample
    child = os.fork()
    if not child:
        del found
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert place(segments) != first
    assert (found["image"] == 5).all()


def test_what_is_kept_for_long_is_left_to_its_keeper() -> None:
    """The worker keeps no more than some segments, whatever becomes of them."""
    segments = lent.Segments()
    kept = [sent(batch(segments, i)) for i in range(40)]
    assert len(segments._kept) <= 16
    assert [int(each["image"][0, 0]) for each in kept] == list(range(40))


def test_memory_fits_what_it_is_filled_with() -> None:
    """A small batch does not take the room of a large one."""
    segments = lent.Segments()
    large = int(segments.room((1000, 1000), np.dtype("uint8")).ctypes.data)
    assert place(segments) != large
    assert int(segments.room((900, 1000), np.dtype("uint8")).ctypes.data) == large
