"""The request under way, known wherever its work is done, and what watches over it."""

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """What is told of work."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """Watch one step of a request's work: `read` or `encode`."""

    def decoded(self, nbytes: int) -> None:
        """Note the bytes of chunks that a read touches."""

    def waited(self, seconds: float) -> None:
        """Note a wait for memory."""

    def refused(self, reason: str) -> None:
        """Note a refusal."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Parameters
    ----------
    id : str
        Tells it from all others, in logs and in the answer.
    client : str
        Address of the caller.
    observer : Observer, optional
    principal : str
        Who asks, once that is known.
    status, sent : int
        Of the answer, so far.
    broken : bool
        Whether the answer broke off.
    route : str
        Template of the route, once it has answered.
    """

    id: str
    client: str
    observer: Observer | None = None
    principal: str = ""
    status: int = 0
    sent: int = 0
    broken: bool = False
    route: str = "unmatched"


_CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current() -> Exchange | None:
    """Return the request under way; None outside of any."""
    return _CURRENT.get()


def begin(exchange: Exchange) -> None:
    """Let `exchange` be the request under way in this task and those that it starts."""
    _CURRENT.set(exchange)


def observer() -> Observer | None:
    """Return who watches over the request under way, if any."""
    exchange = _CURRENT.get()
    return exchange.observer if exchange else None


def span(name: str) -> AbstractContextManager[None]:
    """Let the observer watch a step of the work."""
    watching = observer()
    return nullcontext() if watching is None else watching.span(name)
