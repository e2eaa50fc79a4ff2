"""Voxels are asked for in the form in which they come sooner."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import microtome
from microtome.errors import InputError
from microtome.link import Link

MB = 10**6
BATCH = 8 * MB
# Seconds that a batch takes raw, and packed.
Seconds = tuple[float, float]


class World:
    """A link and a clock that its answers move on.

    Parameters
    ----------
    seconds : (float, float)
        What a batch takes as it is, and packed; half of it passes before the first byte.
    """

    def __init__(self, seconds: Seconds) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.link = Link(clock=lambda: self.now)
        self.forms: list[bool] = []

    def ask(self, count: int) -> float:
        """Ask for batches in turn, and return the share of those that came packed."""
        before = len(self.forms)
        for _ in range(count):
            with self.link.asking(BATCH) as packed:
                self.forms.append(packed)
                half = self.seconds[packed] / 2
                self.now += half
                with self.link.receiving():
                    self.now += half
                    self.link.note(BATCH // 2 if packed else BATCH)
        found = self.forms[before:]
        return sum(found) / len(found)


def at(rate: float, packed: float) -> World:
    """Return a world of so many MB of voxels a second in each form."""
    return World((BATCH / MB / rate, BATCH / MB / packed))


def test_a_fast_link_is_left_alone() -> None:
    """Nothing is tried where voxels come fast."""
    assert at(200, 400).ask(500) == 0


def test_a_slow_link_is_spared() -> None:
    """After the first answer; voxels as they are are tried again, ever more rarely."""
    world = at(10, 20)
    world.ask(2)
    assert world.forms == [False, True]
    assert world.ask(100) > 0.8
    assert world.ask(400) > 0.95


def test_a_busy_processor_is_no_slow_link() -> None:
    """Where packing makes all slower, voxels come as they are but for rare trials."""
    world = at(15, 8)
    assert world.ask(100) < 0.15
    assert world.ask(400) < 0.05


def test_a_trial_that_is_in_vain_is_short() -> None:
    """One answer tells, where it takes much longer."""
    world = at(15, 5)
    world.ask(10)
    assert world.forms == [False, True, *[False] * 8]


def test_a_link_that_changes_is_noticed() -> None:
    """One that becomes fast is used as such, and one that becomes slow is spared."""
    world = at(10, 20)
    assert world.ask(100) > 0.8
    world.seconds = (0.02, 0.2)
    world.ask(200)
    assert world.ask(50) == 0
    world.seconds = (0.8, 0.4)
    world.ask(50)
    assert world.ask(100) > 0.8


def test_answers_side_by_side_share_the_time() -> None:
    """What a form gives is counted while none of the other is under way, and no time twice."""
    now = 0.0
    link = Link(clock=lambda: now)
    old = link.asking(BATCH)
    assert not old.__enter__()
    for _ in range(2):
        with link.asking(BATCH), link.receiving():
            now += 0.8
            link.note(BATCH)
    with link.asking(BATCH) as packed:
        assert packed
    # The one that began before the change ends long after, and is no part of either.
    now += 100
    old.__exit__(None, None, None)
    for _ in range(3):
        with link.asking(BATCH) as packed:
            now += 0.4
        assert packed
    with link.asking(BATCH) as packed:
        assert packed


def test_failures_count_for_nothing() -> None:
    """An answer that breaks off has taken time and given no voxels."""
    link = Link(clock=lambda: 0.0)
    for _ in range(5):
        with pytest.raises(ConnectionError), link.asking(BATCH):
            raise ConnectionError
    with link.asking(BATCH) as packed:
        assert not packed


@pytest.mark.parametrize(("transfer", "packed"), [("raw", False), ("zstd", True), ("chunks", True)])
def test_a_form_that_is_insisted_on_is_used(transfer: str, packed: bool) -> None:
    """Whatever is measured."""
    link = Link(transfer)
    with link.asking(BATCH) as found:
        assert found == packed


def test_little_is_asked_for_as_it_is() -> None:
    """It is no part of what is measured."""
    world = at(10, 20)
    world.ask(3)
    with world.link.asking(1000) as packed:
        assert not packed


def test_threads_may_ask_at_once() -> None:
    """The count of what is under way ends where it began."""
    link = Link()

    def work(_: int) -> None:
        with link.asking(BATCH), link.receiving():
            link.note(BATCH)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert link.received == 200 * BATCH
    assert not any(busy.count for busy in link._choice._under_way.values())


def test_unknown_forms_are_refused(unused_port: Callable[[], int]) -> None:
    """Before anything is asked for."""
    address = f"http://127.0.0.1:{unused_port()}/a/b/c"
    with pytest.raises(InputError, match="expected one of auto, raw, zstd, chunks"):
        microtome.open(address, transfer="gzip")
