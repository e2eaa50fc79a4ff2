"""Work done ahead of whoever uses its results, for loops that train while the next batch comes."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from microtome.errors import InputError

T = TypeVar("T")
U = TypeVar("U")


def ahead(work: Callable[[T, threading.Event], U], items: Iterable[T], count: int) -> Iterator[U]:
    """Yield what `work` makes of each item, in order, while up to `count` more are worked on.

    Leaving the loop ends what is under way; the first fault is raised where its result would be.

    Parameters
    ----------
    work : callable
        Is given an item, and an event that is set once its result is no longer wanted.
    items : iterable
        Taken as they are needed: it may have no end.
    count : int
        Results in memory beside the one that is used; 0 works on one only when it is asked for.
    """
    if count < 0:
        raise InputError(f"ahead={count!r}: expected 0 or more")
    return _ahead(work, items, count)


def _ahead(work: Callable[[T, threading.Event], U], items: Iterable[T], count: int) -> Iterator[U]:
    stop = threading.Event()
    pending: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(max(1, count), thread_name_prefix="microtome-ahead")
    try:
        for item in items:
            pending.append(pool.submit(work, item, stop))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        # Not waited for: a request under way sees `stop` at its next bytes.
        pool.shutdown(wait=False, cancel_futures=True)
