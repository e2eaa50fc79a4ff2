"""Work side by side ends as one."""

import asyncio

import pytest

from microtome_service.errors import Unreadable
from microtome_service.together import together


async def number(value: int) -> int:
    """Return a number a moment later, the larger the sooner."""
    await asyncio.sleep(0.01 / value)
    return value


def test_results_are_in_the_order_of_the_work() -> None:
    """Whichever is done first."""
    assert asyncio.run(together(map(number, (1, 5, 3)))) == [1, 5, 3]


def test_the_first_failure_ends_the_others_before_it_is_told() -> None:
    """Nothing goes on in the background, and the cause of the failure is still its own."""
    ended = []

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def failing() -> None:
        await asyncio.sleep(0)
        raise Unreadable("shard 3") from OSError("disk")

    with pytest.raises(Unreadable, match="shard 3") as caught:
        asyncio.run(together([endless(), failing()]))
    assert ended == [True]
    assert isinstance(caught.value.__cause__, OSError)
