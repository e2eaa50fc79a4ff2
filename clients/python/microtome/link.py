"""How fast a link is, as far as answers tell, and in which form to ask for voxels over it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from microtome.errors import InputError

TRANSFERS = ("auto", "raw", "zstd", "chunks")
# Below this many bytes a second, less to send is worth what it costs to compress and decode it.
SLOW = 32e6
# Nothing is concluded from less; and what is older than so many bytes counts half.
_LEAST = 1 << 20
_MEMORY = 64 << 20


class Link:
    """Bytes received and the time that they took, of all answers at once; safe in threads.

    Parameters
    ----------
    transfer : str
        ``auto`` goes by what was measured; ``raw``, ``zstd`` or ``chunks`` always.

    Attributes
    ----------
    received : int
        Bytes of bodies so far.
    """

    def __init__(self, transfer: str = "auto") -> None:
        if transfer not in TRANSFERS:
            raise InputError(f"transfer={transfer!r}: expected one of {', '.join(TRANSFERS)}")
        self.transfer = transfer
        self.received = 0
        self._lock = threading.Lock()
        self._bytes = 0.0
        self._busy = 0.0
        self._active = 0
        self._since = 0.0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count the time within as spent on receiving; answers side by side share it."""
        with self._lock:
            self._active += 1
            if self._active == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if not self._active:
                    self._busy += time.monotonic() - self._since

    def note(self, nbytes: int) -> None:
        """Count bytes that were received."""
        with self._lock:
            self.received += nbytes
            self._bytes += nbytes
            if self._bytes > _MEMORY:
                now = time.monotonic()
                busy = self._busy + (now - self._since if self._active else 0)
                self._bytes, self._busy, self._since = self._bytes / 2, busy / 2, now

    @property
    def rate(self) -> float | None:
        """Bytes a second; None where too little came to tell."""
        with self._lock:
            busy = self._busy + (time.monotonic() - self._since if self._active else 0)
            return self._bytes / busy if self._bytes >= _LEAST and busy > 0 else None

    @property
    def slow(self) -> bool:
        """Whether compressed voxels would come sooner."""
        if self.transfer != "auto":
            return self.transfer != "raw"
        rate = self.rate
        return rate is not None and rate < SLOW
