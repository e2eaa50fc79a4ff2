"""``microtome COMMAND …``: finds the command and turns errors into exit codes.

A command's module is imported only when it is called, so that the thin client's commands need
nothing of the others' extras.

Exit codes: 0 done, 1 a bug, 2 bad input (mend it), 3 `verify` found damage, 75 storage failed or is
in use (try again), 77 storage refuses (mend the rights), 130 interrupted, 143 terminated. After 75,
77, 130 and 143 the same command goes on.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import Protocol, cast

from microtome_core import __version__
from microtome_core.errors import AccessDenied, MicrotomeError

BAD_INPUT = 2
DAMAGED = 3
TRY_AGAIN = 75
NO_PERMISSION = 77
INTERRUPTED = 130
TERMINATED = 143
# A transfer on which nothing comes for so long is broken off and tried again; TensorStore and its
# workers read these when they first use S3.
_STALLED = {
    "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "20",
    "TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES": "1",
}


class Terminated(BaseException):
    """SIGTERM has come: what is under way is finished, nothing new is begun."""


class Command(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit code."""


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str
    extra: str
    summary: str


_COMMANDS = {
    "info": _Entry("about", "ingest", "say what is in a source: axes, shape, voxel size, channels"),
    "ls": _Entry("ls", "client", "list what a service has: datasets, layers, levels"),
    "get": _Entry("get", "client", "fetch a region of a layer into a file"),
    "formats": _Entry("formats", "ingest", "list what can be read, by what, and what to install"),
    "ingest": _Entry("ingest", "ingest", "convert a source into a layer"),
    "ingest-table": _Entry("ingest_table", "ingest", "convert every source of a table (CSV)"),
    "submit": _Entry("submit", "ingest", "an ingest as a Job of Kubernetes, or as a DaskJob"),
    "commit": _Entry("commit", "ingest", "join the parts of an ingest by --array-index"),
    "verify": _Entry("verify", "ingest", "compare a layer with its ledger, and with its source"),
    "register": _Entry("register", "ingest", "say how a layer lies in a named space or atlas"),
    "metadata": _Entry("metadata", "ingest", "show, check and change what is known of a layer"),
    "export": _Entry("export", "ingest", "write a layer as NWB, OME-TIFF, NIfTI and other formats"),
    "create": _Entry("create", "service", "create an empty layer that can be written"),
    "serve": _Entry("serve", "service", "serve the layers of a root over HTTP"),
    "token": _Entry("token", "service", "make, list and revoke API keys"),
    "access": _Entry("access", "service", "say who may see and change what"),
    "database": _Entry("database", "service", "renew the tables of keys, grants and search"),
    "demo": _Entry("demo", "all", "make a sample brain, ingest it, serve it and cut it"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code tells what the caller can do about a failure."""
    words = sys.argv[1:] if words is None else words
    for name, value in _STALLED.items():
        os.environ.setdefault(name, value)
    try:
        _hear_the_end()
        command = _load(words[0]) if words and words[0] in _COMMANDS else None
        arguments = _parsed(_parser(words[0] if words else "", command), words)
        return cast(Command, arguments.command).run(arguments)
    except MicrotomeError as error:
        print(f"microtome: {error}", file=sys.stderr)
        return code_of(error)
    except KeyboardInterrupt:
        return _stop("interrupted", INTERRUPTED)
    except Terminated:
        return _stop("terminated", TERMINATED)


def _hear_the_end() -> None:
    """Let SIGTERM end what is the first process of a container, where others end by themselves.

    The kernel drops signals for which that process has no handler (pid_namespaces(7)).
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)


def _end(_: int, __: FrameType | None) -> None:
    raise Terminated


def _load(name: str) -> Command:
    entry = _COMMANDS[name]
    try:
        return cast(Command, import_module(f"microtome_cli.{entry.module}"))
    except ModuleNotFoundError as error:
        raise MicrotomeError(
            f"'microtome {name}' needs {error.name}: install the extra '{entry.extra}' of microtome"
        ) from error


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words; those that a command takes many of may follow its options, too."""
    arguments, rest = parser.parse_known_args(words)
    many: str = getattr(arguments, "anywhere", "")
    if rest and (not many or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        setattr(arguments, many, [*getattr(arguments, many), *rest])
    return arguments


def _parser(called: str, command: Command | None) -> argparse.ArgumentParser:
    """Return a parser that lists every command and knows the arguments of the one called."""
    parser = argparse.ArgumentParser(
        prog="microtome",
        description="Any cutout of any brain image: convert sources, serve layers.",
        epilog="exit codes: 0 done, 1 a bug, 2 bad input, 3 damage found by verify, "
        "75 storage failed or in use (try again), 77 storage refuses (mend the rights), "
        "130 interrupted, 143 terminated",
    )
    parser.add_argument("--version", action="version", version=f"microtome {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, entry in _COMMANDS.items():
        below = commands.add_parser(name, help=entry.summary, description=entry.summary)
        if command is not None and name == called:
            below.set_defaults(command=command)
            command.add_arguments(below)
    return parser


def code_of(error: MicrotomeError) -> int:
    """Return the exit code of an error of any room; the client's own are not imported here."""
    if isinstance(error, AccessDenied | PermissionError):
        return NO_PERMISSION
    return TRY_AGAIN if error.passing else BAD_INPUT


def _stop(word: str, code: int) -> int:
    """Say that it was stopped; leave at once where a thread still waits for storage."""
    print(f"microtome: {word}", file=sys.stderr, flush=True)
    if any(thread.name.startswith("ingest") for thread in threading.enumerate()):
        sys.stdout.flush()
        os._exit(code)  # Python would wait for the thread
    return code
