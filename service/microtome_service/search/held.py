"""What a process remembers of an index for as long as the index stays as it is."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
_MOST_BYTES = 64 << 20
# What an entry takes beside its value.
_ENTRY = 512

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


class Held:
    """Values that were made of one generation of an index; those of another one are dropped.

    Parameters
    ----------
    most : int
        Bytes that are kept; what was not used for longest goes first.
    """

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most, self._nbytes = most, 0
        self._generation = ""
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._digested: tuple[object, str] = (None, "")

    def get(
        self, generation: str, key: Hashable, make: Callable[[], T], nbytes: Callable[[T], int]
    ) -> T:
        """Return what `make` made for this key and generation, or let it be made.

        Parameters
        ----------
        generation : str
            Of the index; empty if it tells none, so that nothing may be remembered of it.
        key : hashable
        make : callable
        nbytes : callable
            Returns about how many bytes a value takes.
        """
        with self._lock:
            if generation != self._generation:
                self._values.clear()
                self._generation, self._nbytes = generation, 0
            if key in self._values:
                self._values.move_to_end(key)
                return cast(T, self._values[key][0])
        made = make()
        if generation:
            self._keep(generation, key, made, nbytes(made) + _ENTRY)
        return made

    def holds(self, key: Hashable) -> bool:
        """Tell whether a value of this key is kept, of whichever generation."""
        with self._lock:
            return key in self._values

    def digest(self, thing: T, digest_of: Callable[[T], str]) -> str:
        """Return the digest of a thing that never changes; of the last one it is known."""
        last, digest = self._digested
        if last is not thing:
            digest = digest_of(thing)
            self._digested = thing, digest
        return digest

    def _keep(self, generation: str, key: Hashable, value: object, nbytes: int) -> None:
        with self._lock:
            # Another thread may have seen a newer index, or made the same.
            if generation != self._generation or key in self._values or nbytes > self._most:
                return
            self._values[key] = value, nbytes
            self._nbytes += nbytes
            while self._nbytes > self._most:
                self._nbytes -= self._values.popitem(last=False)[1][1]
