"""Reads of sources that may do anything: each in a process of its own, timed and measured.

A server imports the readers once and forks for each read, so that one costs milliseconds; a crash,
a hang or memory without end is an outcome and not the end of the tests.
"""

import hashlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from microtome_core.errors import InputError, StorageError
from microtome_core.region import Region
from microtome_ingest.formats import format_of, load, open_source, scenes
from tests.damage import Case, Subject, put

SECONDS = 30
MOST_MEMORY = 1 << 30
# Beyond what is in use when a read begins: a safety net below which memory is measured.
_ADDRESSES = 4 << 30
_WHOLE = 48 << 20
_MOST_SCENES = 6
# How libraries say that memory was not to be had; FFmpeg has its own word for sizes it refuses.
_STARVED = re.compile(r"MemoryError(?!: \[Errno 12\])|bad_alloc|Unable to allocate")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one read.

    Parameters
    ----------
    kind : str
        ``read``, ``refused`` (an error that microtome raises on purpose), ``raised`` (any other),
        ``crashed`` (a signal), ``hung``.
    text : str
        A digest of everything that was read, or what was said.
    peak : int
        Bytes of memory above what the process had before.
    seconds : float
    """

    kind: str
    text: str
    peak: int
    seconds: float

    @property
    def fault(self) -> str | None:
        """Say what must not happen whatever a file holds, or None."""
        if self.kind not in ("read", "refused"):
            return f"{self.kind}: {self.text}"
        if self.peak > MOST_MEMORY:
            return f"took {self.peak >> 20} MiB: {self.text[:300]}"
        if self.kind == "refused" and _STARVED.search(self.text):
            return f"asked for memory that nobody has: {self.text[:300]}"
        return None


def digest(path: str, *, direct: bool = False) -> str:
    """Return axes, shape, type and a hash of the voxels of every image; of large ones of parts.

    `direct` reads here what users get from a process of its own.
    """
    found, listed, opened = [], scenes, open_source
    if direct:
        reader = load(format_of(path))
        listed, opened = reader.scenes, reader.open_image
    for scene in listed(path)[:_MOST_SCENES]:
        with closing(opened(path, scene.index)) as source:
            whole, hashed = source.description, hashlib.sha256()
            for box in boxes(whole.axes, whole.shape, np.dtype(whole.dtype).itemsize):
                hashed.update(np.ascontiguousarray(source.read(box)).tobytes())
        found.append(f"{whole.axes} {whole.shape} {whole.dtype} {hashed.hexdigest()[:16]}")
    return "; ".join(found)


def boxes(axes: str, shape: Sequence[int], itemsize: int) -> list[Region]:
    """Return the whole if it is not large, else three boxes: at the start, middle and end."""
    if prod(shape) * itemsize <= _WHOLE:
        return [Region.whole(axes, tuple(shape))]
    extent = list(shape)
    for axis in range(len(extent)):
        rest = prod(extent[axis + 1 :]) * itemsize
        extent[axis] = max(1, min(extent[axis], (_WHOLE // 3) // rest))
        if extent[axis] > 1:
            break
    starts = [
        tuple((total - part) * i // 2 for total, part in zip(shape, extent, strict=True))
        for i in range(3)
    ]
    return [
        Region(axes, at, tuple(low + n for low, n in zip(at, extent, strict=True))) for at in starts
    ]


def _attempt(path: str, direct: bool) -> dict[str, Any]:
    """Read everything in this process and say what came of it."""
    used = _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + _ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of memory
    kind = "raised"
    try:
        kind, text = "read", digest(path, direct=direct)
    except (InputError, StorageError) as error:
        kind, text = "refused", f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - whatever it is, it is what came of it
        kind, text = "raised", traceback.format_exc(limit=-6)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    peak = max(_status("VmHWM"), children) - used
    return {"kind": kind, "text": text[-2000:], "peak": peak}


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def _tried(path: str) -> Outcome:
    """Read in a child of this process; where that goes wrong, as users do.

    They have some formats read in a process of its own, which takes a second to start.
    """
    outcome = _forked(path, direct=True)
    return outcome if outcome.fault is None else _forked(path, direct=False)


def _forked(path: str, *, direct: bool) -> Outcome:
    said = os.memfd_create("said")
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.write(theirs, json.dumps(_attempt(path, direct)).encode())
        os._exit(0)
    os.close(theirs)
    ready, _, _ = select.select([ours], [], [], SECONDS)
    answer = b"".join(iter(lambda: os.read(ours, 1 << 16), b"")) if ready else b""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    os.close(ours)
    # Of processors, with those of its children: what else runs here does not count.
    seconds = used.ru_utime + used.ru_stime
    words = os.pread(said, 1 << 20, 0)[-600:].decode(errors="replace")
    os.close(said)
    if answer:
        return Outcome(**json.loads(answer), seconds=seconds)
    if not ready:
        return Outcome("hung", words, 0, seconds)
    return Outcome("crashed", f"status {os.waitstatus_to_exitcode(status)} {words}", 0, seconds)


def _serve() -> None:
    """Answer one line of JSON for each line: a subject, a case."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "path" in asked:
            outcome = _tried(asked["path"])
        else:
            folder = Path(tempfile.mkdtemp(dir=asked["folder"]))
            # What a reader says of its path must be the same for all copies.
            path = put(Subject(**asked["subject"]), Case.parse(asked["case"]), folder)
            outcome = _tried(path)
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(asdict(outcome)), flush=True)


class Trials:
    """Some servers that read at the same time.

    Parameters
    ----------
    servers : list of Popen
    folder : Path
        For damaged copies.
    """

    def __init__(self, servers: "Sequence[subprocess.Popen[str]]", folder: Path) -> None:
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._folder, self._count = folder, len(servers)
        for server in servers:
            self._idle.put(server)

    def read(self, path: Path | str) -> Outcome:
        """Read what lies at a path."""
        return self._ask({"path": str(path)})

    def damaged(self, subject: Subject, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Read damaged copies; yield what came of each, in order."""
        fields = asdict(subject)

        def one(case: Case) -> Outcome:
            return self._ask({"subject": fields, "case": str(case), "folder": str(self._folder)})

        with ThreadPoolExecutor(self._count) as pool:
            yield from zip(cases, pool.map(one, cases), strict=True)

    def _ask(self, asked: dict[str, Any]) -> Outcome:
        server = self._idle.get()
        try:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(asked) + "\n")
            server.stdin.flush()
            return Outcome(**json.loads(server.stdout.readline()))
        finally:
            self._idle.put(server)


@contextmanager
def running(folder: Path, count: int | None = None) -> Iterator[Trials]:
    """Start servers, one a core unless told otherwise, and end them."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.trial"]
    servers = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count or os.cpu_count() or 1)
    ]
    try:
        yield Trials(servers, folder)
    finally:
        for server in servers:
            server.kill()
            server.communicate()


def _load() -> None:
    """Import every reader that can be, so that no child has to."""
    import importlib
    import pkgutil

    import microtome_ingest.sources as readers

    for module in pkgutil.iter_modules(readers.__path__):
        with suppress(ModuleNotFoundError):
            importlib.import_module(f"{readers.__name__}.{module.name}")


if __name__ == "__main__":
    _load()
    _serve()
