"""A value is loaded once for all who ask, believed for a moment, and errors are not kept."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from microtome_service.refreshing import Refreshing


class Counter:
    """Counts its calls, as a store would be read."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.gate = threading.Event()
        self.gate.set()

    def load(self, key: str, old: int | None) -> int:
        """Return how many calls there were."""
        self.calls.append((key, old))
        assert self.gate.wait(5)
        if key == "bad":
            raise LookupError(key)
        return len(self.calls)


def test_many_who_ask_at_once_cause_one_load() -> None:
    """Storage sees one read, even when the first of those who asked goes away."""
    counter = Counter()
    counter.gate.clear()

    async def scene() -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            values = Refreshing(counter.load, pool, 10, 8)
            tasks = [asyncio.create_task(values.get("a")) for _ in range(5)]
            await asyncio.sleep(0.01)
            tasks[0].cancel()
            counter.gate.set()
            return await asyncio.gather(*tasks[1:])

    assert asyncio.run(scene()) == [1, 1, 1, 1]
    assert counter.calls == [("a", None)]


def test_a_value_is_believed_for_its_time_and_then_shown_to_the_loader() -> None:
    """Within the time nothing is loaded; after it the loader gets the old value to compare."""
    counter = Counter()

    async def scene() -> None:
        with ThreadPoolExecutor(1) as pool:
            values = Refreshing(counter.load, pool, 0.05, 8)
            assert [await values.get("a"), await values.get("a")] == [1, 1]
            await asyncio.sleep(0.06)
            assert await values.get("a") == 2

    asyncio.run(scene())
    assert counter.calls == [("a", None), ("a", 1)]


def test_errors_go_to_everyone_and_are_not_kept() -> None:
    """All who asked get the error; the next who asks causes a new load."""
    counter = Counter()

    async def scene() -> None:
        with ThreadPoolExecutor(1) as pool:
            values = Refreshing(counter.load, pool, 10, 8)
            both = await asyncio.gather(
                values.get("bad"), values.get("bad"), return_exceptions=True
            )
            assert [type(error) for error in both] == [LookupError, LookupError]
            with pytest.raises(LookupError):
                await values.get("bad")

    asyncio.run(scene())
    assert len(counter.calls) == 2


def test_only_so_many_are_kept() -> None:
    """The value unused for longest is forgotten first."""
    counter = Counter()

    async def scene() -> None:
        with ThreadPoolExecutor(1) as pool:
            values = Refreshing(counter.load, pool, 10, 2)
            for key in ("a", "b", "a", "c", "a", "b"):
                await values.get(key)

    asyncio.run(scene())
    assert [key for key, _ in counter.calls] == ["a", "b", "c", "b"]


def test_what_is_forgotten_is_looked_at_anew() -> None:
    """Even where it was being loaded at that moment: whoever asks later gets what is there then."""
    loaded: list[int | None] = []
    gate = threading.Event()

    def load(_: str, old: int | None) -> int:
        loaded.append(old)
        number = len(loaded)
        if number == 2:
            gate.wait(5)
        return number

    async def ask() -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            values = Refreshing(load, pool, 60.0, 4)
            first = await values.get("a")
            values.forget_all()
            slow = asyncio.create_task(values.get("a"))
            while len(loaded) < 2:
                await asyncio.sleep(0.001)
            values.forget_all()
            fresh = await values.get("a")
            gate.set()
            return [first, await slow, fresh, await values.get("a")]

    first, _, fresh, last = asyncio.run(ask())
    assert (first, fresh) == (1, 3)
    # What was begun before is not believed: it may be older than what made us forget.
    assert last >= 3
    assert loaded[1] == 1


def test_values_are_kept_by_what_they_weigh() -> None:
    """The oldest go first; one that is larger than all room is given, and not kept."""
    sizes = {"a": 3, "b": 3, "c": 3, "large": 9}
    loaded = []

    def load(key: str, _: int | None) -> int:
        loaded.append(key)
        return sizes[key]

    async def scene() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            values = Refreshing(load, pool, 10, 8, lambda size: size)
            return [await values.get(key) for key in ("a", "b", "c", "b", "a", "large", "large")]

    assert asyncio.run(scene()) == [3, 3, 3, 3, 3, 9, 9]
    assert loaded == ["a", "b", "c", "a", "large", "large"]
