"""Voxels over HTTP: the parts of a cut, in parallel, each received where it belongs."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from microtome.body import Body
from microtome.errors import LayerChanged, WrongAnswer
from microtome.indexing import Cut
from microtome.parts import Part, plan
from microtome.transport import Transport
from microtome_core.dtypes import little_endian
from microtome_core.region import Region
from microtome_core.wire import LevelInfo

T = TypeVar("T")

_SCRATCH = 256 << 10


@dataclass(frozen=True, slots=True)
class Source:
    """One level of a layer, as a service gives it.

    Parameters
    ----------
    transport : Transport
        Connections to the service.
    api : str
        The layer's JSON; the cutout lies below it.
    version : str
        Of the layer, as it was described.
    axes : str
        One letter an axis, in array order.
    dtype : dtype
        Of a voxel, in native byte order.
    number : int
        Which level.
    level : LevelInfo
        Its extents.
    """

    transport: Transport
    api: str
    version: str
    axes: str
    dtype: np.dtype[Any]
    number: int
    level: LevelInfo

    def read(self, cut: Cut, stop: threading.Event | None = None) -> NDArray[Any]:
        """Return the voxels of `cut`, ascending along every axis, of shape ``cut.full_shape``.

        An empty cut asks nothing of the service. A fault in any part is an error of the whole.
        `stop`, once set, ends it with `Cancelled`.
        """
        parts = plan(cut, self.axes, self.level, self.dtype.itemsize)
        return self.assemble(cut.full_shape, parts, stop)

    def assemble(
        self, shape: Sequence[int], parts: Sequence[Part], stop: threading.Event | None = None
    ) -> NDArray[Any]:
        """Return an array of `shape` that parts fill."""
        out = np.empty(shape, little_endian(self.dtype))
        in_parallel(partial(self._fetch, out), parts, self.transport.patience.parallel, stop)
        return out.astype(self.dtype, copy=False)

    def url(self, region: Region) -> str:
        """Return the address of a region's raw bytes."""
        ranges = str(region).replace(",", "&")
        return f"{self.api}/cutout?level={self.number}&{ranges}&format=raw"

    def _fetch(self, out: NDArray[Any], part: Part, stop: threading.Event) -> None:
        receive = partial(self._receive, out, part)
        self.transport.get(self.url(part.region), receive, stop=stop)

    def _receive(self, out: NDArray[Any], part: Part, body: Body) -> None:
        check_headers(body, part.region, self.dtype)
        check_version(body, self.version)
        if part.strided:
            block = np.empty(part.region.shape, out.dtype)
            pour(body, block)
            out[part.target] = part.pick(block)
        else:
            pour(body, out[part.target])


def check_headers(body: Body, region: Region, dtype: np.dtype[Any]) -> None:
    """Make sure that a body is `region` and nothing else, before any of it is read.

    Raises
    ------
    WrongAnswer
        Another shape, order of axes, voxel type or length, or compressed bytes.
    """
    promised = {
        "X-Microtome-Shape": ",".join(map(str, region.shape)),
        "X-Microtome-Axes": region.axes,
        "X-Microtome-Dtype": dtype.name,
    }
    for name, expected in promised.items():
        given = (body.header(name) or "").replace(" ", "")
        if given != expected:
            raise WrongAnswer(f"{body.url}: {name} is {given[:80]!r}, expected {expected!r}")
    if body.header("Content-Encoding") not in (None, "identity"):
        raise WrongAnswer(f"{body.url}: the answer is compressed, which was not asked for")
    nbytes = region.size * dtype.itemsize
    if body.length not in (None, nbytes):
        raise WrongAnswer(f"{body.url}: the answer has {body.length} bytes, expected {nbytes}")


def check_version(body: Body, version: str) -> None:
    """Make sure that a body is of the layer as it was described, where the service tells.

    Without this, the parts of one cutout could be of two versions.

    Raises
    ------
    LayerChanged
        The layer was replaced meanwhile.
    """
    given = body.header("X-Microtome-Version")
    if given not in (None, version):
        raise LayerChanged(f"{body.url}: the layer has changed since it was opened: open it again")


def pour(body: Body, target: NDArray[Any]) -> None:
    """Read as many bytes as `target` holds into it, in C order.

    A contiguous target receives them in place; any other through a scratch buffer that stays in
    the processor's cache, so that there is never a second copy of the whole.
    """
    if target.flags.c_contiguous:
        body.fill(target.reshape(-1).view(np.uint8).data)
        return
    row = prod(target.shape[1:]) * target.itemsize
    if row > _SCRATCH:
        for inner in target:
            pour(body, inner)
        return
    count = _SCRATCH // row
    scratch = np.empty((min(count, len(target)), *target.shape[1:]), target.dtype)
    for first in range(0, len(target), count):
        rows = target[first : first + count]
        pour(body, scratch[: len(rows)])
        rows[...] = scratch[: len(rows)]


def in_parallel(
    work: Callable[[T, threading.Event], None],
    items: Sequence[T],
    parallel: int,
    stop: threading.Event | None = None,
) -> None:
    """Do `work` on every item, some at a time; the first fault, or Ctrl-C, ends all of them.

    A single item is worked on in the caller's own thread.

    Parameters
    ----------
    work : callable
        Is given an item, and an event that is set once its result is no longer wanted.
    items : sequence
        What to work on.
    parallel : int
        Threads.
    stop : Event, optional
        Set by whoever wants none of it any more; also set here after a fault.
    """
    stop = stop or threading.Event()
    if len(items) <= 1 or parallel == 1:
        for item in items:
            work(item, stop)
        return
    pool = ThreadPoolExecutor(min(parallel, len(items)), thread_name_prefix="microtome")
    try:
        for future in as_completed([pool.submit(work, item, stop) for item in items]):
            future.result()
    except BaseException:
        stop.set()
        raise
    finally:
        # Not waited for: parts under way see `stop` at their next bytes.
        pool.shutdown(wait=False, cancel_futures=True)
