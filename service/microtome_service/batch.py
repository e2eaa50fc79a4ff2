"""Many regions of one level in one answer: what a request lists, and how it is cut into pieces."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from microtome_core.errors import InputError, RegionError, TooLarge
from microtome_core.region import Region, check_inside
from microtome_core.wire import LayerInfo
from microtome_service.reader import Cost, Limits, cost_of, find_level, refuse_beyond
from microtome_service.slabs import slabs
from microtome_service.streaming import Piece, Plan, check_answer, plan_slabs, slab_sizes

_Index = Annotated[int, Field(ge=0, le=10**18)]


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Listed:
    """The JSON of a request.

    Parameters
    ----------
    boxes : list
        Of each box, `[start, stop]` for each axis of the layer, in order.
    """

    boxes: Annotated[
        list[list[tuple[_Index, _Index]]],
        Field(
            min_length=1,
            description="Of each box, `[start, stop]` for each axis of the layer, in order.",
            examples=[[[[0, 2], [0, 2], [0, 8], [0, 8]], [[0, 2], [0, 2], [8, 16], [3, 11]]]],
        ),
    ]


LISTED = TypeAdapter(Listed)


def parse(body: bytes, info: LayerInfo, level: int, most: int) -> list[Region]:
    """Return the regions that a request lists, in their order.

    Raises
    ------
    InputError
        No such JSON; names the place.
    RegionError
        A box that is none, or lies outside; names its index and the valid range.
    TooLarge
        More than `most`.
    """
    try:
        boxes = LISTED.validate_json(body).boxes
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"body: {place or 'JSON'}: {first['msg']}") from error
    if len(boxes) > most:
        raise TooLarge(f"{len(boxes)} boxes, the limit is {most}: ask for fewer at a time")
    shape = find_level(info, level).shape
    return [_region(number, box, info.axes, shape) for number, box in enumerate(boxes)]


def _region(number: int, box: Sequence[tuple[int, int]], axes: str, shape: Sequence[int]) -> Region:
    if len(box) != len(axes):
        raise RegionError(f"box {number}: {len(box)} ranges, expected one for each of {axes!r}")
    start, stop = zip(*box, strict=True)
    try:
        return check_inside(Region(axes, start, stop), shape)
    except RegionError as error:
        raise RegionError(f"box {number}: {error}") from error


def same_shape(regions: Sequence[Region]) -> tuple[int, ...] | None:
    """Return the shape that all regions have, or None."""
    return regions[0].shape if len({region.shape for region in regions}) == 1 else None


def check_same_shape(regions: Sequence[Region]) -> None:
    """Refuse to stack boxes that differ.

    Raises
    ------
    RegionError
        Names the first that differs.
    """
    for number, region in enumerate(regions):
        if region.shape != regions[0].shape:
            raise RegionError(
                f"box {number}: shape {region.shape}, box 0 has {regions[0].shape}: npy is one "
                "array; ask for format=raw or zstd"
            )


@dataclass(frozen=True, slots=True)
class _Part:
    """Pieces whose memory is known: a group of boxes read side by side, or one cut into slabs."""

    pieces: Iterable[Piece]
    slab: int
    transient: int


def plan_boxes(info: LayerInfo, level: int, regions: Sequence[Region], limits: Limits) -> Plan:
    """Put small boxes together and cut large ones, so that each piece fits memory.

    Raises
    ------
    TooLarge
        More voxels than any answer may have, or a box that touches too many chunks; names it.
    """
    costs = [cost_of(info, level, [region]) for region in regions]
    whole = sum(costs, Cost(0, 0, 0))
    check_answer(whole.voxels, limits)
    parts = list(_parts(info, level, zip(regions, costs, strict=True), limits))
    pieces = chain.from_iterable(part.pieces for part in parts)
    slab, transient = max(p.slab for p in parts), max(p.transient for p in parts)
    return Plan(pieces, whole, slab, transient)


def _parts(
    info: LayerInfo, level: int, boxes: Iterable[tuple[Region, Cost]], limits: Limits
) -> Iterator[_Part]:
    room = slab_sizes(limits)[0]
    group: list[tuple[str, Region]] = []
    voxels = decoded = 0
    for number, (region, cost) in enumerate(boxes):
        name = f"box {number}: "
        fits = cost.voxels <= room
        if group and (not fits or voxels + cost.voxels > room or decoded + cost.decoded > 2 * room):
            yield _Part([group], voxels, decoded)
            group, voxels, decoded = [], 0, 0
        if not fits:
            yield _cut(info, level, name, region, limits)
            continue
        _check(cost, level, name, region, limits)
        group.append((name, region))
        voxels, decoded = voxels + cost.voxels, decoded + cost.held - cost.voxels
    if group:
        yield _Part([group], voxels, decoded)


def _check(cost: Cost, level: int, name: str, region: Region, limits: Limits) -> None:
    try:
        refuse_beyond(cost, level, [region], limits)
    except TooLarge as error:
        raise TooLarge(f"{name}{error}") from error


def _cut(info: LayerInfo, level: int, name: str, region: Region, limits: Limits) -> _Part:
    try:
        plan = plan_slabs(info, level, region, limits)
    except TooLarge as error:
        raise TooLarge(f"{name}{error}") from error
    chunk, itemsize = find_level(info, level).chunk, np.dtype(info.dtype).itemsize
    parts = slabs(region, chunk, itemsize, *slab_sizes(limits))
    return _Part(([(name, part)] for part in parts), plan.slab, plan.transient)
