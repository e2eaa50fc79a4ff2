"""Points in and out of the named spaces that a layer is registered to."""

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from pydantic_core import to_json
from starlette.responses import Response

from microtome_core import npy
from microtome_core.axes import spatial
from microtome_core.coordinates import transform_points
from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.space import PHYSICAL, VOXEL, Transform, find_registration, registrations
from microtome_core.store.layer import Layer
from microtome_core.store.spaces import MOST_FIELD_BYTES, read_field
from microtome_service.errors import Unreadable, Unsupported
from microtome_service.problems import responses
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, add, grouped, only
from microtome_service.state import Service
from microtome_service.upload import check_length, read_body

LAYER = "/api/datasets/{collection}/{dataset}/{layer}"
_JSON, _NPY = "application/json", "application/x-npy"


@dataclass(frozen=True, slots=True)
class SpaceDocument:
    """A space that a layer has coordinates in."""

    name: str
    title: str
    rrid: str
    orientation: str
    unit: str
    field: bool


@dataclass(frozen=True, slots=True)
class SpacesDocument:
    """Every space of a layer; those of the layer itself first."""

    spaces: tuple[SpaceDocument, ...]


@dataclass(frozen=True, slots=True)
class TransformQuery:
    """From where to where."""

    source: Annotated[
        str,
        Query(
            max_length=64,
            description="What the points are in: `voxel` of `level`, `physical`, or a space.",
            examples=["voxel"],
        ),
    ] = VOXEL
    target: Annotated[str, Query(max_length=64, description="Likewise.", examples=["physical"])] = (
        PHYSICAL
    )
    level: Annotated[
        int, Query(ge=0, le=63, description="Level whose voxels are meant.", examples=[0])
    ] = 0


async def get_spaces(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """List the spaces that a layer has coordinates in: its own two, and those of its record."""
    layer = await (await service.view(request)).layer(path.id)
    own = (
        SpaceDocument(VOXEL, "voxels of a level", "", "", "voxel", False),
        SpaceDocument(PHYSICAL, "along the layer's axes", "", "", "micrometer", False),
    )
    try:
        known = registrations(layer.info.attrs)
    except InputError as error:
        raise Unreadable(f"layer {path.id}: a registration is damaged") from error
    named = (
        SpaceDocument(r.space, r.title, r.rrid, r.orientation, "micrometer", r.field is not None)
        for r in known
    )
    document = SpacesDocument((*own, *named))
    return Response(to_json(document), headers={"Cache-Control": "no-cache"}, media_type=_JSON)


async def post_transform(
    request: Request,
    path: LayerPathDep,
    query: Annotated[TransformQuery, grouped(TransformQuery)],
    service: ServiceDep,
) -> Response:
    """Return points in other coordinates.

    The body is `{"points": [[z, y, x], …]}` or an NPY file of that shape; the answer has the same
    form. Coordinates of the layer are in the order of its spatial axes, those of a space in its
    own, all in micrometers but voxels.
    """
    view = await service.view(request)
    layer = await view.layer(path.id)
    if query.level >= len(layer.info.levels):
        raise NotFound(f"no level {query.level}: it has levels 0 to {len(layer.info.levels) - 1}")
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind not in (_JSON, _NPY):
        raise Unsupported(f"a body of type {kind[:80]!r}: expected {_JSON} or {_NPY}")
    most = service.settings.max_body_bytes
    check_length(request, most, "a list of points: send fewer at a time")
    body = bytes(await read_body(request, most, service.settings.stalled_seconds))
    # A field is held whole while points are moved by it.
    lease = await service.admit(view, len(body) + MOST_FIELD_BYTES * _has_field(layer))
    try:
        moved = await service.compute(_moved, service, layer, query, _points(body, kind))
    finally:
        lease.release()
    content = _npy(moved) if kind == _NPY else to_json({"points": moved.tolist()})
    return Response(content, headers={"Cache-Control": "no-store"}, media_type=kind)


def _has_field(layer: Layer) -> bool:
    listed = layer.info.attrs.get("registrations")
    return any("field" in each for each in (listed if isinstance(listed, list) else ()))


def _moved(
    service: Service, layer: Layer, query: TransformQuery, points: NDArray[Any]
) -> NDArray[np.float64]:
    def find(space: str) -> Transform:
        facts = find_registration(layer.info.attrs, space)
        try:
            field = read_field(service.store, layer.path, facts)
        except StorageError as error:
            raise Unreadable(f"layer {layer.info.id}: the field of {space} is damaged") from error
        return facts.transform(spatial(layer.info.axes), field)

    return transform_points(layer.info, points, query.source, query.target, query.level, find)


def _points(body: bytes, kind: str) -> NDArray[Any]:
    try:
        if kind == _NPY:
            return np.asarray(npy.load(body), "float64")
        told = json.loads(body)
        points = told["points"] if isinstance(told, dict) else None
        return np.asarray(points, "float64")
    except (ValueError, TypeError, KeyError, EOFError, RecursionError, OverflowError) as error:
        raise InputError(f'points: expected {{"points": [[…], …]}}, or NPY: {error}') from error


def _npy(points: NDArray[Any]) -> bytes:
    out = BytesIO()
    np.save(out, points)
    return out.getvalue()


def router() -> APIRouter:
    """Return the routes of spaces."""
    routes = APIRouter(tags=["spaces"])
    add(
        routes,
        f"{LAYER}/spaces",
        get_spaces,
        name="spaces",
        summary="List the spaces of a layer",
        dependencies=[only()],
        response_model=None,
        responses={
            200: {"model": SpacesDocument, "description": "The spaces."},
            **responses(400, 404, 422, 503),
        },
    )
    points: dict[str, Any] = {
        "type": "object",
        "required": ["points"],
        "properties": {
            "points": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}},
            }
        },
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {_JSON: {"schema": points}, _NPY: binary}
    routes.add_api_route(
        f"{LAYER}/transform",
        post_transform,
        methods=["POST"],
        name="transform",
        summary="Move points between spaces",
        dependencies=[only(TransformQuery)],
        response_class=Response,
        responses={
            200: {"description": "The points.", "content": content},
            **responses(400, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    return routes
