"""Crops as PyTorch datasets: map-style and iterable, shared out over workers and ranks.

::

    from torch.utils.data import DataLoader
    from microtome.crops import Crops, random_boxes
    from microtome.torch import CropDataset, CropStream

    crops = Crops({"image": image, "labels": labels}, random_boxes(image, (32, 64, 64), 1000))
    DataLoader(CropDataset(crops), batch_size=16, num_workers=2)
    DataLoader(CropStream(crops, batch_size=16), batch_size=None, num_workers=2)

A batch is one request to each volume in both. Neither uses state that a fork or a spawned worker
would spoil, and random numbers depend on seed, epoch and number of a sample alone: the same
samples come however many workers there are.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.crops import Crops, Sample
from microtome.errors import InputError, MissingLibrary

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    raise MissingLibrary(
        "microtome.torch needs torch: install the extra 'torch' of microtome"
    ) from error

from microtome.lent import WIDER, Segments, as_array

__all__ = ["CropDataset", "CropStream", "tensors"]


class CropDataset(Dataset):  # type: ignore[misc]  # torch has no types here
    """Crops by number: a DataLoader's samplers choose, shuffle and share out over ranks.

    Workers ask for a batch by one request (``__getitems__``).

    Parameters
    ----------
    crops : Crops
    """

    def __init__(self, crops: Crops) -> None:
        self.crops = crops
        self._epoch = _shared(0)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return several samples by one request to each volume."""
        return [tensors(sample) for sample in self.crops.read(indices, int(self._epoch))]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of random boxes and transforms; workers that live on see it, too."""
        self._epoch.fill_(epoch)


class CropStream(IterableDataset):  # type: ignore[misc]  # torch has no types here
    """Batches of crops, one after another; for ``DataLoader(stream, batch_size=None)``.

    The samples of an epoch are shared out over all workers of all ranks: none comes twice, none is
    lost. Each worker reads ahead, in memory that it fills again once a batch is gone.

    Parameters
    ----------
    crops : Crops
    batch_size : int
        Samples of a batch; the last one of a worker may have fewer.
    shuffle, drop_last, prefetch
        As for `Crops.batches`.
    rank, world : int, optional
        Which process of how many; both or neither. Unless given, those of ``torch.distributed``
        once it is set up, else of the environment (RANK, WORLD_SIZE), else 0 of 1.
    """

    def __init__(
        self,
        crops: Crops,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        prefetch: int = 2,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        if (rank is None) != (world is None):
            raise InputError(f"rank={rank}, world={world}: expected both or neither")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: expected 1 or more")
        self.crops, self.batch_size, self.prefetch = crops, batch_size, prefetch
        self.shuffle, self.drop_last = shuffle, drop_last
        self._place = None if rank is None or world is None else (rank, world)
        self._epoch = _shared(0)

    def __iter__(self) -> Iterator[Sample]:
        rank, world = self.place
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        segments = Segments()
        batches = self.crops.batches(
            self.batch_size,
            epoch=int(self._epoch),
            shuffle=self.shuffle,
            shard=(rank * count + number, world * count),
            drop_last=self.drop_last,
            prefetch=self.prefetch,
            room=_room if worker is None else segments.room,
        )
        made = map(tensors, batches)
        return made if worker is None else map(segments.lend, made)

    @property
    def place(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        return self._place or _place()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of boxes, order and transforms; workers that live on see it, too."""
        self._epoch.fill_(epoch)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker knows nothing of the process group that its parent has joined.
        return {**self.__dict__, "_place": self.place}


def tensors(sample: Sample) -> Sample:
    """Return a sample whose arrays are tensors, sharing memory with them where they can.

    Unsigned integers of more than 8 bits become the signed type that torch computes with:
    uint16 int32; uint32 and uint64 int64.

    Raises
    ------
    InputError
        A value above 2⁶³ - 1, which no tensor can hold.
    """
    return {name: _tensor(name, value) for name, value in sample.items()}


def _tensor(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever a transform makes
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, np.ndarray):
        return value
    wider = WIDER.get(value.dtype.name)
    if value.dtype == np.uint64 and value.size and value.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name}: {value.max()} is more than a tensor can hold")
    made = _made_by_torch(value)
    if made is not None:
        return made
    array = np.ascontiguousarray(value if wider is None else value.astype(wider))
    return torch.from_numpy(array)


def _made_by_torch(array: NDArray[Any]) -> Any:  # noqa: ANN401 - a tensor, if it is one
    """Return the tensor that an array is all of, in memory that a worker need not copy."""
    owner = array.base.base if array.dtype == np.uint64 and array.base is not None else array.base
    if not isinstance(owner, torch.Tensor) or owner.shape != array.shape:
        return None
    # Turned around, it is a view of the same tensor, and another array.
    same = owner.data_ptr() == array.ctypes.data and array.flags.c_contiguous
    return owner if same else None


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Make the array of a batch, in a type that torch computes with."""
    name = WIDER.get(dtype.name, dtype.name)
    return as_array(torch.empty(shape, dtype=getattr(torch, name)), dtype)


def _shared(value: int) -> Any:  # noqa: ANN401 - torch has no types here
    """Return a number that worker processes see change."""
    return torch.tensor(value, dtype=torch.int64).share_memory_()


def _place() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, world = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not rank or not world:
        return 0, 1
    try:
        return int(rank), int(world)
    except ValueError as error:
        raise InputError(f"RANK={rank!r}, WORLD_SIZE={world!r}: expected numbers") from error
