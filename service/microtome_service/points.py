"""Single voxels, wherever they lie: what a request lists, and how they are gathered by chunks."""

import asyncio
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError, RegionError, TooLarge
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.reader import DECODED_AT_ONCE, Limits, find_level, read
from microtome_service.state import Service
from microtome_service.together import together

_Index = Annotated[int, Field(ge=0, le=10**18)]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Listed:
    """The JSON of a request.

    Parameters
    ----------
    points : list
        Of each point, its voxel along each axis of the layer, in order.
    """

    points: Annotated[
        list[list[_Index]],
        Field(
            min_length=1,
            description="Of each point, its voxel along each axis of the layer, in order.",
            examples=[[[0, 0, 3, 5], [1, 7, 0, 2]]],
        ),
    ]


LISTED = TypeAdapter(Listed)


@dataclass(frozen=True, slots=True)
class Group:
    """The points that lie in one chunk.

    Parameters
    ----------
    region : Region
        The smallest box that holds them.
    places : ndarray of int
        Which of the request's points they are.
    """

    region: Region
    places: NDArray[np.intp]


def parse(body: bytes, info: LayerInfo, level: int) -> NDArray[np.int64]:
    """Return the points that a request lists, of shape (points, axes).

    Raises
    ------
    InputError
        No such JSON; names the place.
    RegionError
        A point outside; names its index and the valid range.
    """
    try:
        listed = LISTED.validate_json(body).points
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"body: {place or 'JSON'}: {first['msg']}") from error
    for number, point in enumerate(listed):
        if len(point) != len(info.axes):
            raise RegionError(
                f"point {number}: {len(point)} numbers, expected one for each of {info.axes!r}"
            )
    points = np.array(listed, np.int64)
    _check_inside(points, info.axes, find_level(info, level).shape)
    return points


def _check_inside(points: NDArray[np.int64], axes: str, shape: tuple[int, ...]) -> None:
    beyond = np.argwhere(points >= np.array(shape))
    if len(beyond):
        number, axis = map(int, beyond[0])
        raise RegionError(
            f"point {number}: {axes[axis]}={points[number, axis]} is out of bounds: valid is 0 to "
            f"{shape[axis] - 1}"
        )


def plan(
    info: LayerInfo, level: int, points: NDArray[np.int64], limits: Limits
) -> tuple[Group, ...]:
    """Return the points by chunk.

    Raises
    ------
    TooLarge
        They lie in more chunks than one answer may touch.
    """
    chunk = np.array(find_level(info, level).chunk)
    cells, which = np.unique(points // chunk, axis=0, return_inverse=True)
    nbytes = len(cells) * int(prod(chunk.tolist())) * np.dtype(info.dtype).itemsize
    for asked, limit, unit in (
        (len(cells), limits.chunks, "chunks to read"),
        (nbytes, limits.decoded, "bytes of chunks to decode"),
    ):
        if asked > limit:
            raise TooLarge(f"{len(points)} points lie in {asked} {unit}, the limit is {limit}: "
                           "ask for fewer at a time")  # fmt: skip
    order = np.argsort(which.reshape(-1), kind="stable")
    edges = np.cumsum(np.bincount(which.reshape(-1)))[:-1]
    return tuple(_group(info.axes, points, places) for places in np.split(order, edges))


def _group(axes: str, points: NDArray[np.int64], places: NDArray[np.intp]) -> Group:
    own = points[places]
    start, stop = own.min(axis=0).tolist(), (own.max(axis=0) + 1).tolist()
    return Group(Region(axes, tuple(start), tuple(stop)), places)


def held(info: LayerInfo, level: int, points: NDArray[np.int64], groups: int) -> int:
    """Return the bytes in memory while points are gathered."""
    itemsize = np.dtype(info.dtype).itemsize
    chunk = prod(find_level(info, level).chunk) * itemsize
    # A chunk and the part of it that is looked at, of as many as are read at a time.
    return points.nbytes * 3 + len(points) * itemsize + 2 * chunk * min(_turns(chunk), groups)


def _turns(chunk: int) -> int:
    return max(1, min(16, DECODED_AT_ONCE // chunk))


async def gather(
    service: Service,
    layer: Layer,
    level: int,
    points: NDArray[np.int64],
    groups: tuple[Group, ...],
) -> NDArray[Any]:
    """Return the voxel of each point, in their order, little-endian.

    Raises
    ------
    Unreadable
        Storage failed.
    """
    values = np.empty(len(points), little_endian(layer.info.dtype))
    chunk = prod(find_level(layer.info, level).chunk) * values.itemsize
    turns = asyncio.Semaphore(_turns(chunk))

    async def take(group: Group) -> None:
        async with turns:
            block = await read(layer, level, group.region, service.limits.seconds)
        inside = points[group.places] - np.array(group.region.start)
        values[group.places] = block[tuple(inside.T)]

    await together(map(take, groups))
    return values
