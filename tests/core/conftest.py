"""What tests of the core share."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest


@pytest.fixture(scope="session")
def at_once() -> Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]:
    """Call something with each of some values, all at the same moment, each in a thread."""

    def run(work: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        given = list(values)
        gate = Barrier(len(given))

        def start(value: Any) -> Any:  # noqa: ANN401 - any value
            gate.wait()
            return work(value)

        with ThreadPoolExecutor(len(given)) as pool:
            return list(pool.map(start, given))

    return run
