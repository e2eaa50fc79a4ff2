"""Writing into a remote volume does what it does to an array, and never over others' work."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import microtome
from microtome import writing
from microtome.errors import (
    AddressError,
    InputError,
    PreconditionFailed,
    RegionChanged,
    RegionError,
    WriteRefused,
)
from tests.client.served import Served

SHAPE = (20, 48, 40)
names = itertools.count()


@pytest.fixture
def blank(served: Served) -> microtome.Volume:
    """Labels of zeros that may be written."""
    return microtome.open(served.create(f"blank{next(names)}"))


@pytest.fixture(scope="module")
def canvas(served: Served) -> tuple[microtome.Volume, Any]:
    """Labels that many writes share, and an array to which the same is done."""
    return microtome.open(served.create("canvas")), np.zeros(SHAPE, "uint32")


@st.composite
def assignments(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw an index, and what NumPy broadcasts to it."""
    count = draw(st.integers(0, 3))
    key = tuple(draw(st.integers(-n, n - 1) | st.slices(n)) for n in SHAPE[:count])
    shape = np.zeros(SHAPE, bool)[key].shape
    kept = shape[draw(st.integers(0, len(shape))) :]
    block = tuple(n if draw(st.booleans()) else 1 for n in kept)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    value = rng.integers(0, 2**32, block)
    return key, value if draw(st.booleans()) else int(value.flat[0]) if value.size else 7


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(assignment=assignments())
def test_an_assignment_does_what_it_does_to_an_array(canvas: Any, assignment: Any) -> None:  # noqa: ANN401
    """Scalars and blocks, broadcast; backwards and with steps, between which nothing changes."""
    volume, array = canvas
    key, value = assignment
    volume[key] = value
    array[key] = value
    assert np.array_equal(volume[...], array)


@pytest.mark.parametrize(
    ("key", "value", "kind", "words"),
    [
        (0, -1, InputError, "-1 to -1 .* uint32 does not hold"),
        (0, 2**32, InputError, "4294967296 .* uint32 does not hold"),
        (0, 1.5, InputError, "1.5"),
        (0, float("nan"), InputError, "nan"),
        (0, "a", InputError, "the layer holds uint32"),
        (0, np.ones((3, 40)), InputError, r"shape \(3, 40\) does not fit the region's \(48, 40\)"),
        (20, 1, RegionError, "out of bounds for axis z"),
        ([1], 1, RegionError, "list or array"),
    ],
)
def test_what_cannot_be_written_is_refused_before(
    blank: microtome.Volume,
    key: Any,  # noqa: ANN401
    value: Any,  # noqa: ANN401
    kind: type[Exception],
    words: str,
) -> None:
    """The error names values and shapes, and nothing is written."""
    with pytest.raises(kind, match=words):
        blank[key] = value
    assert not blank[...].any()


def test_whole_floats_are_kept_exactly(blank: microtome.Volume) -> None:
    """What another type holds exactly is written; so is what has more axes of length 1."""
    blank[3] = np.full((1, 48, 40), 7.0)
    assert (blank[3] == 7).all()


def test_what_was_ingested_is_never_changed(served: Served) -> None:
    """The refusal says which layers can be written, before a byte is sent."""
    before = served.count("PUT")
    with pytest.raises(WriteRefused, match="microtome create"):
        microtome.open(served.em)[0] = 1
    assert served.count("PUT") == before
    assert not issubclass(WriteRefused, AddressError)


def test_an_edit_is_written_if_nobody_wrote_meanwhile(blank: microtome.Volume) -> None:
    """What the block changes in place is there afterwards; nothing else is."""
    blank[2] = 5
    with blank.edit(np.s_[1:4, 3:9]) as block:
        block[block == 5] = 9
    expected = np.zeros(SHAPE, "uint32")
    expected[2] = 5
    expected[2, 3:9] = 9
    assert np.array_equal(blank[...], expected)


def test_an_edit_never_undoes_what_others_wrote(blank: microtome.Volume) -> None:
    """The error is a conflict, and their voxels stay."""

    def edit() -> None:
        with blank.edit(0) as block:
            block[...] = 1
            blank[0, 3, 3] = 77

    with pytest.raises(PreconditionFailed, match="has changed") as caught:
        edit()
    assert isinstance(caught.value, RegionChanged)
    assert (blank[0, 3, 3], int(blank[...].sum())) == (77, 77)


def test_an_edit_that_fails_writes_nothing(served: Served, blank: microtome.Volume) -> None:
    """An error within the block goes through; so does a block that changes nothing."""
    before = served.count("PUT")
    with pytest.raises(ZeroDivisionError), blank.edit(0) as block:
        block[...] = 1 // 0
    with blank.edit(0):
        pass
    assert served.count("PUT") == before


def test_an_answer_that_was_lost_is_no_conflict(
    blank: microtome.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conditional write that is repeated finds its own voxels, and takes that for done."""
    send = blank.transport.send

    def twice(*args: Any, **words: Any) -> Any:  # noqa: ANN401 - the transport's own
        send(*args, **words)
        return send(*args, **words)

    monkeypatch.setattr(type(blank.transport), "send", lambda _, *a, **w: twice(*a, **w))
    with blank.edit(np.s_[0:2]) as block:
        block[...] = 3
    assert (blank[0:2] == 3).all()


def test_steps_leave_what_others_write_between_them(
    blank: microtome.Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes between reading and writing is read again, and kept."""
    read, others = writing._read_tagged, iter([5, 6])

    def meanwhile(*args: Any) -> Any:  # noqa: ANN401
        found = read(*args)
        if (value := next(others, None)) is not None:
            blank[1] = value
        return found

    monkeypatch.setattr(writing, "_read_tagged", meanwhile)
    blank[::2] = 9
    assert (blank[::2] == 9).all()
    assert (blank[1] == 6).all()


def test_a_coarser_level_is_not_written(served: Served) -> None:
    """It follows level 0."""
    volume = microtome.open(served.create("levels"))
    if len(volume.levels) == 1:
        pytest.skip("labels of one level")
    with pytest.raises(InputError, match="only level 0"):
        volume.level(1)[0] = 1


def test_large_blocks_go_in_parts(
    blank: microtome.Volume, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along the shards, each by a request of its own."""
    monkeypatch.setattr("microtome.parts.SINGLE", 1 << 10)
    monkeypatch.setattr("microtome.parts.LARGEST", 16 << 10)
    block = np.random.default_rng(2).integers(0, 99, SHAPE, "uint32")
    before = served.count("PUT")
    blank[...] = block
    assert served.count("PUT") - before > 4
    assert np.array_equal(blank[...], block)
