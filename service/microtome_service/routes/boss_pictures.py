"""Planes of a channel as pictures: any rectangle of one, or a tile.

Rows and columns are those of the cutout in the order z y x: ``xy`` has rows y and columns x, ``xz``
rows z and columns x, ``yz`` rows z and columns y.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import InputError, RegionError, TooLarge
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.errors import TypeMismatch
from microtome_service.bossdb.levels import find_resolution
from microtome_service.bossdb.voxels import Box, box_extents, check_answer, memory_of, read_box
from microtome_service.bossdb.wire import JPEG, PNG, choose_type
from microtome_service.bossdb.words import position, span, whole_number
from microtome_service.images import encode_image
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import names

_NORMALS = {"xy": "z", "xz": "y", "yz": "x"}
_OFFERED = (PNG, JPEG)
_LONGEST = 65500


async def get_image(call: Call) -> Response:
    """Return a rectangle of a plane: two ranges and one index, in the order x, y, z."""
    _check_query(call)
    normal = _normal(call)
    channel = await call.resources.channel(*names(call))
    extents = _extents(call, channel)
    ranges = {
        axis: (position if axis == normal else span)(axis, call.words[axis], extents[axis])
        for axis in "xyz"
    }
    return await _picture(call, channel, normal, {**ranges, "t": _time(call, extents)})


async def get_tile(call: Call) -> Response:
    """Return a tile of a plane, clipped to the channel; on the plane's normal an index counts."""
    _check_query(call)
    normal = _normal(call)
    channel = await call.resources.channel(*names(call))
    extents, size = _extents(call, channel), whole_number("tile size", call.words["size"], 1, 2048)
    ranges = {
        axis: position(axis, call.words[axis], extents[axis])
        if axis == normal
        else _tile(axis, call.words[axis], size, extents[axis])
        for axis in "xyz"
    }
    return await _picture(call, channel, normal, {**ranges, "t": _time(call, extents)})


def _check_query(call: Call) -> None:
    call.query("no-cache", "access-mode")


def _normal(call: Call) -> str:
    plane = call.words["plane"]
    if plane not in _NORMALS:
        raise InputError(f"plane {plane[:40]!r}: expected xy, xz or yz")
    return _NORMALS[plane]


def _extents(call: Call, channel: Channel) -> dict[str, int]:
    number = whole_number("resolution", call.words["resolution"], 0, 63)
    return box_extents(channel, find_resolution(channel.info, number))


def _time(call: Call, extents: dict[str, int]) -> tuple[int, int]:
    word = call.words.get("t", "0")
    return (span if ":" in word else position)("t", word, extents["t"])


def _tile(axis: str, word: str, size: int, extent: int) -> tuple[int, int]:
    number = whole_number(f"tile on axis {axis}", word, 0, (extent - 1) // size)
    return number * size, min((number + 1) * size, extent)


async def _picture(
    call: Call, channel: Channel, normal: str, ranges: dict[str, tuple[int, int]]
) -> Response:
    media_type = choose_type(call.request.headers.get("accept"), _OFFERED)
    box = Box.of(channel, int(call.words["resolution"]), ranges)
    _check_picture(channel, box, media_type)
    check_answer(box, call.service.limits)
    with await call.service.admit(call.view, memory_of(box, 2)):
        block = await read_box(call.service, box)
        plane = block[0].squeeze(axis="zyx".index(normal))
        body = await call.service.compute(_encode, plane, media_type)
    return Response(bytes(body), headers={"Cache-Control": "no-cache", "Vary": "Accept"},
                    media_type=media_type)  # fmt: skip


def _encode(plane: NDArray[Any], media_type: str) -> memoryview:
    return encode_image(np.ascontiguousarray(plane), media_type)


def _check_picture(channel: Channel, box: Box, media_type: str) -> None:
    held = ("uint8", "uint16") if media_type == PNG else ("uint8",)
    if channel.datatype not in held:
        raise TypeMismatch(
            f"{media_type} holds {' or '.join(held)}, the channel is {channel.datatype}: "
            f"ask for a cutout, or for /api/datasets/{channel.info.id}/tiles"
        )
    if box.region.shape[0] != 1:
        raise RegionError("a picture is of one time point")
    if max(box.region.shape) > _LONGEST:
        raise TooLarge(f"a side of {max(box.region.shape)}: pictures hold {_LONGEST}")


_ADDRESS = "/{collection}/{experiment}/{channel}/{plane}"


def routes() -> list[Route]:
    """Return the routes."""
    image = f"/image{_ADDRESS}/{{resolution}}/{{x}}/{{y}}/{{z}}"
    tile = f"/tile{_ADDRESS}/{{size}}/{{resolution}}/{{x}}/{{y}}/{{z}}"
    return [
        route(image, get_image),
        route(f"{image}/{{t}}", get_image),
        route(tile, get_tile),
        route(f"{tile}/{{t}}", get_tile),
    ]
