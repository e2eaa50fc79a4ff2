"""A Dask cluster of processes: a scheduler and workers, as on machines of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def dask_process(*words: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command of Dask's as a process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def scheduler_words(port: int) -> list[str]:
    """Return the command of a scheduler."""
    return ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]


def worker_words(port: int, threads: int = 1) -> list[str]:
    """Return the command of a worker."""
    words = ["worker", f"tcp://127.0.0.1:{port}", "--nthreads", str(threads), "--no-nanny"]
    return [*words, "--no-dashboard", "--memory-limit", "0"]


@contextmanager
def cluster(
    port: int, workers: int, folder: Path, **environment: str
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run a scheduler and workers of one thread; yield their processes, the scheduler first."""
    with ExitStack() as stack:
        found = [stack.enter_context(dask_process(*scheduler_words(port), **environment))]
        for index in range(workers):
            words = [*worker_words(port), "--local-directory", str(folder / f"worker-{index}")]
            found.append(stack.enter_context(dask_process(*words, **environment)))
        yield found
