"""Neuroglancer, opened on a dataset or a layer, and the scene that it opens with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from microtome_core.errors import NotFound
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.pages import VIEWER_POLICY
from microtome_service.problems import responses
from microtome_service.routes.parameters import (
    DatasetPathDep,
    LayerPathDep,
    ServiceDep,
    add,
    grouped,
    only,
)
from microtome_service.routes.showing import host_of, show
from microtome_service.scene import scene
from microtome_service.scene_space import Space, is_measured, space_of, times_of
from microtome_service.state import Service
from microtome_service.view import View

BUILT = Path(__file__).parent.parent / "static" / "viewer" / "build.json"


@dataclass(frozen=True, slots=True)
class SceneQuery:
    """What of a dataset a scene shows."""

    layer: Annotated[
        str | None,
        Query(description="One layer alone; all by default.", max_length=64, examples=["brain"]),
    ] = None
    t: Annotated[int, Query(ge=0, le=10**18, description="Time point.", examples=[0])] = 0


@dataclass(frozen=True, slots=True)
class LinkQuery:
    """What the viewer opens with."""

    link: Annotated[str | None, Query(description="Name of a short link.", max_length=64)] = None
    t: Annotated[int, Query(ge=0, le=10**18, description="Time point.")] = 0


async def get_scene(
    request: Request,
    path: DatasetPathDep,
    query: Annotated[SceneQuery, grouped(SceneQuery)],
    service: ServiceDep,
) -> JSONResponse:
    """Return the state with which Neuroglancer shows a dataset, or one layer of it.

    Images are opened with their channels' colours and contrast, labels in colours of their own,
    SWC files as skeletons; damaged layers are left out.
    """
    view = await service.view(request)
    found = [each for each in await view.layers(path.id) if isinstance(each, Layer)]
    shown = [each for each in found if query.layer in (None, each.info.layer_id.layer)]
    if query.layer is not None and not shown:
        raise NotFound(f"no layer {path.id}/{query.layer}")
    traced = await view.skeletons(path.id) if query.layer is None else ()
    host = host_of(request, service)
    return JSONResponse(scene(host, shown, traced, query.t), headers={"Cache-Control": "no-cache"})


async def show_dataset(
    request: Request,
    path: DatasetPathDep,
    query: Annotated[LinkQuery, grouped(LinkQuery)],
    service: ServiceDep,
) -> Response:
    """Open the viewer on a dataset."""
    view = await service.view(request)
    found = [each.info for each in await view.layers(path.id) if isinstance(each, Layer)]
    traced = await view.skeletons(path.id)
    if not found and not traced:
        base = request.scope.get("root_path", "")
        values = {"name": str(path.id), "page": f"{base}/{path.id}"}
        return show(request, service, view, "unviewable.html", values, 404)
    scene_of = _scene_of(query, f"/api/scenes/{path.id}?t={query.t}")
    space = space_of(found, alone=not traced)
    return _page(request, service, view, str(path.id), scene_of, query, found, space)


async def show_layer(
    request: Request,
    path: LayerPathDep,
    query: Annotated[LinkQuery, grouped(LinkQuery)],
    service: ServiceDep,
) -> Response:
    """Open the viewer on a layer."""
    view = await service.view(request)
    info: LayerInfo = (await view.layer(path.id)).info
    scene_of = _scene_of(query, f"/api/scenes/{path.id.parent}?layer={path.layer}&t={query.t}")
    return _page(
        request, service, view, info.id, scene_of, query, [info], space_of([info], alone=True)
    )


def _scene_of(query: LinkQuery, otherwise: str) -> str:
    return f"/api/links/{quote(query.link, safe='')}" if query.link else otherwise


def _page(
    request: Request,
    service: Service,
    view: View,
    name: str,
    scene_of: str,
    query: LinkQuery,
    layers: Sequence[LayerInfo],
    space: Space,
) -> Response:
    base = request.scope.get("root_path", "")
    values: dict[str, Any] = {"name": name, "page": f"{base}/{name}"}
    if not BUILT.exists():
        return show(request, service, view, "unbuilt.html", values)
    values |= {
        "scene": base + scene_of,
        "build": json.loads(BUILT.read_text()),
        "links": service.links.kept,
        "t": query.t,
        "unknown": [info.id for info in layers if space.measured and not is_measured(info)],
        # Of the others the viewer itself has an axis of time.
        "times": 1 if query.link else max(map(times_of, _still(layers, space)), default=1),
    }
    return show(request, service, view, "viewer.html", values, policy=VIEWER_POLICY)


def _still(layers: Sequence[LayerInfo], space: Space) -> list[LayerInfo]:
    """Return those of which the viewer shows one time point at a time."""
    return [info for info in layers if not space.by_zarr(info)]


def router() -> APIRouter:
    """Return the routes of the viewer."""
    routes = APIRouter(tags=["pictures"])
    add(
        routes,
        "/api/scenes/{collection}/{dataset}",
        get_scene,
        summary="Describe how Neuroglancer shows a dataset",
        dependencies=[only(SceneQuery)],
        response_model=None,
        responses=responses(400, 404, 422, 503),
    )
    hidden: dict[str, Any] = {
        "include_in_schema": False,
        "dependencies": [only(LinkQuery)],
        "response_model": None,
    }
    add(routes, "/view/{collection}/{dataset}", show_dataset, **hidden)
    add(routes, "/view/{collection}/{dataset}/{layer}", show_layer, **hidden)
    return routes
