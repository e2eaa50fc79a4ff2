"""A piece of memory that two processes see, for the voxels of one read."""

import mmap
import os
import tempfile
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """A file without a name, in memory where the system has such.

    Parameters
    ----------
    number : int
        Its file descriptor.
    """

    number: int

    @classmethod
    def make(cls) -> "SharedBlock":
        """Make an empty one."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("voxels"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def put(self, voxels: NDArray[Any]) -> None:
        """Store an array."""
        os.ftruncate(self.number, max(voxels.nbytes, 1))
        with mmap.mmap(self.number, max(voxels.nbytes, 1)) as view:
            target = np.frombuffer(view, voxels.dtype, voxels.size).reshape(voxels.shape)
            np.copyto(target, voxels)
            del target

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a copy of what was stored, and give its memory back.

        Raises
        ------
        ValueError
            Less was stored.
        """
        with mmap.mmap(self.number, prod(shape) * dtype.itemsize, access=mmap.ACCESS_READ) as view:
            voxels = np.frombuffer(view, dtype, prod(shape)).reshape(shape).copy()
        os.ftruncate(self.number, 0)
        return voxels

    def close(self) -> None:
        """Release it."""
        os.close(self.number)
