"""Answers of any size in bounded memory: pieces are read one ahead of what is being sent."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numcodecs
import numpy as np
import zstandard
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from microtome_core.errors import StorageError, TooLarge
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.admission import Lease
from microtome_service.encode import FORMATS, PLAIN, Parts, flat
from microtome_service.errors import Interrupted, Unreadable
from microtome_service.exchange import span
from microtome_service.reader import Cost, Limits, check_cost, cost_of, find_level, read
from microtome_service.slabs import largest, slabs
from microtome_service.state import Service
from microtome_service.together import together
from microtome_service.view import View

# Of these a body is voxels as they are, behind a head.
AS_THEY_ARE = (*PLAIN, FORMATS["nrrd"])
_PACKED = (*PLAIN, FORMATS["zstd"])
STREAMED = (*_PACKED, FORMATS["nrrd"], FORMATS["zarr"])
# Of many boxes: each is a Blosc buffer, or several.
BATCHED = (*_PACKED, FORMATS["blosc"])
# What a Blosc buffer holds at most; its own limit is 2 GiB.
_BUFFER = 256 << 20
# What an error calls a region, and the region; those of one piece are read side by side.
Piece = Sequence[tuple[str, Region]]
Loader = Callable[[], Coroutine[Any, Any, Parts]]
Encoder = Callable[[Parts, bool], Parts]


@dataclass(frozen=True, slots=True)
class Plan:
    """Pieces of one answer, each following the one before in the body.

    Parameters
    ----------
    pieces : iterator of pieces
    cost : Cost
        Of all of them.
    slab : int
        Bytes of the voxels of the largest piece.
    transient : int
        Bytes of chunks that stand beside them while it is read.
    """

    pieces: Iterator[Piece]
    cost: Cost
    slab: int
    transient: int

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return self.cost.voxels

    def held(self, media_type: str) -> int:
        """Return the bytes in memory at one time: a piece that is sent, one that is read."""
        copies = 2 if media_type in AS_THEY_ARE else 4  # of each, as it was and compressed
        return min(copies * self.slab, copies // 2 * self.nbytes) + self.transient


def slab_sizes(limits: Limits) -> tuple[int, int]:
    """Return the bytes that a slab should have, and may have for whole rows of chunks."""
    # One is sent while one is read, with its chunks beside it.
    most = max(1, limits.voxels // 3)
    return min(limits.slab, most), most


def fits_whole(nbytes: int, limits: Limits) -> bool:
    """Tell whether an answer is small enough to be read at once."""
    return nbytes <= min(limits.slab, limits.voxels)


def plan_slabs(info: LayerInfo, level: int, region: Region, limits: Limits) -> Plan:
    """Cut one region into slabs.

    Raises
    ------
    TooLarge
        More voxels than any answer may have, or a slab that touches too many chunks.
    """
    whole = cost_of(info, level, [region])
    check_answer(whole.voxels, limits)
    chunk, itemsize = find_level(info, level).chunk, np.dtype(info.dtype).itemsize
    sizes = slab_sizes(limits)
    cost = check_cost(info, level, [largest(region, chunk, itemsize, *sizes)], limits)
    parts = slabs(region, chunk, itemsize, *sizes)
    return Plan(([("", part)] for part in parts), whole, cost.voxels, cost.held - cost.voxels)


def check_answer(nbytes: int, limits: Limits) -> None:
    """Refuse what is more than any answer may have, where there is such a limit."""
    if 0 < limits.answer < nbytes:
        raise TooLarge(
            f"{nbytes} bytes of voxels, the limit of one answer is {limits.answer}: "
            "ask for smaller parts, or for a coarser level"
        )


async def stream(
    service: Service,
    view: View,
    layer: Layer,
    level: int,
    plan: Plan,
    media_type: str,
    headers: Mapping[str, str],
    prefix: bytes = b"",
    encoder: Encoder | None = None,
) -> Response:
    """Return the answer once its first piece is read, so that failing storage is still a 503.

    Parameters
    ----------
    prefix : bytes
        What the body begins with.
    encoder : callable, optional
        What encodes pieces in turn, and is told which is the last; that of the media type by
        default.
    """
    lease = await service.admit(view, plan.held(media_type))
    try:
        encoder = encoder or _encoder(layer, plan, media_type)
        loaders = _loaders(service, layer, level, plan, encoder)
        first = await next(loaders)()
    except BaseException:
        lease.release()
        raise
    known = {} if encoder else {"Content-Length": str(len(prefix) + plan.nbytes)}
    parts = (prefix, *first) if prefix else first
    return StreamResponse(parts, loaders, media_type, {**headers, **known}, lease)


def _loaders(
    service: Service, layer: Layer, level: int, plan: Plan, encoder: Encoder | None
) -> Iterator[Loader]:
    """Yield what reads and encodes each piece; each must be done before the next."""
    left = plan.nbytes
    for piece in plan.pieces:
        left -= sum(region.size for _, region in piece) * np.dtype(layer.info.dtype).itemsize

        async def load(piece: Piece = piece, last: bool = left == 0) -> Parts:
            parts = await _read_piece(layer, level, piece, service.limits.seconds)
            if encoder is None:
                return parts
            with span("encode"):
                return await service.compute(encoder, parts, last)

        yield load


def _encoder(layer: Layer, plan: Plan, media_type: str) -> Encoder | None:
    """Return what encodes pieces in turn, and is told which is the last; None for plain ones."""
    if media_type in AS_THEY_ARE:
        return None
    if media_type == FORMATS["blosc"]:
        return partial(_pack, np.dtype(layer.info.dtype).itemsize)
    # The length stands in the frame, so that any reader can make room for it.
    return partial(_compress, zstandard.ZstdCompressor(level=1).compressobj(size=plan.nbytes))


def _pack(itemsize: int, parts: Parts, _: bool) -> Parts:
    """Return Blosc buffers, as chunks are stored: for those whose link is slow."""
    codec = numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.BITSHUFFLE)
    pieces = (part[i : i + _BUFFER] for part in parts for i in range(0, len(part), _BUFFER))
    return tuple(codec.encode(np.frombuffer(piece, f"V{itemsize}")) for piece in pieces)


def _compress(compressor: Any, parts: Parts, last: bool) -> Parts:  # noqa: ANN401 - zstandard's own
    done = [compressor.compress(part) for part in parts]
    return tuple(filter(None, [*done, compressor.flush() if last else b""]))


async def _read_piece(layer: Layer, level: int, piece: Piece, seconds: float) -> Parts:
    if len(piece) == 1:
        return (await _read_one(layer, level, *piece[0], seconds),)
    return tuple(await together(_read_one(layer, level, *each, seconds) for each in piece))


async def _read_one(
    layer: Layer, level: int, name: str, region: Region, seconds: float
) -> memoryview:
    try:
        return flat(await read(layer, level, region, seconds))
    except Unreadable as error:
        raise (Unreadable(f"{name}{error}") if name else error) from error.__cause__


class StreamResponse(Response):
    """Sends pieces in their order; while one is sent the next is loaded, and no further one.

    A piece that cannot be loaded breaks the answer off, so that no caller takes it for whole: the
    connection ends before the promised length, or without the last chunk of its transfer coding.

    Parameters
    ----------
    first : tuple of bytes or memoryview
    rest : iterator of callables
        Each loads one piece more.
    media_type : str
    headers : dict
    lease : Lease
    """

    def __init__(
        self,
        first: Parts,
        rest: Iterator[Loader],
        media_type: str,
        headers: Mapping[str, str],
        lease: Lease,
    ) -> None:
        self._pieces = [first]
        self._rest = rest
        self._lease = lease
        super().__init__(headers=dict(headers), media_type=media_type)
        if "Content-Length" not in headers:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, by the rules of ASGI."""
        try:
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            await self._send_pieces(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except StorageError as error:
            raise Interrupted(f"broke off an answer: {error}") from error
        finally:
            self._lease.release()

    async def _send_pieces(self, send: Send) -> None:
        while self._pieces:
            load = next(self._rest, None)
            ahead = asyncio.create_task(load()) if load else None
            try:
                await _send_all(self._pieces.pop(), send)
                if ahead:
                    self._pieces.append(await ahead)
            finally:
                if ahead:
                    ahead.cancel()


async def _send_all(parts: Parts, send: Send) -> None:
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    # The server takes this one only after the others have left its buffers.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
