"""Voxels over HTTP: the parts of a cut, in parallel, each received where it belongs."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from microtome.body import Body
from microtome.encodings import Chunks, Inflated, Unfit, choose, has_zstd, unpack
from microtome.errors import LayerChanged, WrongAnswer
from microtome.indexing import Cut
from microtome.link import LEAST
from microtome.packed import Unpacked, has_blosc
from microtome.parts import Part, plan
from microtome.stopping import stop_event
from microtome.transport import Transport
from microtome_core.dtypes import little_endian
from microtome_core.region import Region
from microtome_core.wire import LevelInfo

T = TypeVar("T")

_SCRATCH = 256 << 10
RAW, ZSTD, BLOSC = "application/octet-stream", "application/zstd", "application/blosc"
CHUNKS = "application/vnd.microtome.chunks"
# Chunks reach beyond a region, and barely ever are larger than what they hold.
_CHUNKS_MORE = 256 << 20


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
        in_parallel(partial(self.fill, out), parts, self.transport.patience.parallel, stop)
        return out.astype(self.dtype, copy=False)

    def url(self, region: Region, form: str = "raw") -> str:
        """Return the address of a region's voxels."""
        ranges = str(region).replace(",", "&")
        return f"{self.api}/cutout?level={self.number}&{ranges}&format={form}"

    def fill(self, out: NDArray[Any], part: Part, stop: threading.Event) -> None:
        """Receive a part in its place, again from the start after a passing fault."""
        with self.transport.link.asking(part.region.size * self.dtype.itemsize) as packed:
            self._fill(out, part, self._form(part.region) if packed else "raw", stop)

    def _fill(self, out: NDArray[Any], part: Part, form: str, stop: threading.Event) -> None:
        if form == "chunks":
            try:
                return self._get(part.region, form, partial(self._unpack, out, part), stop)
            except Unfit:
                form = "zstd" if has_zstd() else "raw"
        return self._get(part.region, form, partial(self._receive, out, part), stop)

    def fill_together(
        self, regions: Sequence[Region], blocks: Sequence[NDArray[Any]], stop: threading.Event
    ) -> None:
        """Receive many boxes by one request, each in a block of its own, which may be wider."""
        nbytes = sum(block.size for block in blocks) * self.dtype.itemsize
        boxes = [list(zip(region.start, region.stop, strict=True)) for region in regions]
        body = json.dumps({"boxes": boxes}).encode()
        with self.transport.link.asking(nbytes) as packed:
            form = self._form_together(nbytes) if packed else "raw"
            url = f"{self.api}/cutouts?level={self.number}&format={form}"
            self.transport.post(url, body, partial(self._receive_together, blocks), stop=stop)

    def fill_points(
        self,
        points: NDArray[np.int64],
        values: NDArray[Any],
        places: NDArray[np.intp],
        stop: threading.Event,
    ) -> None:
        """Receive the voxel of each of `points` at `places` by one request."""
        url = f"{self.api}/points?level={self.number}&format=raw"
        body = json.dumps({"points": points[places].tolist()}).encode()
        receive = partial(self._receive_points, values, places)
        self.transport.post(url, body, receive, stop=stop)

    def _get(
        self, region: Region, form: str, receive: Callable[[Body], None], stop: threading.Event
    ) -> None:
        self.transport.get(self.url(region, form), receive, stop=stop)

    def _form(self, region: Region) -> str:
        level, transfer = self.level, self.transport.link.transfer
        return choose(transfer, region, level.chunk, level.shape, self.dtype.itemsize)

    def _form_together(self, nbytes: int) -> str:
        if nbytes < LEAST:
            return "raw"
        if self.transport.link.transfer != "zstd" and has_blosc():
            return "blosc"
        return "zstd" if has_zstd() else "raw"

    def _unpack(self, out: NDArray[Any], part: Part, body: Body) -> None:
        check_kind(body, CHUNKS)
        check_version(body, self.version)
        limit = 2 * part.region.size * self.dtype.itemsize + _CHUNKS_MORE
        answer = Chunks.receive(body, limit)
        block = unpack(answer, part.region, self.version, self.dtype, body.url)
        out[part.target] = part.pick(block)

    def _receive(self, out: NDArray[Any], part: Part, answer: Body) -> None:
        compressed = check_kind(answer, RAW, ZSTD) == ZSTD
        check_headers(answer, part.region, self.dtype, compressed=compressed)
        check_version(answer, self.version)
        body = Inflated(answer) if compressed else answer
        if part.strided:
            block = np.empty(part.region.shape, out.dtype)
            pour(body, block)
            out[part.target] = part.pick(block)
        else:
            pour(body, out[part.target])
        body.end()

    def _receive_together(self, blocks: Sequence[NDArray[Any]], body: Body) -> None:
        check_version(body, self.version)
        _check_promises(body, {
            "X-Microtome-Boxes": str(len(blocks)),
            "X-Microtome-Axes": self.axes,
            "X-Microtome-Dtype": self.dtype.name,
        })  # fmt: skip
        nbytes = sum(block.size for block in blocks) * self.dtype.itemsize
        kind = check_kind(body, RAW, ZSTD, BLOSC)
        if kind == RAW and body.length not in (None, nbytes):
            raise WrongAnswer(f"{body.url}: the answer has {body.length} bytes, expected {nbytes}")
        voxels = _decoded(body, kind, nbytes)
        dtype = little_endian(self.dtype)
        for block in blocks:
            pour(voxels, block, dtype)
        voxels.end()

    def _receive_points(self, values: NDArray[Any], places: NDArray[np.intp], body: Body) -> None:
        check_kind(body, RAW)
        check_version(body, self.version)
        promised = {"X-Microtome-Shape": str(len(places)), "X-Microtome-Dtype": self.dtype.name}
        _check_promises(body, promised)
        block = np.empty(len(places), values.dtype)
        pour(body, block)
        values[places] = block


def _decoded(body: Body, kind: str, nbytes: int) -> Body | Inflated | Unpacked:
    """Return what a body of a kind holds, which is `nbytes` of voxels."""
    if kind == BLOSC:
        return Unpacked(body, nbytes)
    return Inflated(body) if kind == ZSTD else body


def check_kind(body: Body, *expected: str) -> str:
    """Return the media type of a body, if it is one of those expected.

    Raises
    ------
    WrongAnswer
        Another: a page of a proxy, say.
    """
    kind = (body.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind not in expected:
        raise WrongAnswer(f"{body.url}: the answer is {kind[:80]!r}, expected {expected[0]!r}")
    return kind


def _check_promises(body: Body, promised: Mapping[str, str]) -> None:
    for name, expected in promised.items():
        if body.header(name) != expected:
            raise WrongAnswer(f"{body.url}: {name} is {body.header(name)!r}, expected {expected!r}")


def check_headers(
    body: Body, region: Region, dtype: np.dtype[Any], *, compressed: bool = False
) -> None:
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
    if not compressed and body.length not in (None, nbytes):
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


def pour(
    body: Body | Inflated | Unpacked, target: NDArray[Any], dtype: np.dtype[Any] | None = None
) -> None:
    """Read as many values as `target` holds into it, in C order.

    A contiguous target receives them in place; any other, and one of another type than `dtype`,
    which is theirs, through a scratch buffer that stays in the processor's cache, so that there
    is never a second copy of the whole.
    """
    given = target.dtype if dtype is None else dtype
    if target.flags.c_contiguous and given == target.dtype:
        body.fill(target.reshape(-1).view(np.uint8).data)
        return
    row = prod(target.shape[1:]) * given.itemsize
    if row > _SCRATCH:
        for inner in target:
            pour(body, inner, given)
        return
    count = _SCRATCH // row
    scratch = np.empty((min(count, len(target)), *target.shape[1:]), given)
    for first in range(0, len(target), count):
        rows = target[first : first + count]
        pour(body, scratch[: len(rows)])
        rows[...] = scratch[: len(rows)]


def in_parallel(
    work: Callable[[T, threading.Event], None],
    items: Sequence[T],
    parallel: int,
    stop: threading.Event | None = None,
    *,
    settle: bool = False,
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
    settle : bool
        After a fault, return only when nothing is under way any more: what writes must not land
        behind its caller's back.
    """
    stop = stop_event(stop)
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
        # Reads are not waited for: parts under way see `stop` at their next bytes.
        pool.shutdown(wait=settle, cancel_futures=True)
