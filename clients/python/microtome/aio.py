"""The same volumes for programs that await: ``volume = await microtome.aio.open(url)``.

Names are those of `microtome.Volume`; what asks the service is awaited, what is known is not.
Requests run in threads; a call that is cancelled ends its own at their next bytes, and at the
time-out at the latest.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, SupportsIndex, TypeVar

from numpy.typing import ArrayLike

from microtome import volume as blocking
from microtome.errors import AddressError
from microtome.stopping import stopping

T = TypeVar("T")

# Calls under way at a time; each may have several requests under way.
_CALLS = 32


async def open(  # noqa: A001 - as microtome.open
    url: str,
    **options: Any,  # noqa: ANN401 - those of microtome.open
) -> "AsyncVolume":
    """Open a layer; parameters and errors are those of `microtome.open`."""
    pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="microtome-aio")
    try:
        opened = await _run(pool, partial(_volume, url, **options))
    except BaseException:
        pool.shutdown(wait=False)
        raise
    return AsyncVolume(opened, pool)


def _volume(url: str, **options: Any) -> blocking.Volume:  # noqa: ANN401 - likewise
    opened = blocking.open(url, **options)
    if not isinstance(opened, blocking.Volume):
        raise AddressError(f"{url}: a recording: open it by microtome.open, in a thread")
    return opened


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    stop = threading.Event()
    with stopping(stop):
        context = copy_context()
    waiting = asyncio.get_running_loop().run_in_executor(pool, context.run, _within, stop, work)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        stop.set()
        waiting.cancel()
        # What it ends with is nobody's concern any more.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def _within(stop: threading.Event, work: Callable[[], T]) -> T:
    with stopping(stop):
        return work()


class AsyncVolume:
    """One level of a layer, whose voxels are awaited; made by `microtome.aio.open`.

    Attributes are those of `microtome.Volume`: ``shape``, ``axes``, ``voxel_size`` and so on.

    Parameters
    ----------
    volume : Volume
    pool : ThreadPoolExecutor
        In which its requests run.
    """

    def __init__(self, volume: blocking.Volume, pool: ThreadPoolExecutor) -> None:
        self.volume = volume
        self._pool = pool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the volume has
        if name in _ATTRIBUTES:
            return getattr(self.volume, name)
        raise AttributeError(f"an awaited volume has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.volume)

    def __repr__(self) -> str:
        return repr(self.volume).replace("microtome.Volume", "microtome.aio.AsyncVolume", 1)

    def __eq__(self, other: object) -> bool:
        return self.volume == other.volume if isinstance(other, AsyncVolume) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.volume)

    async def __aenter__(self) -> "AsyncVolume":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for index in range(len(self)):
            yield await self.read(index)

    def close(self) -> None:
        """Let the threads go, of every level of this layer; calls under way end first."""
        self._pool.shutdown(wait=False)

    def level(self, number: SupportsIndex) -> "AsyncVolume":
        """Return the volume at another level; nothing is fetched."""
        return AsyncVolume(self.volume.level(number), self._pool)

    def at(self, level: SupportsIndex | None = None, **words: Any) -> "AsyncVolume":  # noqa: ANN401
        """Return the volume at the level that serves a purpose; nothing is fetched."""
        return AsyncVolume(self.volume.at(level, **words), self._pool)

    async def read(self, key: object = ..., **positions: Any) -> Any:  # noqa: ANN401 - an array
        """Return voxels by index, or by the names of axes: ``await volume.read(z=(10, 20))``."""
        return await self._call(self.volume.read, key, **positions)

    async def sel(self, **positions: Any) -> Any:  # noqa: ANN401 - an array
        """Return the voxels at physical positions."""
        return await self._call(self.volume.sel, **positions)

    async def outer(self, key: object) -> Any:  # noqa: ANN401 - an array
        """Return what ``volume.oindex[key]`` would."""
        return await self._call(self.volume.oindex.__getitem__, key)

    async def batch(self, keys: Iterable[object]) -> list[Any]:
        """Return what each of `keys` selects, in a few requests for all of them."""
        return await self._call(self.volume.batch, list(keys))

    async def sample(self, points: ArrayLike, **words: Any) -> Any:  # noqa: ANN401 - an array
        """Return values at points."""
        return await self._call(self.volume.sample, points, **words)

    async def overview(self, *args: Any, **words: Any) -> Any:  # noqa: ANN401 - an array
        """Return the whole at a level of a budget of voxels."""
        return await self._call(self.volume.overview, *args, **words)

    async def ids(self, key: object = ...) -> Any:  # noqa: ANN401 - an array
        """Return the ids that occur in a region of labels."""
        return await self._call(self.volume.ids, key)

    async def bbox(self, label: int, key: object = ...) -> tuple[slice, ...]:
        """Return the smallest box that holds an id."""
        return await self._call(self.volume.bbox, label, key)

    async def mask(self, label: int, key: object = None) -> Any:  # noqa: ANN401 - an array
        """Return where an id is."""
        return await self._call(self.volume.mask, label, key)

    async def write(self, key: object, value: ArrayLike) -> None:
        """Write voxels as ``volume[key] = value`` does."""
        await self._call(self.volume.__setitem__, key, value)

    async def thumbnail(self, size: int = 256) -> bytes:
        """Return a small picture of the layer: a PNG file."""
        return await self._call(self.volume.thumbnail, size)

    async def _call(self, work: Callable[..., T], *args: Any, **words: Any) -> T:  # noqa: ANN401
        return await _run(self._pool, partial(work, *args, **words))


_ATTRIBUTES = frozenset(
    ("shape", "ndim", "size", "dtype", "nbytes", "axes", "voxel_size", "units", "unit", "channels",
     "attrs", "kind", "id", "name", "url", "levels", "level_index", "info", "address")
)  # fmt: skip
