"""Tiles of planes, rendered, and thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.appearance import (
    Appearance,
    choose_appearance,
    default_appearance,
)
from microtome_service.images import encode_image
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.planes import PlaneName, Tile, as_picture, region_of, tile_ranges
from microtome_service.problems import responses
from microtome_service.reader import check_cost, decoded_bytes, find_level, read
from microtome_service.render import Blend, render, render_labels
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.live import live_headers
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, add, grouped
from microtome_service.state import Service
from microtome_service.thumbnail import View as Shown
from microtome_service.thumbnail import choose_view, fit, project, project_labels, view_region
from microtome_service.together import together
from microtome_service.versions import Version, cache_control, check_version

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
Extension = Literal["png", "jpg", "jpeg", "webp"]


@dataclass(frozen=True, slots=True)
class TilePath:
    """Where in the layer a tile lies."""

    plane: Annotated[
        PlaneName,
        Path(
            description="Rows and columns: xy is y and x, xz is z and x, yz is y and z.",
            examples=["xy"],
        ),
    ]
    level: Annotated[
        int, Path(ge=0, le=63, description="Level of the pyramid; 0 is the finest.", examples=[0])
    ]
    index: Annotated[
        int,
        Path(
            ge=0,
            le=10**18,
            description="Voxel of the level on the axis that the plane cuts; 0 where it is absent.",
            examples=[0],
        ),
    ]
    row: Annotated[
        int, Path(ge=0, le=10**18, description="Tile, counted from the top.", examples=[0])
    ]
    col: Annotated[
        int, Path(ge=0, le=10**18, description="Tile, counted from the left.", examples=[0])
    ]
    extension: Annotated[Extension, Path(description="Format of the picture.", examples=["png"])]


@dataclass(frozen=True, slots=True)
class TileQuery:
    """How a tile is cut and shown."""

    size: Annotated[
        int,
        Query(
            ge=16,
            le=1024,
            description="Voxels along each side; tiles at the edges are clipped to the volume.",
            examples=[256],
        ),
    ] = 256
    t: Annotated[int, Query(ge=0, le=10**18, description="Time point.", examples=[0])] = 0
    channels: Annotated[
        str | None,
        Query(
            description="Channels with commas between; the first six by default.", examples=["0"]
        ),
    ] = None
    window: Annotated[
        tuple[str, ...],
        Query(
            description="Values shown as black and as full colour, `LOW:HIGH`: one for all "
            "channels or one each, repeated or with commas between. The layer's own by default.",
            examples=[["0:4095"]],
        ),
    ] = ()
    color: Annotated[
        tuple[str, ...],
        Query(
            description="Colours `RRGGBB`, likewise. The layer's own by default.",
            examples=[["00FF00"]],
        ),
    ] = ()
    gamma: Annotated[
        float,
        Query(
            ge=0.05,
            le=20,
            allow_inf_nan=False,
            description="Brightness is raised to this power; below 1 is brighter.",
            examples=[1.0],
        ),
    ] = 1.0
    blend: Annotated[
        Blend,
        Query(description="How channels are put together.", examples=["additive"]),
    ] = "additive"
    version: Version = None


@dataclass(frozen=True, slots=True)
class ThumbnailQuery:
    """How large a thumbnail is."""

    size: Annotated[
        int, Query(ge=16, le=1024, description="Pixels of the longer side.", examples=[256])
    ] = 256
    version: Version = None


async def get_tile(
    request: Request,
    path: LayerPathDep,
    tile: Annotated[TilePath, grouped(TilePath)],
    query: Annotated[TileQuery, grouped(TileQuery)],
    service: ServiceDep,
) -> Response:
    """Return a tile of a plane as a picture.

    Tile (row, col) covers `size` voxels along each side from row × size and col × size on, less at
    the edge of the volume. Labels get one stable colour an id; 0 is transparent, black in JPEG.
    """
    view = await service.view(request)
    layer = await view.layer(path.id)
    check_version(layer.info, query.version)
    level = find_level(layer.info, tile.level)
    address = Tile(tile.plane, tile.index, tile.row, tile.col, query.size)
    ranges = tile_ranges(layer.info, level, address)
    look = choose_appearance(
        layer.info, query.channels, query.window, query.color, query.gamma, query.blend
    )
    regions = [region_of(layer.info, level, ranges, query.t, c) for c in look.channels]
    check_cost(layer.info, tile.level, regions, service.limits)
    headers = _headers(service, layer.info, tile, query)
    headers |= await live_headers(service, layer, tile.level, regions, headers["ETag"])
    media_type = _MEDIA_TYPES[tile.extension]
    early = _early(request, headers, media_type)
    if early is not None:
        return early
    with await service.admit(view, _decoded(layer.info, tile.level, regions)):
        blocks = await _read_all(layer, tile.level, regions, service.limits.seconds)
        planes = [as_picture(block, layer.info.axes, tile.plane) for block in blocks]
        body = await service.compute(_encode, planes, layer.info.kind, look, media_type)
    return Response(body, headers=headers, media_type=media_type)


async def get_thumbnail(
    request: Request,
    path: LayerPathDep,
    query: Annotated[ThumbnailQuery, grouped(ThumbnailQuery)],
    service: ServiceDep,
) -> Response:
    """Return a small PNG of a layer, its aspect that of the tissue.

    An image is projected along z (largest value), labels are seen from above (first id that is not
    0); where the depth costs too much, the middle plane. The middle time point is shown, from a
    level that is cheap to read.
    """
    view = await service.view(request)
    layer = await view.layer(path.id)
    check_version(layer.info, query.version)
    look = default_appearance(layer.info)
    shown, regions = _shown(service, layer, look, query.size)
    # What is shown depends on limits, too, which may be others after a restart.
    headers = _headers(service, layer.info, ("thumbnail", shown), query)
    headers |= await live_headers(service, layer, shown.level, regions, headers["ETag"])
    early = _early(request, headers, "image/png")
    if early is not None:
        return early
    with await service.admit(view, _decoded(layer.info, shown.level, regions)):
        blocks = await _read_all(layer, shown.level, regions, service.limits.seconds)
        body = await service.compute(_small, blocks, layer.info, look, query.size)
    return Response(body, headers=headers, media_type="image/png")


def _shown(
    service: Service, layer: Layer, look: Appearance, size: int
) -> tuple[Shown, list[Region]]:
    """Return what a thumbnail shows, and its region of each channel."""
    # Chunks are no less than voxels: what is chosen by them keeps the limit of voxels, too.
    decoded = min(service.settings.max_thumbnail_bytes, service.limits.voxels)
    limits = replace(service.limits, decoded=decoded)
    shown = choose_view(layer.info, size, len(look.channels), limits)
    regions = [view_region(layer.info, shown, c) for c in look.channels]
    check_cost(layer.info, shown.level, regions, limits)
    return shown, regions


def _small(blocks: list[NDArray[Any]], info: LayerInfo, look: Appearance, size: int) -> memoryview:
    labels = info.kind == "labels"
    planes = [project_labels(b) if labels else project(b, info.axes) for b in blocks]
    picture = _picture(planes, info.kind, look)
    return encode_image(fit(picture, info, size, labels), "image/png")


async def _read_all(
    layer: Layer, level: int, regions: Sequence[Region], seconds: float
) -> list[NDArray[Any]]:
    return await together(read(layer, level, region, seconds) for region in regions)


def _decoded(info: LayerInfo, level: int, regions: Sequence[Region]) -> int:
    return sum(decoded_bytes(info, level, region) for region in regions)


def _encode(planes: list[NDArray[Any]], kind: str, look: Appearance, media_type: str) -> memoryview:
    return encode_image(_picture(planes, kind, look), media_type)


def _picture(planes: list[NDArray[Any]], kind: str, look: Appearance) -> NDArray[np.uint8]:
    if kind == "labels":
        return render_labels(planes[0])
    return render(planes, look.shown, look.gamma, look.blend)


def _headers(
    service: Service, info: LayerInfo, what: object, query: TileQuery | ThumbnailQuery
) -> dict[str, str]:
    return {
        "ETag": entity_tag(__version__, info.id, info.version, what, query),
        "Cache-Control": cache_control(
            query.version, f"public, max-age={service.settings.tile_max_age}"
        ),
        "X-Microtome-Version": info.version,
    }


def _early(request: Request, headers: dict[str, str], media_type: str) -> Response | None:
    """Answer what needs no voxel: the caller has the picture, or wants its headers alone."""
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method != "HEAD":
        return None
    response = Response(headers=headers, media_type=media_type)
    del response.headers["content-length"]
    return response


def _documented(*media_types: str) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "The picture.", "content": dict.fromkeys(media_types, binary)},
        304: {"description": "The caller has it already."},
        **responses(400, 404, 409, 413, 422, 429, 503),
    }


def router() -> APIRouter:
    """Return the routes of tiles and thumbnails."""
    routes = APIRouter(tags=["pictures"], route_class=LeanRoute)
    add(
        routes,
        "/api/datasets/{collection}/{dataset}/{layer}"
        "/tiles/{plane}/{level}/{index}/{row}/{col}.{extension}",
        get_tile,
        name="tile",
        summary="Show a tile of a plane",
        response_class=Response,
        responses=_documented(*_MEDIA_TYPES.values()),
    )
    add(
        routes,
        "/api/datasets/{collection}/{dataset}/{layer}/thumbnail.png",
        get_thumbnail,
        name="thumbnail",
        summary="Show a layer at a glance",
        response_class=Response,
        responses=_documented("image/png"),
    )
    return routes
