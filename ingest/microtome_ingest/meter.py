"""How many bytes of voxels a source decoded, those that nobody asked for included."""

import threading


class Meter:
    """A count that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Bytes so far."""
        return self._count

    def add(self, count: int) -> None:
        """Count more."""
        with self._lock:
            self._count += count
