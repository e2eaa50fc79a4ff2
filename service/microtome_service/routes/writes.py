"""Writing a cutout into a layer that was created for it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.selection import Selection
from microtome_core.store.layer import Layer
from microtome_core.store.writing import check_writable
from microtome_service.audit import digest, facts
from microtome_service.decode import READABLE, Expected, choose_readable, decode
from microtome_service.negotiate import entity_tag
from microtome_service.problems import responses
from microtome_service.reader import check_cost, decoded_bytes
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import (
    LayerPathDep,
    ServiceDep,
    axis_words,
    grouped,
    range_query,
)
from microtome_service.state import Service
from microtome_service.upload import check_length, read_body
from microtome_service.view import View
from microtome_service.writes import Written

_ONE = ", whose axis the body lacks"


@dataclass(frozen=True, slots=True)
class WriteQuery:
    """Where voxels are written."""

    level: Annotated[
        int, Query(ge=0, le=63, description="0: the levels above follow.", examples=[0])
    ] = 0
    t: Annotated[str | None, range_query("Time points", "0", _ONE)] = None
    c: Annotated[str | None, range_query("Channels", "0:2", _ONE)] = None
    z: Annotated[str | None, range_query("In voxels", "10:74", _ONE)] = None
    y: Annotated[str | None, range_query("In voxels", "0:512", _ONE)] = None
    x: Annotated[str | None, range_query("In voxels", "0:512", _ONE)] = None


async def put_cutout(
    request: Request,
    path: LayerPathDep,
    query: Annotated[WriteQuery, grouped(WriteQuery)],
    service: ServiceDep,
) -> Response:
    """Replace the voxels of a region of a writable layer.

    The body holds them as a cutout does, of the same shape and dtype. Once answered, they lie
    durably in the store and every reader sees them. Each shard changes as a whole; where storage
    fails, some may have changed: the same request may be sent again. With `If-Match` and the ETag
    of a cutout that touches the same shards, nothing is written if they have changed. The levels
    above follow within moments.
    """
    return await _write(request, path, query, service, merge=False)


async def patch_cutout(
    request: Request,
    path: LayerPathDep,
    query: Annotated[WriteQuery, grouped(WriteQuery)],
    service: ServiceDep,
) -> Response:
    """Write voxels of a region that are not 0; where the body is 0 the layer stays as it is."""
    return await _write(request, path, query, service, merge=True)


async def _write(
    request: Request, path: LayerPathDep, query: WriteQuery, service: Service, *, merge: bool
) -> Response:
    view = await service.view(request)
    layer = await view.layer(path.id)
    if not service.settings.anonymous_writes:
        await view.check_may_write(path.id)
    check_writable(layer)
    if query.level != 0:
        raise InputError(f"level {query.level}: only level 0 is written, those above follow")
    selection = Selection.parse(layer.info.axes, layer.info.shape, axis_words(query))
    check_cost(layer.info, 0, [selection.region], service.limits)
    media_type = choose_readable(
        request.headers.get("content-type"), request.headers.get("content-encoding")
    )
    expected = Expected(selection.shape, layer.info.dtype, media_type)
    check_length(request, expected.most, str(expected))
    with await service.admit(view, _memory(layer, expected)):
        body = await read_body(request, expected.most, service.settings.stalled_seconds)
        block, digested = await service.compute(_decode, body, expected)
        written = await service.writes.write(
            layer,
            selection.region,
            block.reshape(selection.region.shape),
            {**_facts(request, view, media_type), **digested},
            merge=merge,
            if_match=request.headers.get("if-match"),
        )
    return await _answer(service, layer, selection, media_type, written)


def _memory(layer: Layer, expected: Expected) -> int:
    """Return the bytes that are held: the body, its voxels, and a shard as it is and as it was."""
    level = layer.info.levels[0]
    first = Selection.parse(layer.info.axes, layer.info.shape, {}).region
    shard = next(first.split(level.shard))
    return 2 * expected.most + 3 * decoded_bytes(layer.info, 0, shard)


def _decode(body: bytearray, expected: Expected) -> tuple[NDArray[Any], dict[str, Any]]:
    return decode(body, expected), digest(body)


def _facts(request: Request, view: View, media_type: str) -> dict[str, Any]:
    told = {"method": request.method, "media_type": media_type}
    return {**facts(request, view.principal), **told}


async def _answer(
    service: Service, layer: Layer, selection: Selection, media_type: str, written: Written
) -> Response:
    request = (0, selection.region, selection.dropped, media_type)
    info = layer.info
    current = len(info.levels) == 1 or await service.writes.is_current(layer)
    tag = entity_tag(__version__, info.id, info.version, *request)
    return Response(
        status_code=204,
        headers={
            "ETag": entity_tag(tag, state=written.after),
            "X-Microtome-Version": info.version,
            "X-Microtome-Shards-Written": str(written.shards),
            "X-Microtome-Pyramid": "current" if current else "updating",
        },
    )


def router() -> APIRouter:
    """Return the routes of writes."""
    routes = APIRouter(tags=["writes"], route_class=LeanRoute)
    binary = {"schema": {"type": "string", "format": "binary"}}
    body = {"required": True, "content": dict.fromkeys(READABLE.values(), binary)}
    for method, handler, summary in (
        ("PUT", put_cutout, "Replace the voxels of a region"),
        ("PATCH", patch_cutout, "Write the voxels of a region that are not 0"),
    ):
        routes.add_api_route(
            "/api/datasets/{collection}/{dataset}/{layer}/cutout",
            handler,
            methods=[method],
            name=f"{method.lower()}-cutout",
            summary=summary,
            status_code=204,
            response_class=Response,
            openapi_extra={"requestBody": body},
            responses={
                204: {"description": "Written, durably.", "headers": _HEADERS},
                **responses(400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 503),
            },
        )
    return routes


_TEXT = {"schema": {"type": "string"}}
_HEADERS = {
    "ETag": {"description": "As a cutout of the region would have it now.", **_TEXT},
    "X-Microtome-Version": {"description": "Version of the layer.", **_TEXT},
    "X-Microtome-Shards-Written": {"description": "How many objects are others now.", **_TEXT},
    "X-Microtome-Pyramid": {
        "description": "`current`, or `updating` while levels above lack something written.",
        **_TEXT,
    },
}
