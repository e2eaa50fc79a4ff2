"""A value from a source that is looked at again, and when."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from microtome_service.auth.current import Current


def test_what_was_read_before_all_was_forgotten_is_not_believed() -> None:
    """Who signs out while the database is read is out with the next answer."""
    values, go = iter(("before", "after")), Event()

    def load() -> str:
        value = next(values)
        go.wait(10)
        return value

    async def ask() -> None:
        with ThreadPoolExecutor(1) as pool:
            current = Current(load, pool, 600.0, 600.0)
            waiting = asyncio.create_task(current.get())
            await asyncio.sleep(0.05)
            current.forget()
            go.set()
            assert (await waiting).value == "before"
            assert (await current.get()).value == "after"
            assert (await current.get()).value == "after"

    asyncio.run(ask())
