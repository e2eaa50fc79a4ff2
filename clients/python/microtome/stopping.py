"""Whether what is under way is still wanted, told through any depth of calls."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_STOP: ContextVar[threading.Event | None] = ContextVar("microtome_stop", default=None)


def stop_event(given: threading.Event | None = None) -> threading.Event:
    """Return the event that ends a call: the one given, that of its caller, or a new one."""
    return given or _STOP.get() or threading.Event()


@contextmanager
def stopping(event: threading.Event) -> Iterator[None]:
    """Let `event` end every call within."""
    token = _STOP.set(event)
    try:
        yield
    finally:
        _STOP.reset(token)
