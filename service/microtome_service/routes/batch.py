"""Many cutouts of one level in one answer, for those who train on them."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core.errors import InputError
from microtome_service.batch import LISTED, check_same_shape, parse, plan_boxes, same_shape
from microtome_service.encode import FORMATS, choose_media_type, describe, npy_header
from microtome_service.problems import responses
from microtome_service.reader import find_level
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, grouped
from microtome_service.streaming import BATCHED, stream
from microtome_service.upload import check_length, read_body
from microtome_service.versions import Version, check_version

_NAMES = [name for name, media_type in FORMATS.items() if media_type in BATCHED]


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """Of which level, and in which form."""

    level: Annotated[
        int, Query(ge=0, le=63, description="Level of the pyramid; 0 is the finest.", examples=[0])
    ] = 0
    format: Annotated[
        str | None,
        Query(
            description="`npy`, for boxes of one shape, is an array of one axis more; `raw` is the "
            "voxels of one box after another; `zstd` is `raw`, compressed; `blosc` is each box as "
            "one buffer or more. npy by default.",
            examples=["npy"],
            json_schema_extra={"enum": [*_NAMES, None]},
        ),
    ] = None
    version: Version = None


async def post_cutouts(
    request: Request,
    path: LayerPathDep,
    query: Annotated[BatchQuery, grouped(BatchQuery)],
    service: ServiceDep,
) -> Response:
    """Return the voxels of many boxes, in the order of the list.

    The body is JSON: `{"boxes": [[[start, stop], ...], ...]}`, one range for each axis of the
    layer. Nothing stands between the voxels of two boxes.
    """
    media_type = _media_type(query.format, request.headers.get("accept"))
    view = await service.view(request)
    layer = await view.layer(path.id)
    info = layer.info
    find_level(info, query.level)
    check_version(info, query.version)
    most = service.settings.max_body_bytes
    check_length(request, most, "a list of boxes: list fewer at a time")
    body = await read_body(request, most, service.settings.stalled_seconds)
    regions = parse(bytes(body), info, query.level, service.settings.max_boxes)
    prefix = b""
    if media_type == FORMATS["npy"]:
        check_same_shape(regions)
        prefix = npy_header((len(regions), *regions[0].shape), info.dtype)
    plan = plan_boxes(info, query.level, regions, service.limits)
    headers = {
        "Cache-Control": "no-store",
        "X-Microtome-Version": info.version,
        "X-Microtome-Boxes": str(len(regions)),
        **plan.cost.headers,
        **describe(same_shape(regions) or (), info.dtype, info.axes),
    }
    return await stream(service, view, layer, query.level, plan, media_type, headers, prefix)


def _media_type(name: str | None, accept: str | None) -> str:
    media_type = choose_media_type(name, accept)
    if media_type not in BATCHED:
        raise InputError(f"{media_type} holds one cutout: expected format={', '.join(_NAMES)}")
    return media_type


def router() -> APIRouter:
    """Return the route of batches."""
    routes = APIRouter(tags=["voxels"], route_class=LeanRoute)
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    schema = LISTED.json_schema()
    routes.add_api_route(
        "/api/datasets/{collection}/{dataset}/{layer}/cutouts",
        post_cutouts,
        methods=["POST"],
        name="cutouts",
        summary="Cut many regions out of a layer",
        response_class=Response,
        responses={
            200: {
                "description": "The voxels of one box after another.",
                "content": dict.fromkeys(BATCHED, binary),
            },
            **responses(400, 404, 406, 408, 409, 413, 422, 429, 503),
        },
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    )
    return routes
