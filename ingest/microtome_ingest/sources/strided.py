"""Arrays that lie in a file with even distances along each axis, in whatever order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_ingest.files import Bytes, Files

# Bytes that are fetched together, and the most that is fetched in one piece where it is not needed.
_WINDOW = 32 << 20

Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Strided:
    """An array in a file.

    Parameters
    ----------
    offset : int
        Of its first voxel.
    shape : tuple of int
    steps : tuple of int
        Bytes from one voxel to the next along each axis; none is negative.
    dtype : numpy.dtype
        As stored, with its byte order.
    """

    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of its voxels, without those between them."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The byte after its last voxel."""
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.steps, strict=True))
        return self.offset + reach + self.dtype.itemsize

    def overlap(self) -> int | None:
        """Return the first axis along which voxels would lie in each other's bytes, or None."""
        reach = self.dtype.itemsize
        for step, extent, axis in sorted(
            zip(self.steps, self.shape, range(len(self.shape)), strict=True)
        ):
            if extent > 1 and step < reach:
                return axis
            reach += (extent - 1) * step
        return None

    def box(self, box: Sequence[slice]) -> "Strided":
        """Return a part of it."""
        starts = zip(box, self.steps, strict=True)
        return replace(
            self,
            offset=self.offset + sum(part.start * step for part, step in starts),
            shape=tuple(part.stop - part.start for part in box),
        )

    def view(self, memory: memoryview, start: int) -> NDArray[Any]:
        """Return the array in memory that holds the file's bytes from `start` on."""
        return np.ndarray(self.shape, self.dtype, memory, self.offset - start, self.steps)

    def parts(self) -> Iterator[tuple[Box, "Strided"]]:
        """Yield boxes that make it up, each of them in few bytes more than its own."""
        axes = [axis for axis, extent in enumerate(self.shape) if extent > 1]
        size = self.end - self.offset
        if len(axes) < 2 or (size <= _WINDOW and size <= 2 * self.nbytes):
            yield tuple(slice(0, extent) for extent in self.shape), self
            return
        axis = max(axes, key=self.steps.__getitem__)
        for i in range(self.shape[axis]):
            at = slice(i, i + 1)
            cut = [slice(0, extent) for extent in self.shape]
            cut[axis] = at
            for box, part in self.box(cut).parts():
                yield (*box[:axis], at, *box[axis + 1 :]), part

    def copy(self, files: Files, data: Bytes, target: NDArray[Any]) -> None:
        """Read all of it into an array of its shape."""
        if data.mapped:
            memory = data.read(self.offset, self.end - self.offset)
            np.copyto(target, self.view(memory, self.offset))
            return
        for group in _groups(self.parts()):
            wanted = [(data, part.offset, part.end - part.offset) for _, part in group]
            for (box, part), memory in zip(group, files.fetch(wanted), strict=True):
                np.copyto(target[box], part.view(memory, part.offset))


def _groups(parts: Iterator[tuple[Box, Strided]]) -> Iterator[list[tuple[Box, Strided]]]:
    """Yield parts in groups of about `_WINDOW` bytes."""
    group: list[tuple[Box, Strided]] = []
    size = 0
    for box, part in parts:
        group.append((box, part))
        size += part.end - part.offset
        if size >= _WINDOW:
            yield group
            group, size = [], 0
    if group:
        yield group
