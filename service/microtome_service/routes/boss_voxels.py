"""Cutouts, ids and bounding boxes, as BossDB gives them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.routing import Route

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_service.body import BodyResponse
from microtome_service.bossdb import wire
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.levels import find_resolution
from microtome_service.bossdb.objects import bounds_of, check_annotation, ids_in
from microtome_service.bossdb.voxels import (
    AXES,
    Box,
    box_extents,
    check_answer,
    check_box,
    memory_of,
    read_box,
)
from microtome_service.bossdb.words import object_id, object_ids, span, whole_number
from microtome_service.encode import Parts
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import names, said
from microtome_service.routes.live import live_headers

_OFFERED = (wire.BLOSC, wire.NPYGZ, wire.JPEG)
_MODES = ("cache", "no-cache", "raw")
_MOST_RESOLUTIONS = 63


async def get_cutout(call: Call) -> Response:
    """Return the voxels of a region: z y x, or t z y x where times are given."""
    query = call.query("filter", "access-mode", "no-cache", "window", "iso")
    _check_modes(query)
    media_type = wire.choose_type(call.request.headers.get("accept"), _OFFERED)
    channel = await call.resources.channel(*names(call))
    ids = object_ids(query["filter"]) if "filter" in query else ()
    if ids:
        check_annotation(channel)
    window = _window(query["window"]) if "window" in query else None
    box = box_of(call, channel)
    shape = box.region.shape if "t" in call.words else box.region.shape[1:]
    check_answer(box, call.service.limits)
    wire.check_encodable(shape, channel.datatype, channel.kind, media_type, windowed=bool(window))
    headers = _headers(box, (shape, ids, window), media_type)
    headers |= await _live_headers(call, box, headers["ETag"])
    if unchanged(call.request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if call.request.method == "HEAD":
        return _head(headers, media_type)
    # What is encoded stands in memory twice.
    lease = await call.service.admit(call.view, memory_of(box, 2))
    try:
        block = (await read_box(call.service, box)).reshape(shape)
        parts = await call.service.compute(_encode, block, ids, window, media_type)
    except BaseException:
        lease.release()
        raise
    return BodyResponse(parts, media_type, headers, lease)


async def get_ids(call: Call) -> Response:
    """Return every id but 0 in a region, as text."""
    call.query()
    channel = await call.resources.channel(*names(call))
    check_annotation(channel)
    box = box_of(call, channel)
    check_box(box, call.service.limits)
    with await call.service.admit(call.view, memory_of(box)):
        found = await ids_in(call.service, box)
    return said({"ids": list(map(str, found))})


async def get_bounding_box(call: Call) -> Response:
    """Return how far an object reaches, in voxels of the resolution."""
    kind = call.query("type").get("type", "loose")
    if kind not in ("loose", "tight"):
        raise InputError(f"type={kind[:40]!r}: expected loose or tight")
    channel = await call.resources.channel(*names(call))
    check_annotation(channel)
    box = Box.of(channel, _resolution(call), {})
    wanted = object_id(call.words["id"])
    check_box(box, call.service.limits)
    with await call.service.admit(call.view, memory_of(box)):
        found = await bounds_of(call.service, box, wanted, tight=kind == "tight")
    return said({f"{axis}_range": list(found[axis]) for axis in reversed(AXES)})


def box_of(call: Call, channel: Channel) -> Box:
    """Return the region of a path; without times, the first one.

    Raises
    ------
    RegionError
        A range that is none, or out of bounds; names the valid one.
    NotFound
        No such resolution.
    """
    number = _resolution(call)
    extents = box_extents(channel, find_resolution(channel.info, number))
    ranges = {a: span(a, call.words[a], extents[a]) for a in AXES if a in call.words}
    return Box.of(channel, number, {"t": (0, 1), **ranges})


def _resolution(call: Call) -> int:
    return whole_number("resolution", call.words["resolution"], 0, _MOST_RESOLUTIONS)


def _check_modes(query: dict[str, str]) -> None:
    """Refuse what would be answered with other voxels, or with none; caches are ours to mind."""
    mode = query.get("access-mode", _MODES[0])
    if mode not in _MODES:
        raise InputError(f"access-mode={mode[:40]!r}: expected one of {', '.join(_MODES)}")
    if query.get("iso", "false").lower() != "false":
        raise InputError("iso: resolutions halve x and y alone, isotropic ones are not served")


def _window(text: str) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        window = float(low), float(high)
    except ValueError:
        window = (0.0, 0.0)
    if not (window[0] < window[1] and all(map(np.isfinite, window))):
        raise InputError(f"window={text[:40]!r}: expected LOW,HIGH such as 0,4095, LOW < HIGH")
    return window


def _headers(box: Box, asked: object, media_type: str) -> dict[str, str]:
    info, where = box.channel.info, (box.channel.index, box.resolution.number, box.region)
    return {
        "ETag": entity_tag(__version__, info.id, info.version, where, asked, media_type),
        # Kept, but asked for again: a layer may be replaced at any time.
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }


async def _live_headers(call: Call, box: Box, etag: str) -> dict[str, str]:
    level = box.resolution.level
    return await live_headers(call.service, box.channel.layer, level, [box.source], etag)


def _head(headers: dict[str, str], media_type: str) -> Response:
    response = Response(headers=headers, media_type=media_type)
    del response.headers["content-length"]
    return response


def _encode(
    block: NDArray[Any],
    ids: tuple[int, ...],
    window: tuple[float, float] | None,
    media_type: str,
) -> Parts:
    if ids:
        block = wire.keep_ids(block, ids)
    if window is not None:
        block = wire.scale_window(block, window)
    return wire.encode(block, media_type)


PLACE = "/{collection}/{experiment}/{channel}/{resolution}"
REGION = f"{PLACE}/{{x}}/{{y}}/{{z}}"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        route(f"/cutout{REGION}", get_cutout),
        route(f"/cutout{REGION}/{{t}}", get_cutout),
        route(f"/ids{REGION}", get_ids),
        route(f"/ids{REGION}/{{t}}", get_ids),
        route(f"/boundingbox{PLACE}/{{id}}", get_bounding_box),
    ]
