"""Crops of one or more volumes as NumPy arrays, for loops that train on them.

::

    from microtome.crops import Crops, random_boxes

    crops = Crops({"image": image, "labels": labels}, random_boxes(image, (32, 64, 64), 1000))
    for batch in crops.batches(16):
        batch["image"]       # (16, c, 32, 64, 64)

A batch is one request to each volume; the next ones are read while one is worked on.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from microtome.ahead import ahead
from microtome.balanced import BalancedBoxes, balanced_boxes
from microtome.boxes import Boxes, ListedBoxes, RandomBoxes, grid_boxes, random_boxes
from microtome.errors import InputError
from microtome.grids import check_aligned, key_of
from microtome.indexing import parse_index

if TYPE_CHECKING:
    from microtome.volume import Volume

__all__ = [
    "BalancedBoxes",
    "Boxes",
    "Crops",
    "Flips",
    "ListedBoxes",
    "RandomBoxes",
    "balanced_boxes",
    "grid_boxes",
    "random_boxes",
    "stack",
]

Sample: TypeAlias = dict[str, Any]
Transform: TypeAlias = Callable[[Sample, np.random.Generator], Sample]
# Makes the array that a batch is received in, of a shape and a type or one that holds it.
Room: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]


class Crops:
    """Samples by number: a crop of each volume at the same place.

    A sample is a dict: of each volume, by its name, an array in the volume's axes; and what the
    boxes say beside, such as the class of a tile. Safe in threads, after a fork, and pickled.

    Parameters
    ----------
    volumes : Volume or mapping of str to Volume
        On one grid: the same extents, voxel sizes and offsets, which is checked. A single volume
        is named ``image`` or ``labels``.
    boxes : Boxes
        Where: `random_boxes`, `grid_boxes`, `balanced_boxes`, or a list of regions in
        `ListedBoxes`.
    transform : callable, optional
        Is given a sample and a generator of random numbers, and returns a sample: for augmentation.
        The generator depends on seed, epoch and number of the sample alone.
    seed : int
        Of the transforms and of the order of shuffled batches.

    Raises
    ------
    InputError
        No volume, or some that do not lie on one grid; the message says what differs.
    """

    def __init__(
        self,
        volumes: "Volume | Mapping[str, Volume]",
        boxes: Boxes,
        *,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        named = volumes if isinstance(volumes, Mapping) else {volumes.kind: volumes}
        if not named:
            raise InputError("crops of no volume")
        if seed < 0:
            raise InputError(f"seed={seed}: expected 0 or more")
        check_aligned(named)
        self.volumes: dict[str, Volume] = dict(named)
        self.boxes = boxes
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.read([index % len(self)])[0]

    def __repr__(self) -> str:
        names = ", ".join(f"{name}: {volume.id}" for name, volume in self.volumes.items())
        return f"<microtome.crops.Crops {len(self)} of {names}>"

    def read(self, indices: Sequence[int], epoch: int = 0) -> list[Sample]:
        """Return samples by number; one request to each volume does for all of them.

        Raises
        ------
        StorageError, BrokenConnection, TimedOut, WrongAnswer, TooLarge
            Not every voxel came; there is no partial result.
        """
        boxes = [self.boxes.box(int(index), epoch) for index in indices]
        read = [
            partial(volume.batch, [key_of(box, volume) for box in boxes])
            for volume in self.volumes.values()
        ]
        blocks = dict(zip(self.volumes, _side_by_side(read), strict=True))
        return [
            self._sample(int(index), epoch, {name: each[i] for name, each in blocks.items()})
            for i, index in enumerate(indices)
        ]

    def read_stacked(self, indices: Sequence[int], epoch: int = 0, room: Room = np.empty) -> Sample:
        """Return samples by number as one, each value with one axis more, the first.

        Without a transform, voxels are received where they stay: nothing is copied.

        Parameters
        ----------
        indices, epoch
            As for `read`.
        room : callable
            Is given a shape and a dtype, and makes an array of it, or of a wider type.

        Raises
        ------
        InputError
            Samples of which a value has different shapes; else as `read`.
        """
        if self.transform is not None:
            return stack(self.read(indices, epoch), room)
        boxes = [self.boxes.box(int(index), epoch) for index in indices]
        read = [
            partial(_read_into, volume, [key_of(box, volume) for box in boxes], room)
            for volume in self.volumes.values()
        ]
        blocks = dict(zip(self.volumes, _side_by_side(read), strict=True))
        return {**blocks, **stack([self.boxes.notes(int(index)) for index in indices])}

    def batches(
        self,
        size: int,
        *,
        epoch: int = 0,
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
        drop_last: bool = False,
        prefetch: int = 2,
        room: Room = np.empty,
    ) -> Iterator[Sample]:
        """Yield stacked samples, `size` at a time.

        Parameters
        ----------
        size : int
            Samples of a batch; the last one may have fewer.
        epoch : int
            Of which the boxes, their order and their transforms are.
        shuffle : bool
            In an order that seed and epoch determine; random boxes need none.
        shard : (int, int)
            Which part of how many: parts share no sample and leave none out.
        drop_last : bool
            Leave out what does not fill a batch in every part, so that all parts have equally many.
        prefetch : int
            Batches that are read ahead; 0 reads each when it is asked for.
        room : callable
            As for `read_stacked`.

        Yields
        ------
        dict of str to ndarray
            As a sample, with one axis more, the first.
        """
        order = self.order(epoch=epoch, shuffle=shuffle, shard=shard)
        if size < 1 or prefetch < 0:
            raise InputError(f"size={size}, prefetch={prefetch}: expected 1 and 0 or more")
        if drop_last:
            order = order[: len(self) // shard[1] // size * size]
        groups = (order[i : i + size] for i in range(0, len(order), size))
        return ahead(partial(self._stacked, epoch, room), groups, prefetch)

    def order(
        self, *, epoch: int = 0, shuffle: bool = False, shard: tuple[int, int] = (0, 1)
    ) -> NDArray[np.int64]:
        """Return the numbers of the samples of one part, in the order in which they are read."""
        part, parts = shard
        if not 0 <= part < parts:
            raise InputError(f"shard={shard}: expected (part, parts) with 0 <= part < parts")
        if not shuffle:
            return np.arange(part, len(self), parts)
        rng = np.random.default_rng([self.seed, epoch])
        return rng.permutation(len(self))[part::parts]

    def _stacked(
        self, epoch: int, room: Room, indices: NDArray[np.int64], _: threading.Event
    ) -> Sample:
        return self.read_stacked(indices.tolist(), epoch, room)

    def _sample(self, index: int, epoch: int, arrays: Sample) -> Sample:
        sample = {**arrays, **self.boxes.notes(index)}
        if self.transform is None:
            return sample
        return self.transform(sample, np.random.default_rng([self.seed, epoch, index]))


@dataclass(frozen=True, slots=True)
class Flips:
    """A transform that turns each of the last axes around or not, in all arrays alike.

    Parameters
    ----------
    ndim : int
        How many of the last axes: 3 for volumes, 2 for planes.
    """

    ndim: int = 3

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, turned around; what is no array is left as it is."""
        steps = rng.choice((1, -1), self.ndim)
        index = (..., *(slice(None, None, int(step)) for step in steps))
        return {
            name: value[index] if np.ndim(value) >= self.ndim else value
            for name, value in sample.items()
        }


def stack(samples: Sequence[Mapping[str, Any]], room: Room = np.empty) -> Sample:
    """Return one dict of the samples, each value with one axis more, the first.

    Raises
    ------
    InputError
        Samples of which a value has different shapes.
    """
    try:
        return {name: _stacked([each[name] for each in samples], room) for name in samples[0]}
    except (KeyError, ValueError) as error:
        raise InputError(f"samples that do not make one batch: {error}") from error


def _stacked(values: Sequence[Any], room: Room) -> NDArray[Any]:
    if not isinstance(values[0], np.ndarray):
        return np.stack(values)
    dtype = np.result_type(*values)
    return np.stack(values, out=room((len(values), *values[0].shape), dtype))


def _read_into(volume: "Volume", keys: Sequence[Any], room: Room) -> NDArray[Any]:
    shapes = {tuple(map(len, parse_index(key, volume.shape, volume.axes).ranges)) for key in keys}
    if len(shapes) > 1:
        raise InputError(f"samples that do not make one batch: they have shapes {sorted(shapes)}")
    out = room((len(keys), *shapes.pop()), volume.dtype)
    volume.batch(keys, out)
    return out


def _side_by_side(work: Sequence[Callable[[], Any]]) -> list[Any]:
    if len(work) == 1:
        return [work[0]()]
    with ThreadPoolExecutor(len(work), thread_name_prefix="microtome-crops") as pool:
        return [future.result() for future in [pool.submit(each) for each in work]]
