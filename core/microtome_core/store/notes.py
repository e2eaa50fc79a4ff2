"""What is noted durably of writes: which levels have still to follow, and who wrote what.

::

    layer/0/ledger/pending/NAME.json           since before a write until the levels above have it
    layer/0/ledger/pending/NAME-ended.json     since the write has ended until then
    layer/0/ledger/writes/2026-05-04/NAME.json  each write that was answered; kept
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from microtome_core.errors import StorageError
from microtome_core.processes import is_alive, this_process
from microtome_core.region import Region
from microtome_core.store.ledger import FOLDER
from microtome_core.store.live import Live

# A write of which nothing is heard for so long has ended, however it did.
_LONGEST_WRITE = 900.0
# Whoever has written updates the levels at once; others step in after so long.
_PATIENCE = 10.0
_ENDED = "-ended"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that writes.

    Parameters
    ----------
    host, pid : str, int
        For people.
    token : str
        Tells it from all others.
    process : str
        By which it is seen whether it runs; empty where that is not known.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    process: str = field(default_factory=this_process)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended."""
        return is_alive(self.process, self.pid) is False


@dataclass(frozen=True, slots=True)
class Note:
    """A write whose levels have still to follow.

    Parameters
    ----------
    name : str
    region : Region
        Of level 0.
    written : bool
        Whether it has ended.
    at : float
        When it was noted, in seconds since 1970.
    owner : Owner
    """

    name: str
    region: Region
    written: bool
    at: float
    owner: Owner

    def is_due(self, owner: Owner, now: float) -> bool:
        """Tell whether `owner` is to bring the levels up to date."""
        if self.owner.is_dead:
            return True
        # A note from the future is of a clock that went wrong: it does not wait for that time.
        age = abs(now - self.at)
        if not self.written:
            return age > _LONGEST_WRITE
        return self.owner == owner or age > _PATIENCE


def begin(live: Live, region: Region, owner: Owner) -> Note:
    """Note that a write begins."""
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    note = Note(name, region, False, time.time(), owner)
    _write(live, note)
    return note


def end(live: Live, note: Note) -> None:
    """Note that a write has ended, whether it was done or failed.

    Under a name of its own: whoever took the write for ended, and forgets its note, leaves this.
    """
    _write(live, replace(note, name=f"{note.name}{_ENDED}", written=True, at=time.time()))


def forget(live: Live, note: Note) -> None:
    """Remove what was read of a note: its levels have followed, or nothing was written."""
    for name in dict.fromkeys((note.name.removesuffix(_ENDED), note.name)):
        live.store.remove(_path(live, name))


def any_pending(live: Live) -> bool:
    """Tell whether levels have still to follow a write."""
    return bool(_names(live))


def pending(live: Live) -> list[Note]:
    """Return every write whose levels have still to follow.

    Raises
    ------
    StorageError
        Storage failed, or a note is damaged.
    """
    names = _names(live)
    newest = (name for name in names if f"{name}{_ENDED}" not in names)
    found = ((name, live.store.read(_path(live, name))) for name in newest)
    return [_read(live, name, data) for name, data in found if data is not None]


def record_write(live: Live, facts: Mapping[str, Any]) -> None:
    """Note durably who wrote what; it is kept.

    Parameters
    ----------
    facts : dict
        JSON; ``at``, the time in ISO 8601, is added.
    """
    now = time.time_ns()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z"
    path = f"{live.folder}/{FOLDER}/writes/{at[:10]}/{now:020d}-{secrets.token_hex(4)}.json"
    live.store.write(path, json.dumps({"at": at, **facts}, allow_nan=False).encode())


def _names(live: Live) -> list[str]:
    keys = (key.rpartition("/")[2] for key, _ in live.store.sizes(_folder(live)))
    return sorted(key.removesuffix(".json") for key in keys if key.endswith(".json"))


def _folder(live: Live) -> str:
    return f"{live.folder}/{FOLDER}/pending"


def _path(live: Live, name: str) -> str:
    return f"{_folder(live)}/{name}.json"


def _write(live: Live, note: Note) -> None:
    told = {
        "region": str(note.region),
        "written": note.written,
        "at": note.at,
        "owner": asdict(note.owner),
    }
    live.store.write(_path(live, note.name), json.dumps(told).encode())


def _read(live: Live, name: str, data: bytes) -> Note:
    try:
        told = json.loads(data)
        owner = Owner(**{"process": "", **told["owner"]})
        region = Region.parse(told["region"])
        return Note(name, region, bool(told["written"]), float(told["at"]), owner)
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(f"{live.store.url}/{_path(live, name)}: damaged: {error}") from error
