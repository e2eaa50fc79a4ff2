"""Run the decoding of one call on every core."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

_MOST = 8


def run(jobs: Sequence[Callable[[], None]], threads: int | None = None) -> None:
    """Run every job and return when all are done; the first error is raised, the rest dropped.

    Decoders release the GIL, so threads serve; one job alone costs no thread.

    Parameters
    ----------
    jobs : sequence of callable
    threads : int, optional
        Instead of one a core, for jobs that wait for a network.
    """
    workers = min(len(jobs), threads or min(os.cpu_count() or 1, _MOST))
    if workers < 2:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            for future in [pool.submit(job) for job in jobs]:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
