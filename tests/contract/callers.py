"""Callers that a service must withstand: many at once, and some that drip, vanish, stall or lie."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count

from aiohttp import ClientSession, ClientTimeout, TCPConnector


@dataclass(frozen=True, slots=True)
class Question:
    """A path below a service, and the digest of the right answer."""

    path: str
    sha256: str


@dataclass(slots=True)
class Outcome:
    """What many callers got.

    Parameters
    ----------
    statuses : Counter
        How often each status came.
    seconds : list of float
        What each answer with status 200 took.
    wrong : list of str
        Answers with status 200 and other bytes, and refusals that do not say when to come back.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def quantile(self, part: float) -> float:
        """Return how long the slowest of a part of the answers took."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(part * len(self.seconds)))]


def crowd(address: str, questions: Sequence[Question], callers: int, seconds: float) -> Outcome:
    """Let as many callers ask one question after the other, each from an address of its own."""
    return asyncio.run(_crowd(address, questions, callers, seconds))


async def _crowd(
    address: str, questions: Sequence[Question], callers: int, seconds: float
) -> Outcome:
    outcome, end = Outcome(), time.monotonic() + seconds
    connector = TCPConnector(limit=0)
    async with ClientSession(address, connector=connector, timeout=ClientTimeout(120)) as session:
        await asyncio.gather(
            *(_caller(session, questions, number, end, outcome) for number in range(callers))
        )
    return outcome


async def _caller(
    session: ClientSession, questions: Sequence[Question], number: int, end: float, outcome: Outcome
) -> None:
    headers = {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250 + 1}"}
    for turn in count(number):
        if time.monotonic() > end:
            return
        question = questions[turn % len(questions)]
        started = time.monotonic()
        async with session.get(question.path, headers=headers) as answer:
            body = await answer.read()
        outcome.statuses[answer.status] += 1
        if answer.status == 200:
            outcome.seconds.append(time.monotonic() - started)
            if sha256(body).hexdigest() != question.sha256:
                outcome.wrong.append(f"{question.path}: other bytes")
        elif "Retry-After" not in answer.headers:
            outcome.wrong.append(f"{question.path}: {answer.status} without Retry-After")
        else:
            await asyncio.sleep(0.2)


@contextmanager
def bad_company(address: str, path: str) -> Iterator[Counter[str]]:
    """Send callers of bad manners until the end of the block; count what each kind did."""
    host, port = address.removeprefix("http://").split(":")
    ended, done = threading.Event(), Counter[str]()
    kinds = (_drip, _vanish, _stall, _lie)
    threads = [
        threading.Thread(target=_again, args=(kind, (host, int(port)), path, ended, done))
        for kind in kinds
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        ended.set()
        for thread in threads:
            thread.join()


_Manner = Callable[[socket.socket, str, threading.Event], None]


def _again(
    manner: _Manner, at: tuple[str, int], path: str, ended: threading.Event, done: Counter[str]
) -> None:
    while not ended.is_set():
        try:
            with socket.create_connection(at, 10) as caller:
                manner(caller, path, ended)
        except OSError:
            done["cut off"] += 1
        done[manner.__name__] += 1
        ended.wait(0.05)


def _drip(caller: socket.socket, path: str, ended: threading.Event) -> None:
    """Send the head of a request one byte in half a second."""
    for byte in f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Slow: ".encode():
        caller.send(bytes([byte]))
        if ended.wait(0.5):
            return


def _vanish(caller: socket.socket, path: str, _: threading.Event) -> None:
    """Ask and go away before the answer."""
    caller.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def _stall(caller: socket.socket, path: str, ended: threading.Event) -> None:
    """Ask and take nothing of the answer for a while."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    ended.wait(3)


def _lie(caller: socket.socket, path: str, ended: threading.Event) -> None:
    """Announce a body that never comes."""
    path, _, _ = path.partition("?")
    head = f"POST {path}s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    caller.sendall(f"{head}Content-Length: 100000\r\n\r\n{{".encode())
    ended.wait(3)


async def ask_once(address: str, question: Question) -> float:
    """Return the seconds of one answer, which must be right."""
    started = time.monotonic()
    async with ClientSession(address) as session, session.get(question.path) as answer:
        assert answer.status == 200
        assert sha256(await answer.read()).hexdigest() == question.sha256
    return time.monotonic() - started
