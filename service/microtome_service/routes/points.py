"""Single voxels of one level in one answer, for those who look along a path or at cells."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core.errors import InputError
from microtome_service.body import BodyResponse
from microtome_service.encode import FORMATS, PLAIN, choose_media_type, describe, encode
from microtome_service.points import LISTED, gather, held, parse, plan
from microtome_service.problems import responses
from microtome_service.reader import find_level
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, grouped
from microtome_service.upload import check_length, read_body
from microtome_service.versions import Version, check_version

_NAMES = [name for name, media_type in FORMATS.items() if media_type in PLAIN]


@dataclass(frozen=True, slots=True)
class PointsQuery:
    """Of which level, and in which form."""

    level: Annotated[
        int, Query(ge=0, le=63, description="Level of the pyramid; 0 is the finest.", examples=[0])
    ] = 0
    format: Annotated[
        str | None,
        Query(
            description="`npy`, an array of one axis, or `raw`, its voxels. npy by default.",
            examples=["npy"],
            json_schema_extra={"enum": [*_NAMES, None]},
        ),
    ] = None
    version: Version = None


async def post_points(
    request: Request,
    path: LayerPathDep,
    query: Annotated[PointsQuery, grouped(PointsQuery)],
    service: ServiceDep,
) -> Response:
    """Return the voxel of each point, in the order of the list.

    The body is JSON: `{"points": [[0, 0, 3, 5], ...]}`, one voxel for each axis of the layer. Each
    chunk is read once, however many points lie in it.
    """
    media_type = choose_media_type(query.format, request.headers.get("accept"))
    if media_type not in PLAIN:
        raise InputError(f"{media_type} holds no points: expected format={' or '.join(_NAMES)}")
    view = await service.view(request)
    layer = await view.layer(path.id)
    info = layer.info
    find_level(info, query.level)
    check_version(info, query.version)
    most = service.settings.max_body_bytes
    check_length(request, most, "a list of points: list fewer at a time")
    body = await read_body(request, most, service.settings.stalled_seconds)
    points = await service.compute(parse, bytes(body), info, query.level)
    groups = await service.compute(plan, info, query.level, points, service.limits)
    lease = await service.admit(view, held(info, query.level, points, len(groups)))
    try:
        values = await gather(service, layer, query.level, points, groups)
    except BaseException:
        lease.release()
        raise
    headers = {
        "Cache-Control": "no-store",
        "X-Microtome-Version": info.version,
        **describe(values.shape, info.dtype, ""),
    }
    return BodyResponse(encode(values, "", media_type, {}), media_type, headers, lease)


def router() -> APIRouter:
    """Return the route of points."""
    routes = APIRouter(tags=["voxels"], route_class=LeanRoute)
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    body = {"application/json": {"schema": LISTED.json_schema()}}
    routes.add_api_route(
        "/api/datasets/{collection}/{dataset}/{layer}/points",
        post_points,
        methods=["POST"],
        name="points",
        summary="Look at single voxels of a layer",
        response_class=Response,
        responses={
            200: {
                "description": "One voxel for each point.",
                "content": dict.fromkeys(PLAIN, binary),
            },
            **responses(400, 404, 406, 408, 409, 413, 422, 429, 503),
        },
        openapi_extra={"requestBody": {"required": True, "content": body}},
    )
    return routes
