"""Telling processes from each other, also those that have ended (proc(5))."""

import os
from pathlib import Path


def this_process() -> str:
    """Return what tells this process from all others, its start last; empty where unknown.

    Processes see each other where what stands before the start is the same: boot and process
    namespace. Containers may share a name and the numbers of their processes.
    """
    boot = _text("/proc/sys/kernel/random/boot_id")
    started = _started(os.getpid())
    if not boot or not started:
        return ""
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}/{started}"


def is_alive(process: str, pid: int) -> bool | None:
    """Tell whether a process runs; None where it cannot be seen from here.

    Parameters
    ----------
    process : str
        As `this_process` told there.
    pid : int
    """
    machine, _, started = process.rpartition("/")
    if not machine or machine != this_process().rpartition("/")[0]:
        return None
    return _started(pid) == started


def _started(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty where there is none."""
    # The name before it may hold spaces and brackets; it is field 22.
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
