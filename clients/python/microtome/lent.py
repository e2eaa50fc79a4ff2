"""Batches that a worker process lends to the one that trains, in memory that is filled again.

Pages of shared memory cost several times what receiving voxels into them does when they are first
touched. So a worker keeps those of its batches: whoever trains gets a batch where it lies, and once
the last tensor of it is gone there, the worker fills the same memory anew. What is kept is never
written to.
"""

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# torch can hold unsigned types of more than 8 bits, but hardly compute with them.
WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
# Of a worker's memory: batches that it reads, that wait, and that are trained on. What is
# kept for longer is left to whoever keeps it.
_MOST = 16
# Memory is not filled again by much less than it holds.
_FIT = 2
# The last byte of a segment says whether it is lent, on a cache line of its own.
_FLAG = 64
# A tensor of so many bytes is sent as a value.
_SMALL = 64 << 10


class Segment:
    """Shared memory of one array.

    Parameters
    ----------
    nbytes : int
    """

    def __init__(self, nbytes: int) -> None:
        own = torch.empty(0, dtype=torch.uint8)
        self.nbytes = -(-nbytes // _FLAG) * _FLAG
        # As PyTorch's collate makes it; shared memory begins as zeros.
        storage = own.untyped_storage()._new_shared(self.nbytes + _FLAG)
        self.memory = own.set_(storage, 0, (self.nbytes + _FLAG,))
        self._flag: NDArray[np.uint8] = self.memory.numpy()[-1:]
        self._used = False

    @property
    def free(self) -> bool:
        """Whether nobody has any of it, neither here nor where it was lent to."""
        return not self._used and not self._flag[0]

    def tensor(self, shape: Sequence[int], name: str) -> Any:  # noqa: ANN401 - torch has no types
        """Return it as a tensor; while any view of that is alive, it is not free."""
        self._used = True
        return _tensor(self.memory, shape, name, self._end)

    def lend(self) -> None:
        """Note that another process is about to have it."""
        self._flag[0] = 1

    def _end(self) -> None:
        self._used = False


class Segments:
    """What one worker has of shared memory; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Segment] = []

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Make the array of a batch, in a type that torch computes with."""
        name = WIDER.get(dtype.name, dtype.name)
        nbytes = prod(shape) * np.dtype(name).itemsize
        with self._lock:
            made = self._find(nbytes).tensor(shape, name)
        return as_array(made, dtype)

    def lend(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a sample of tensors that is sent to another process without a copy."""
        with self._lock:
            at = {segment.memory.data_ptr(): segment for segment in self._kept}
        tensors = {name: value for name, value in sample.items() if torch.is_tensor(value)}
        found = {name: at.get(tensor.data_ptr()) for name, tensor in tensors.items()}
        return Lent(sample, {name: each for name, each in found.items() if each is not None})

    def _find(self, nbytes: int) -> Segment:
        for segment in self._kept:
            if segment.free and nbytes <= segment.nbytes <= _FIT * max(nbytes, _FLAG):
                return segment
        if len(self._kept) == _MOST:
            self._kept.remove(next((each for each in self._kept if each.free), self._kept[0]))
        self._kept.append(Segment(nbytes))
        return self._kept[-1]


class Lent(dict[str, Any]):
    """A sample, some of whose tensors are sent by telling where they lie.

    It arrives as a plain dict. A sample that was changed on its way is sent as any other is.

    Parameters
    ----------
    sample : mapping of str to any
    segments : mapping of str to Segment
        Of those tensors that are all of one.
    """

    def __init__(self, sample: Mapping[str, Any], segments: Mapping[str, Segment]) -> None:
        super().__init__(sample)
        self._given = dict(sample)
        self._segments = dict(segments)

    def __copy__(self) -> "Lent":
        # The copy takes over: no memory is lent twice.
        made = Lent(self._given, self._segments)
        dict.clear(made)
        dict.update(made, self)
        self._segments = {}
        return made

    def __reduce__(self) -> tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]:
        segments, self._segments = self._segments, {}
        if not segments or self.keys() != self._given.keys():
            return dict, (dict(self),)
        # A view of what is lent, under another name, would outlive it unseen.
        if any(self[name] is not value for name, value in self._given.items()):
            return dict, (dict(self),)
        for segment in segments.values():
            segment.lend()
        told = {name: _told(value, segments.get(name)) for name, value in self.items()}
        return _received, (told,)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies."""

    memory: Any
    shape: tuple[int, ...]
    name: str


def _told(value: Any, segment: Segment | None) -> Any:  # noqa: ANN401 - whatever it is
    if segment is not None:
        name = str(value.dtype).removeprefix("torch.")
        return _Place(segment.memory, tuple(value.shape), name)
    # A few numbers are no worth a segment of their own, which PyTorch would make.
    small = torch.is_tensor(value) and value.nbytes <= _SMALL
    return value.numpy() if small else value


def _received(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _taken(value) for name, value in told.items()}


def _taken(value: Any) -> Any:  # noqa: ANN401 - as `_told`
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if not isinstance(value, _Place):
        return value
    # A process that is forked meanwhile has the finalizer, too, but not what it is for.
    give_back = partial(_give_back, value.memory.numpy()[-1:], os.getpid())
    return _tensor(value.memory, value.shape, value.name, give_back)


def _give_back(flag: NDArray[np.uint8], owner: int) -> None:
    if os.getpid() == owner:
        flag[0] = 0


def _tensor(memory: Any, shape: Sequence[int], name: str, end: Callable[[], None]) -> Any:  # noqa: ANN401
    """Return the first bytes of `memory` as a tensor; `end` is called after its last view."""
    dtype = np.dtype(name)
    array = memory.numpy()[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
    # The tensor's storage, which all views share, holds the array.
    weakref.finalize(array, end).atexit = False
    return torch.from_numpy(array)


def as_array(tensor: Any, dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ANN401 - as above
    """Return a tensor as an array that is filled with values of `dtype`."""
    array: NDArray[Any] = tensor.numpy()
    # NumPy would not put these into a signed type; the bits are the same.
    return array.view(np.uint64) if dtype == np.uint64 else array
