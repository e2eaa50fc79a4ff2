"""Room in memory is given in the order of asking, and comes back whatever happens."""

import asyncio
import contextvars

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_service.admission import Admission
from microtome_service.callers import caller_of
from microtome_service.errors import Busy, TooMany
from microtome_service.exchange import Exchange, begin
from microtome_service.principal import ANONYMOUS, Principal


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


def test_one_caller_cannot_take_all_the_room() -> None:
    """Beyond its share a caller waits for its own answers, and others pass it meanwhile."""

    async def scene() -> None:
        gate = Admission(10, 10, 0.05, 0.5)
        first = await gate.admit(4, "greedy")
        waiting = asyncio.create_task(gate.admit(3, "greedy"))
        await asyncio.sleep(0)
        with await gate.admit(5, "modest"):
            assert (gate.used, gate.waiting) == (9, 1)
        with pytest.raises(TooMany, match="share"):
            await waiting
        again = asyncio.create_task(gate.admit(3, "greedy"))
        await asyncio.sleep(0)
        first.release()
        (await again).release()
        assert gate.used == 0

    asyncio.run(scene())


def test_one_caller_cannot_fill_the_queue() -> None:
    """Half of four places are one caller's: its third is refused, another caller's is not."""

    async def scene() -> None:
        gate = Admission(10, 4, 0.1, 0.5)
        with await gate.admit(10, "other"):
            waiting = [asyncio.create_task(gate.admit(1, "greedy")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(TooMany, match="2 of your requests"):
                await gate.admit(1, "greedy")
            waiting.append(asyncio.create_task(gate.admit(1, "modest")))
            await asyncio.sleep(0)
            assert gate.waiting == 3
        for lease in await asyncio.gather(*waiting):
            lease.release()
        assert gate.used == 0

    asyncio.run(scene())


def test_one_answer_larger_than_the_share_passes() -> None:
    """Who holds nothing is given one answer of any size, or it would be refused for ever."""

    async def scene() -> None:
        gate = Admission(10, 4, 0.1, 0.5)
        with await gate.admit(9, "one"):
            assert gate.used == 9

    asyncio.run(scene())


def test_callers_are_principals_or_addresses() -> None:
    """An anonymous caller is an address, of IPv6 the network that one caller has."""

    def caller(client: str, principal: Principal = ANONYMOUS) -> str:
        def ask() -> str:
            begin(Exchange("id", client))
            return caller_of(principal)

        return contextvars.copy_context().run(ask)

    assert caller("192.0.2.1") != caller("192.0.2.2")
    assert caller("2001:db8::1:2:3:4") == caller("2001:db8::5:6:7:8")
    assert caller("2001:db8::1") != caller("2001:db8:0:1::1")
    assert caller("no address") == "address no address"
    someone = Principal("me", signed_in=True)
    assert caller("192.0.2.1", someone) == caller("192.0.2.2", someone)
    # Nobody takes the room of others by a name.
    assert caller("192.0.2.1", Principal("anonymous", signed_in=True)) != caller("192.0.2.1")
