"""Arguments of commands that write: who does the work, what it may take, how it tells of it."""

import argparse
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import cast

from microtome_cli.main import Terminated
from microtome_cli.options import parse_bytes
from microtome_cli.progress import Events, View
from microtome_core.errors import InputError, MicrotomeError
from microtome_core.heap import return_freed_memory
from microtome_ingest.claim import Part
from microtome_ingest.engine import Engine
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions
from microtome_ingest.resolve import Resolution

_MEMORY = 2 * 2**30
_WORKER_MEMORY = 3 * 2**29
_PART = re.compile(r"(\d{1,6})/(\d{1,6})")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add memory, threads, workers, scheduler, part and the form of progress."""
    add_work_arguments(parser)
    group = add_cluster_arguments(parser)
    group.add_argument(
        "--array-index",
        metavar="I/N",
        help="only every N-th unit from I on, 0 to N-1; 'microtome commit' joins them",
    )
    group.add_argument(
        "--commit",
        action="store_true",
        help="with --array-index: the part that ends last joins them all",
    )


def add_cluster_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add workers and scheduler; return their group."""
    group = parser.add_argument_group("who does the work")
    group.add_argument(
        "--workers", type=int, metavar="N", help="so many processes of this machine (Dask)"
    )
    group.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="the workers of a Dask cluster; --memory bounds each of them",
    )
    return group


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what any command that reads or writes many shards takes."""
    group = parser.add_argument_group("what it may take, and how it tells of it")
    group.add_argument(
        "--memory",
        metavar="BYTES",
        help="bound of the whole job (default 2GiB, or with --workers 1.5GiB for each)",
    )
    group.add_argument(
        "--threads", type=int, help="steps in flight at most (default: one more than cores)"
    )
    group.add_argument("--json", action="store_true", help="tell of progress as JSON, one a line")


def add_grace_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--grace``, which those need that may replace a layer."""
    parser.add_argument(
        "--grace",
        type=float,
        default=IngestOptions().grace,
        metavar="SECONDS",
        help="how long the voxels of a replaced layer are kept (default 10)",
    )


def parse_part(text: str | None) -> Part:
    """Read ``I/N``.

    >>> parse_part("2/8")
    Part(index=2, count=8)
    """
    if text is None:
        return Part()
    match = _PART.fullmatch(text)
    if not match or not 0 <= int(match[1]) < int(match[2]):
        raise InputError(f"--array-index {text[:40]!r}: expected I/N with I from 0 to N-1")
    return Part(int(match[1]), int(match[2]))


def choose_engine(
    arguments: argparse.Namespace,
    options: IngestOptions,
    resolution: Resolution,
    observer: Observer,
) -> Engine | None:
    """Return the engine that was asked for, None for threads of this process.

    Raises
    ------
    InputError
        Two engines at once, or numbers that cannot be.
    MicrotomeError
        Dask is not installed.
    """
    chosen = [arguments.workers is not None, bool(arguments.scheduler), bool(arguments.array_index)]
    if sum(chosen) > 1:
        raise InputError("--workers, --scheduler and --array-index: expected one of them at most")
    if arguments.commit and not arguments.array_index:
        raise InputError("--commit: of parts; expected --array-index I/N with it")
    if arguments.workers is not None and arguments.workers < 1:
        raise InputError(f"--workers {arguments.workers}: expected at least 1")
    if arguments.workers is None and not arguments.scheduler:
        return None
    try:
        clusters = import_module("microtome_cli.clusters")
    except ModuleNotFoundError as error:
        raise MicrotomeError(
            f"--workers and --scheduler need {error.name}: install the extra 'dask' of microtome"
        ) from error
    return cast(Engine, clusters.cluster_engine(arguments, options, resolution, observer))


def view(arguments: argparse.Namespace, title: str) -> View | None:
    """Return how to show progress: as JSON on standard output, or what suits the terminal."""
    return Events(title, sys.stdout) if arguments.json else None


def memory(arguments: argparse.Namespace) -> int:
    """Return the bytes of ``--memory``, by default what suits the processes of this machine."""
    if arguments.memory is not None:
        return parse_bytes(arguments.memory)
    return max(_MEMORY, (getattr(arguments, "workers", None) or 0) * _WORKER_MEMORY)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end what is done within, as Ctrl-C does; give freed memory back meanwhile."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Terminated

    return_freed_memory()
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
