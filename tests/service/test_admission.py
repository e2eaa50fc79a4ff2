"""Room in memory is given in the order of asking, and comes back whatever happens."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_service.admission import Admission
from microtome_service.errors import Busy


def test_answers_wait_for_room_in_their_order() -> None:
    """While a large one waits, a small one that would fit does not pass it."""

    async def scene() -> list[str]:
        gate, order = Admission(10, 5, 5), []

        async def answer(name: str, nbytes: int) -> None:
            with await gate.admit(nbytes):
                order.append(name)

        first = await gate.admit(8)
        waiting = [asyncio.create_task(answer("large", 9)), asyncio.create_task(answer("small", 1))]
        await asyncio.sleep(0.01)
        assert order == []
        first.release()
        await asyncio.gather(*waiting)
        assert gate.used == 0
        return order

    assert asyncio.run(scene()) == ["large", "small"]


def test_too_many_or_too_long_is_busy() -> None:
    """A full queue refuses at once, a wait ends with its time, and neither keeps room."""

    async def scene() -> None:
        gate = Admission(10, 1, 0.02)
        lease = await gate.admit(10)
        waiting = asyncio.create_task(gate.admit(1))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too many"):
            await gate.admit(1)
        with pytest.raises(Busy, match="within"):
            await waiting
        lease.release()
        lease.release()
        assert gate.used == 0
        (await gate.admit(10)).release()

    asyncio.run(scene())


def test_what_is_larger_than_all_room_passes_alone() -> None:
    """A request within the limits of one answer is never refused for ever."""

    async def scene() -> None:
        gate = Admission(10, 1, 1)
        with await gate.admit(1000):
            assert gate.used == 10
        assert gate.used == 0

    asyncio.run(scene())


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3), st.booleans()), max_size=25),
)
def test_room_is_never_overdrawn_nor_lost(plan: list[tuple[int, int, bool]]) -> None:
    """Whoever comes, waits, is cancelled or done: at most all room is used, and at last none."""

    async def scene() -> None:
        gate = Admission(10, 100, 5)

        async def answer(nbytes: int, turns: int) -> None:
            with await gate.admit(nbytes):
                for _ in range(turns):
                    assert 0 < gate.used <= 10
                    await asyncio.sleep(0)

        tasks = []
        for nbytes, turns, leaves in plan:
            tasks.append(asyncio.create_task(answer(nbytes, turns)))
            await asyncio.sleep(0)
            if leaves:
                tasks[len(tasks) // 2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.used == 0
        (await gate.admit(10)).release()

    asyncio.run(scene())
