"""Work done one step ahead of whoever takes its results."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(
    work: Callable[[S, threading.Event], T], items: Iterable[S], depth: int = 1
) -> Iterator[T]:
    """Yield the result for each item in order, while the next `depth` are worked on.

    Whoever stops taking, by leaving the loop, by a fault or by Ctrl-C, ends what is under way.

    Parameters
    ----------
    work : callable
        Is given an item, and an event that is set once its result is no longer wanted.
    items : iterable
        What to work on.
    depth : int
        How many are worked on beside the one that was taken last; 0 begins one when it is asked
        for.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(max(1, depth), thread_name_prefix="microtome-ahead")
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item, stop))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
