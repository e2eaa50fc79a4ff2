"""What NumPy and other array libraries ask of a volume: its length, its planes, all of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome.ahead import ahead
from microtome.described import Described
from microtome.indexing import Cut, parse_index
from microtome.memory import check_memory

# Bytes that iteration reads at once; as many are read ahead.
_AHEAD = 16 << 20


class Arrays(Described):
    """How a volume is an array."""

    __slots__ = ()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the first axis; a few planes are read at once, and some ahead."""
        plane = self.nbytes // len(self)
        count = max(1, min(_AHEAD // max(plane, 1), self._level.chunk[0]))
        whole = tuple(range(n) for n in self.shape[1:])
        dropped = (False,) * self.ndim
        slabs = (
            Cut((range(first, min(first + count, len(self))), *whole), dropped)
            for first in range(0, len(self), count)
        )
        for slab in ahead(self._voxels, slabs, 1):
            # Each plane by itself, lest one that is kept hold all of them.
            yield from (np.copy(plane) if len(slab) > 1 else plane for plane in slab)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level, as ``np.asarray`` asks for it; unless memory cannot hold it.

        Raises
        ------
        TooLarge
            More bytes than this machine has memory: most likely nobody meant to read all of it.
        """
        if copy is False:
            raise ValueError("a volume is read from a service: its array is always a copy")
        what = f"{self.id} level {self.level_index}"
        check_memory(what, self.nbytes, "read a part by volume[...], or volume.overview()")
        cut = parse_index(..., self.shape, self.axes)
        array: NDArray[Any] = cut.finish(self._voxels(cut))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __dlpack__(self, **words: Any) -> Any:  # noqa: ANN401 - a capsule
        """Return the whole level for other libraries, as ``torch.from_dlpack`` asks for it."""
        return self.__array__().__dlpack__(**words)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return where its array will be: the processor's own memory."""
        return np.empty(0).__dlpack_device__()
