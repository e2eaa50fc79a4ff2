"""Work done side by side, of which nothing goes on once it has failed."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in their order; the first failure ends the others, and is raised.

    What others hold in memory is let go of before that is told.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        first = failed.exceptions[0]
        # Its own cause is what the log is to name.
        raise first from first.__cause__
    return [task.result() for task in tasks]
