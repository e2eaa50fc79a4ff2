"""Writing voxels as into an array: in whole boxes, in parallel, never over what others wrote.

A layer is written that was created for it (`microtome create`); see docs/writing.md.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome.body import Body
from microtome.described import Described
from microtome.errors import BrokenConnection, InputError, RegionChanged, WriteRefused
from microtome.fetch import Source, check_headers, check_version, in_parallel, pour
from microtome.indexing import Cut, parse_index
from microtome.parts import Part, plan
from microtome.stored import StoredTransport
from microtome.transport import Message
from microtome_core.dtypes import little_endian

_RAW = "application/octet-stream"
# How often a write of every n-th voxel reads anew what others changed meanwhile.
_TRIES = 8


class Writable(Described):
    """What volumes can be told; layers that were ingested refuse."""

    __slots__ = ()

    def __setitem__(self, key: object, value: ArrayLike) -> None:
        """Write voxels: a scalar or an array, broadcast as NumPy does; durable on return.

        Whoever writes last wins; `edit` writes only what nobody has changed meanwhile. Of every
        n-th voxel (a step) the box around it is read and written so that others' are kept.

        Raises
        ------
        InputError
            Another level than 0, a shape that does not broadcast, or values that the type of the
            voxels does not hold.
        RegionError
            As for reading.
        WriteRefused
            The layer was ingested: it never changes.
        AccessDenied
            The token does not allow writing.
        StorageError, BrokenConnection, TimedOut
            Some of it may be written: do it again.
        """
        cut = parse_index(key, self.shape, self.axes)
        self._check_writable()
        block = _cast(value, cut, self.dtype)
        if not cut.size:
            return
        if any(len(r) > 1 and r.step > 1 for r in cut.ascending):
            _write_between(self._source, cut, block)
        else:
            _write(self._source, cut, block, {})

    @contextmanager
    def edit(self, key: object) -> Iterator[NDArray[Any]]:
        """Read a region, let it be changed in place, and write it if nobody else did meanwhile.

        Parameters
        ----------
        key : index
            What would stand within the brackets, without steps: ``np.s_[0:64, :512, :512]``.

        Yields
        ------
        ndarray
            The voxels. If the block raises, nothing is written.

        Raises
        ------
        RegionChanged
            Somebody wrote there since it was read. A large region is several requests: of some the
            voxels may be written; none that others changed is.

        Examples
        --------
        ``with seg.edit(np.s_[10:20]) as block: block[block == 7] = 9``
        """
        cut = parse_index(key, self.shape, self.axes)
        self._check_writable()
        if any(len(r) > 1 and r.step != 1 for r in cut.ranges):
            raise InputError(f"{key!r:.200}: expected a region without steps")
        tagged = _read_tagged(self._source, cut)
        before = tagged.block.copy()
        yield cut.finish(tagged.block) if not cut.scalar else tagged.block.reshape(())
        if not np.array_equal(before, tagged.block):
            _write(self._source, cut, tagged.block, tagged.tags)

    def _check_writable(self) -> None:
        if isinstance(self.transport, StoredTransport):
            raise InputError(f"{self.id} is read where it lies: serve the store to write")
        if not self.info.writable:
            raise WriteRefused(
                f"{self.id} was ingested and never changes: `microtome create` makes layers that "
                "can be written",
                409,
                self.address.api,
            )
        if self.level_index:
            raise InputError(f"level {self.level_index}: only level 0 is written, others follow")


@dataclass(frozen=True, slots=True)
class _Tagged:
    """Ascending voxels of a cut, and the ETag of each part of it."""

    block: NDArray[Any]
    tags: dict[str, str]


def _cast(value: ArrayLike, cut: Cut, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return ascending voxels of every axis, made of what NumPy would broadcast.

    Raises
    ------
    InputError
        It does not broadcast, or is not kept by the type.
    """
    given = np.asarray(value)
    try:
        # NumPy drops axes of length 1 in front, too.
        while given.ndim > len(cut.shape) and given.shape[0] == 1:
            given = given[0]
        wide = np.broadcast_to(given, cut.shape)
    except ValueError as error:
        raise InputError(
            f"a block of shape {np.shape(value)} does not fit the region's {cut.shape}"
        ) from error
    _check_values(given, dtype)
    kept = [i for i, dropped in enumerate(cut.dropped) if not dropped]
    flips = tuple(slice(None, None, -1 if cut.ranges[i].step < 0 else 1) for i in kept)
    return wide[flips].reshape(cut.full_shape) if wide.size else np.zeros(cut.full_shape, dtype)


def _check_values(given: NDArray[Any], dtype: np.dtype[Any]) -> None:
    if np.can_cast(given.dtype, dtype, "safe") or not given.size:
        return
    if given.dtype.kind not in "biuf":
        raise InputError(f"values of type {given.dtype}: the layer holds {dtype}")
    if dtype.kind == "f":
        if given.dtype.kind == "f":
            return  # rounded, as in any array of that type
        limit = 2 ** (np.finfo(dtype).nmant + 1)
        low, high = -limit, limit
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    # Python's integers compare exactly with any type's.
    least, most = given.min().item(), given.max().item()
    whole = given.dtype.kind != "f" or bool((np.floor(given) == given).all())
    if not (whole and low <= least and most <= high):
        raise InputError(
            f"values from {least} to {most} of type {given.dtype}: {dtype} does not hold them"
        )


def _write(source: Source, cut: Cut, block: NDArray[Any], tags: dict[str, str]) -> None:
    parts = plan(cut, source.axes, source.level, source.dtype.itemsize)
    work = partial(_put, source, block, tags)
    in_parallel(work, parts, source.transport.patience.parallel, settle=True)


def _put(
    source: Source,
    block: NDArray[Any],
    tags: dict[str, str],
    part: Part,
    stop: threading.Event,
) -> None:
    region = str(part.region)
    voxels = np.ascontiguousarray(block[part.target], little_endian(source.dtype))
    body = voxels.reshape(-1).view(np.uint8).data
    headers = {"Content-Type": _RAW}
    if region in tags:
        headers["If-Match"] = tags[region]
    url = f"{source.api}/cutout?{region.replace(',', '&')}"
    receive = partial(check_version, version=source.version)
    try:
        source.transport.send(url, Message("PUT", body, headers), receive, stop=stop)
    except RegionChanged:
        # The answer to a first try may have been lost, and what is there now be ours.
        if not _is_there(source, part, voxels, stop):
            raise


def _is_there(source: Source, part: Part, voxels: NDArray[Any], stop: threading.Event) -> bool:
    now = np.empty(part.region.shape, voxels.dtype)

    def receive(body: Body) -> None:
        check_headers(body, part.region, source.dtype)
        pour(body, now)

    source.transport.get(source.url(part.region), receive, stop=stop)
    return bool(now.tobytes() == voxels.tobytes())


def _read_tagged(source: Source, cut: Cut) -> _Tagged:
    block = np.empty(cut.full_shape, little_endian(source.dtype))
    tags: dict[str, str] = {}
    parts = plan(cut, source.axes, source.level, block.itemsize)

    def fetch(part: Part, stop: threading.Event) -> None:
        def receive(body: Body) -> None:
            check_headers(body, part.region, source.dtype)
            check_version(body, source.version)
            pour(body, block[part.target])
            tag = body.header("ETag")
            if not tag:
                raise BrokenConnection(f"{body.url}: no ETag: a proxy took it away?")
            tags[str(part.region)] = tag

        source.transport.get(source.url(part.region), receive, stop=stop)

    in_parallel(fetch, parts, source.transport.patience.parallel)
    return _Tagged(block.astype(source.dtype, copy=False), tags)


def _write_between(source: Source, cut: Cut, block: NDArray[Any]) -> None:
    """Write every n-th voxel, and leave those between as they are, whoever writes them."""
    whole = Cut(tuple(range(r[0], r[-1] + 1) for r in cut.ascending), cut.dropped)
    steps = tuple(slice(None, None, r.step if len(r) > 1 else 1) for r in cut.ascending)
    for last in (*[False] * (_TRIES - 1), True):
        tagged = _read_tagged(source, whole)
        tagged.block[steps] = block
        try:
            return _write(source, whole, tagged.block, tagged.tags)
        except RegionChanged:
            if last:
                raise
    return None
