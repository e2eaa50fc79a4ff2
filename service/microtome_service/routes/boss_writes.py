"""Writing voxels as BossDB does: cutouts, regions to black, reserved ids, downsampling."""

import asyncio
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import InputError
from microtome_core.store.writing import check_writable
from microtome_service.audit import digest, facts
from microtome_service.bossdb import wire
from microtome_service.bossdb.changes import note_id, reserve
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.objects import check_annotation, largest_in
from microtome_service.bossdb.voxels import Box, check_answer, check_box, memory_of
from microtome_service.bossdb.words import whole_number
from microtome_service.decode import Expected
from microtome_service.errors import Unsupported
from microtome_service.reader import decoded_bytes
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import DOWNSAMPLE, names, said
from microtome_service.routes.boss_voxels import REGION, box_of

_MOST_RESERVED = 10**9


async def post_cutout(call: Call) -> Response:
    """Write the voxels of a region, all of them, into a channel that was created for it.

    Of an annotation channel 0 is no voxel: it leaves what is there, as at BossDB, where
    ``to_black`` erases. Once answered, the voxels lie durably in the store.
    """
    call.query()
    channel, box = await _writable(call)
    if call.request.headers.get("content-type", "").split(";")[0].strip() != wire.BLOSC:
        raise Unsupported(f"Content-Type: expected {wire.BLOSC}")
    check_answer(box, call.service.limits)
    expected = Expected(box.region.shape, channel.datatype, wire.BLOSC)
    with await call.service.admit(call.view, 3 * box.nbytes + _shard_bytes(channel)):
        body = await call.body(expected.most, str(expected))
        voxels, told, largest = await call.service.compute(_decode, body, box)
        await _write(call, box, voxels, told, merge=channel.kind == "annotation")
        await _note_ids(call, channel, largest)
    return Response(status_code=201)


async def put_to_black(call: Call) -> Response:
    """Write 0 into every voxel of a region."""
    call.query()
    channel, box = await _writable(call)
    check_answer(box, call.service.limits)
    with await call.service.admit(call.view, box.nbytes + _shard_bytes(channel)):
        voxels = np.zeros(box.source.shape, channel.info.dtype)
        await _write(call, box, voxels, {"bytes": 0}, merge=False)
    return Response(status_code=200)


async def get_reserved(call: Call) -> Response:
    """Reserve ids that nobody else was or will be given, nor has written before the first time."""
    call.query()
    channel = await call.resources.channel(*names(call))
    check_annotation(channel)
    count = whole_number("count", call.words["count"], 1, _MOST_RESERVED)
    await call.check_may_write(channel.info.layer_id)
    largest = min(int(np.iinfo(channel.info.dtype).max), int(np.iinfo("uint64").max))
    dataset, token = channel.info.layer_id.parent, secrets.token_hex(8)
    record = (await call.records.experiment(dataset)).channels.get(channel.name)
    used = 0 if record is not None and record.next_id else await _largest_id(call, channel)
    start = await asyncio.to_thread(
        reserve, call.service.store, dataset, channel.name, count, used, largest, token
    )
    return said({"start_id": start, "count": count})


async def post_downsample(call: Call) -> Response:
    """Say that coarser resolutions follow: they do so by themselves, after every write."""
    call.query()
    channel = await call.resources.channel(*names(call))
    await call.check_may_write(channel.info.layer_id)
    return Response(status_code=201)


async def delete_downsample(call: Call) -> Response:
    """Refuse to stop what would leave coarser resolutions of other voxels than the finest."""
    call.query()
    channel = await call.resources.channel(*names(call))
    await call.check_may_write(channel.info.layer_id)
    raise InputError("coarser resolutions follow every write: they are not to be stopped")


async def _writable(call: Call) -> tuple[Channel, Box]:
    """Return channel and region of a path that the caller may write."""
    channel = await call.resources.channel(*names(call))
    await call.check_may_write(channel.info.layer_id)
    check_writable(channel.layer)
    if call.words["resolution"] != "0":
        raise InputError("only resolution 0 is written, coarser ones follow")
    return channel, box_of(call, channel)


def _decode(body: bytes, box: Box) -> tuple[NDArray[Any], dict[str, Any], int]:
    """Return the voxels of a body as the layer has them, what is kept of it, and the largest."""
    block = wire.decode(body, box.region.shape, box.channel.datatype, wire.BLOSC)
    voxels = box.channel.uncast(block).reshape(box.source.shape)
    return voxels, {"media_type": wire.BLOSC, **digest(body)}, int(block.max())


async def _write(
    call: Call, box: Box, voxels: NDArray[Any], told: dict[str, Any], *, merge: bool
) -> None:
    method = f"{call.request.method} {call.request.url.path.split('/')[1]}"
    kept = {**facts(call.request, call.view.principal), "method": method, **told}
    await call.service.writes.write(box.channel.layer, box.source, voxels, kept, merge=merge)


async def _note_ids(call: Call, channel: Channel, largest: int) -> None:
    """Let ids that somebody wrote without reserving them never be given to others."""
    dataset = channel.info.layer_id.parent
    record = (await call.records.experiment(dataset)).channels.get(channel.name)
    if record is not None and 0 < record.next_id <= largest:
        await asyncio.to_thread(note_id, call.service.store, dataset, channel.name, largest)


async def _largest_id(call: Call, channel: Channel) -> int:
    """Return the largest id that lies in a channel, whoever wrote it."""
    extents = dict(zip(channel.info.axes, channel.info.shape, strict=True))
    box = Box.of(channel, 0, {"t": (0, extents.get("t", 1))})
    check_box(box, call.service.limits)
    with await call.service.admit(call.view, memory_of(box)):
        return await largest_in(call.service, box)


def _shard_bytes(channel: Channel) -> int:
    """Return the bytes of a shard as it is and as it was."""
    level = channel.info.levels[0]
    first = next(Box.of(channel, 0, {}).source.split(level.shard))
    return 3 * decoded_bytes(channel.info, 0, first)


def routes() -> list[Route]:
    """Return the routes."""
    return [
        route(f"/cutout{REGION}", post_cutout, "POST"),
        route(f"/cutout{REGION}/{{t}}", post_cutout, "POST"),
        route(f"/cutout/to_black{REGION}", put_to_black, "PUT"),
        route(f"/cutout/to_black{REGION}/{{t}}", put_to_black, "PUT"),
        route("/reserve/{collection}/{experiment}/{channel}/{count}", get_reserved),
        route(DOWNSAMPLE, post_downsample, "POST"),
        route(DOWNSAMPLE, delete_downsample, "DELETE"),
    ]
