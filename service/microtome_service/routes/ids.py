"""Ids of labels: which lie in a region, and how far one reaches."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic_core import to_json
from starlette.responses import Response

from microtome_core.names import NAME_PATTERN, LayerId
from microtome_core.region import Region
from microtome_core.selection import Selection
from microtome_core.store.layer import Layer
from microtome_service.problems import responses
from microtome_service.reader import find_level
from microtome_service.routes.answers import fresh, json_answer
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import (
    CollectionName,
    DatasetName,
    LayerPath,
    LayerPathDep,
    ServiceDep,
    add,
    axis_words,
    grouped,
    range_query,
)
from microtome_service.segments import check_labels, check_scan, ids_in, reach_of
from microtome_service.versions import Version, check_version
from microtome_service.view import View

_LONGEST_ID = 20


@dataclass(frozen=True, slots=True)
class IdsQuery:
    """Where to look."""

    level: Annotated[
        int, Query(ge=0, le=63, description="Level of the pyramid; 0 is the finest.", examples=[0])
    ] = 0
    t: Annotated[str | None, range_query("Time points", "0")] = None
    c: Annotated[str | None, range_query("Channels", "0:2")] = None
    z: Annotated[str | None, range_query("In voxels of the level", "10:74")] = None
    y: Annotated[str | None, range_query("In voxels of the level", "0:512")] = None
    x: Annotated[str | None, range_query("In voxels of the level", "0:512")] = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class IdPath:
    """``collection/dataset/layer/ids/id`` in a path."""

    collection: CollectionName
    dataset: DatasetName
    layer: Annotated[
        str, Path(pattern=NAME_PATTERN, description="Name of a layer.", examples=["neurons"])
    ]
    id: Annotated[
        str,
        Path(
            pattern=rf"^-?[0-9]{{1,{_LONGEST_ID}}}$", description="An id of labels.", examples=["7"]
        ),
    ]


async def get_ids(
    request: Request,
    path: LayerPathDep,
    query: Annotated[IdsQuery, grouped(IdsQuery)],
    service: ServiceDep,
) -> Response:
    """Return every id but 0 in a region, sorted by value.

    Ids are text: JSON numbers beyond 2⁵³ are not exact everywhere.
    """
    view = await service.view(request)
    layer, region = await _scanned(view, path.id, query)
    nbytes = check_scan(layer.info, query.level, region, service.limits)
    with await service.admit(view, nbytes):
        found = await ids_in(service, layer, query.level, region)
    said = {"level": query.level, "region": str(region), "ids": list(map(str, found))}
    return _answer(request, layer, said)


async def get_reach(
    request: Request,
    path: Annotated[IdPath, grouped(IdPath)],
    query: Annotated[IdsQuery, grouped(IdsQuery)],
    service: ServiceDep,
) -> Response:
    """Return the smallest box that holds all voxels of an id, and how many these are.

    Every voxel of the region is looked at.
    """
    view = await service.view(request)
    address = LayerPath(path.collection, path.dataset, path.layer).id
    layer, region = await _scanned(view, address, query)
    nbytes = check_scan(layer.info, query.level, region, service.limits)
    with await service.admit(view, nbytes):
        found = await reach_of(service, layer, query.level, region, int(path.id))
    said = {
        "level": query.level,
        "id": str(int(path.id)),
        "axes": found.region.axes,
        "start": found.region.start,
        "stop": found.region.stop,
        "voxels": found.voxels,
    }
    return _answer(request, layer, said)


async def _scanned(view: View, layer_id: LayerId, query: IdsQuery) -> tuple[Layer, Region]:
    layer = await view.layer(layer_id)
    check_labels(layer.info)
    shape = find_level(layer.info, query.level).shape
    check_version(layer.info, query.version)
    return layer, Selection.parse(layer.info.axes, shape, axis_words(query)).region


def _answer(request: Request, layer: Layer, said: dict[str, Any]) -> Response:
    info = layer.info
    version = {"X-Microtome-Version": info.version}
    if layer.live is not None:
        # Its voxels change while its version stays.
        headers = {"Cache-Control": "no-store", **version}
        return Response(to_json(said), headers=headers, media_type="application/json")
    return json_answer(request, said, {**fresh(info.id, info.version, to_json(said)), **version})


def router() -> APIRouter:
    """Return the routes of ids."""
    routes = APIRouter(tags=["labels"], route_class=LeanRoute)
    base = "/api/datasets/{collection}/{dataset}/{layer}/ids"
    for path, handler, name, summary in (
        (base, get_ids, "ids", "List the ids in a region of labels"),
        (f"{base}/{{id}}", get_reach, "reach", "Tell how far an id of labels reaches"),
    ):
        add(
            routes,
            path,
            handler,
            name=name,
            summary=summary,
            response_class=Response,
            responses={
                200: {
                    "description": "What was found.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
                304: {"description": "The caller has it already."},
                **responses(400, 404, 409, 413, 422, 429, 503),
            },
        )
    return routes
