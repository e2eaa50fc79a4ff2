"""Processes that run a command of microtome and are killed: forked, so that each starts at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Imports everything and then forks for each line: the command is under way within milliseconds.
_LAUNCHER = """
import json, os, sys
import microtome_cli.ingest, microtome_cli.main, microtome_ingest.sources.computed
import microtome_ingest.sources.npy, s3fs
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        try:
            code = microtome_cli.main.main(json.loads(line))
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        os._exit(code)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Launcher:
    """Runs commands, one at a time.

    Parameters
    ----------
    process : Popen
        Of the launcher's program.
    errors : Path
        What the commands say on standard error.
    """

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self._process, self._errors = process, errors

    def run(self, words: Sequence[str], killed_after: float | None = None) -> int:
        """Run a command to its end, or kill it -9 after some seconds; return its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(words)) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if killed_after is not None:
            time.sleep(killed_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGKILL)
        return int(self._process.stdout.readline())

    @property
    def errors(self) -> str:
        """What all commands have said on standard error."""
        return self._errors.read_text()


@contextmanager
def launcher(folder: Path, environment: Mapping[str, str]) -> Iterator[Launcher]:
    """Start a launcher whose commands see `environment`."""
    errors = folder / "errors.txt"
    with errors.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, **environment},
        )
    try:
        yield Launcher(process, errors)
    finally:
        process.kill()
        process.communicate()
