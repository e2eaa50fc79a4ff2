"""Layers as Neuroglancer's precomputed volumes."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from numpy.typing import NDArray
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import NotFound
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_service.body import BodyResponse
from microtome_service.exchange import span
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.precomputed.encodings import MEDIA_TYPES, cast, encode
from microtome_service.precomputed.properties import has_properties, segment_properties
from microtome_service.precomputed.variant import PATTERN, Variant
from microtome_service.precomputed.volume import Volume
from microtome_service.problems import responses
from microtome_service.reader import check_cost, read, voxel_bytes
from microtome_service.routes import skeletons
from microtome_service.routes.answers import (
    JSON,
    check_query,
    documented,
    fresh,
    head_answer,
    json_answer,
)
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.live import live_headers
from microtome_service.routes.parameters import Handler, LayerPathDep, ServiceDep, add, grouped
from microtome_service.state import Service

_KEY = re.compile(r"(?:0|[1-9][0-9]?)")
_LAYER = "/precomputed/{collection}/{dataset}/{layer}"


@dataclass(frozen=True, slots=True)
class VariantPath:
    """Which view of the layer."""

    variant: Annotated[
        str,
        Path(
            description="Time point, channel and encoding, as far as they are not the default.",
            examples=["c0-raw"],
            json_schema_extra={"pattern": PATTERN},
        ),
    ]


@dataclass(frozen=True, slots=True)
class ChunkPath:
    """Where a chunk lies."""

    key: Annotated[
        str,
        Path(
            description="Level of the pyramid.",
            examples=["0"],
            json_schema_extra={"pattern": _KEY.pattern},
        ),
    ]
    chunk: Annotated[
        str,
        Path(
            description="`x0-x1_y0-y1_z0-z1`, in voxels of the level, on the grid of `info`.",
            examples=["0-8_0-8_0-8"],
        ),
    ]

    @property
    def level(self) -> int:
        """The level; clients ask for files that are no chunks, too, and take 404 for an answer.

        Raises
        ------
        NotFound
            No number.
        """
        if not _KEY.fullmatch(self.key):
            raise NotFound(f"no scale {self.key[:40]!r}: expected a level, such as 0")
        return int(self.key)


async def get_info(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Describe a layer as a precomputed volume: all channels at the first time point."""
    return await _info(request, service, path.id, Variant())


async def get_variant_info(
    request: Request,
    path: LayerPathDep,
    variant: Annotated[VariantPath, grouped(VariantPath)],
    service: ServiceDep,
) -> Response:
    """Describe a view of a layer as a precomputed volume."""
    return await _info(request, service, path.id, Variant.parse(variant.variant))


async def get_chunk(
    request: Request,
    path: LayerPathDep,
    chunk: Annotated[ChunkPath, grouped(ChunkPath)],
    service: ServiceDep,
) -> Response:
    """Return the voxels of a chunk."""
    return await _chunk(request, service, path.id, Variant(), chunk)


async def get_variant_chunk(
    request: Request,
    path: LayerPathDep,
    variant: Annotated[VariantPath, grouped(VariantPath)],
    chunk: Annotated[ChunkPath, grouped(ChunkPath)],
    service: ServiceDep,
) -> Response:
    """Return the voxels of a chunk of a view."""
    return await _chunk(request, service, path.id, Variant.parse(variant.variant), chunk)


async def get_properties(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Return what is known of single segments of a label layer."""
    return await _properties(request, service, path.id)


async def get_variant_properties(
    request: Request,
    path: LayerPathDep,
    variant: Annotated[VariantPath, grouped(VariantPath)],
    service: ServiceDep,
) -> Response:
    """Return the same: views do not differ in it."""
    Variant.parse(variant.variant)
    return await _properties(request, service, path.id)


async def _info(
    request: Request, service: Service, layer_id: LayerId, variant: Variant
) -> Response:
    layer = await _layer(request, service, layer_id)
    volume = Volume.of(layer.info, variant)
    named = layer.info.kind == "labels" and has_properties(layer.segments)
    headers = fresh(layer.info.id, layer.info.version, "info", variant)
    return json_answer(request, volume.to_json(properties=named), headers)


async def _properties(request: Request, service: Service, layer_id: LayerId) -> Response:
    layer = await _layer(request, service, layer_id)
    if layer.info.kind != "labels" or not has_properties(layer.segments):
        raise NotFound(f"layer {layer_id} has no properties of segments")
    headers = fresh(layer.info.id, layer.info.version, "segment_properties")
    return json_answer(request, segment_properties(layer.segments), headers)


async def _chunk(
    request: Request, service: Service, layer_id: LayerId, variant: Variant, path: ChunkPath
) -> Response:
    check_query(request)
    level = path.level
    view = await service.view(request)
    layer = await view.layer(layer_id)
    volume = Volume.of(layer.info, variant)
    region = volume.region(level, path.chunk)
    cost = check_cost(layer.info, level, [region], service.limits)
    headers = {
        "ETag": entity_tag(__version__, layer.info.id, layer.info.version, variant, level, region),
        "Cache-Control": f"public, max-age={service.settings.tile_max_age}",
        "X-Microtome-Version": layer.info.version,
        **cost.headers,
    }
    headers |= await live_headers(service, layer, level, [region], headers["ETag"])
    media_type = MEDIA_TYPES[volume.encoding]
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        known = voxel_bytes(layer.info, region) if _is_plain(volume) else None
        return head_answer(known, headers, media_type)
    lease = await service.admit(view, cost.held + _widened(volume, region))
    try:
        body = await _voxels(service, layer, volume, level, region)
    except BaseException:
        lease.release()
        raise
    return BodyResponse((body,), media_type, headers, lease)


def _widened(volume: Volume, region: Region) -> int:
    """Return the bytes of what is cast or encoded: 8 a voxel at most."""
    return 0 if _is_plain(volume) else 8 * region.size


def _is_plain(volume: Volume) -> bool:
    return volume.encoding == "raw" and volume.dtype == volume.info.dtype


async def _voxels(
    service: Service, layer: Layer, volume: Volume, level: int, region: Region
) -> bytes | memoryview:
    block = await read(layer, level, region, service.limits.seconds)
    extents = dict(zip(region.axes, region.shape, strict=True))
    # Axes are in the order t c z y x, of which t has one voxel.
    block = block.reshape([extents.get(axis, 1) for axis in "czyx"])
    if _is_plain(volume):
        return encode(cast(block, volume.dtype), "raw")
    with span("encode"):
        return await service.compute(_encode, block, volume)


def _encode(block: NDArray[Any], volume: Volume) -> bytes | memoryview:
    return encode(cast(block, volume.dtype), volume.encoding)


async def _layer(request: Request, service: Service, layer_id: LayerId) -> Layer:
    check_query(request)
    return await (await service.view(request)).layer(layer_id)


def router() -> APIRouter:
    """Return the routes of volumes, skeletons and annotations."""
    routes = APIRouter(tags=["precomputed"], route_class=LeanRoute)
    pictures = tuple(dict.fromkeys(MEDIA_TYPES.values()))
    _add(routes, "info", get_info, "info", JSON)
    ending, what = "segment_properties/info", "properties of segments"
    _add(routes, ending, get_properties, what, JSON)
    _add(routes, "{variant}/info", get_variant_info, "info of a view", JSON)
    _add(routes, f"{{variant}}/{ending}", get_variant_properties, f"{what} of a view", JSON)
    # In this order no address means two things, even if a layer is called annotations.
    routes.include_router(skeletons.router())
    _add(routes, "{key}/{chunk}", get_chunk, "chunk", *pictures)
    _add(routes, "{variant}/{key}/{chunk}", get_variant_chunk, "chunk of a view", *pictures)
    return routes


def _add(routes: APIRouter, ending: str, handler: Handler, what: str, *media_types: str) -> None:
    add(
        routes,
        f"{_LAYER}/{ending}",
        handler,
        name=f"precomputed {what}",
        summary=f"Precomputed {what}",
        response_class=Response,
        responses=documented(*media_types) | responses(400, 404, 413, 422, 429, 503),
    )
