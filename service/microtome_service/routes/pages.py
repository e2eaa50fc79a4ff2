"""Pages for people: the catalog, a dataset, a layer, and the API's description."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from microtome_core.errors import NotFound
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.catalog import Damaged
from microtome_service.catalog_page import PER_PAGE, catalog_page, without_blanks
from microtome_service.documents import layer_links
from microtome_service.packed import PackedFiles
from microtome_service.pages import Pages
from microtome_service.planes import PLANES, PlaneName, planes_of
from microtome_service.recording_page import recording_page
from microtome_service.routes.datasets import ListQuery, document_of, search_datasets
from microtome_service.routes.parameters import (
    DatasetPathDep,
    LayerPathDep,
    ServiceDep,
    add,
    grouped,
    only,
)
from microtome_service.state import Service

# First words of addresses that are not collections.
_RESERVED = frozenset({"api", "docs", "health", "latest", "metrics", "precomputed", "static",
                       "v1", "view", "zarr"})  # fmt: skip
_TILE = 1024
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class SliceQuery:
    """Which slice a layer's page shows, and which trials that of a recording."""

    plane: Annotated[PlaneName, Query(description="View.")] = "xy"
    index: Annotated[int | None, Query(ge=0, le=10**18, description="Slice.")] = None
    t: Annotated[int | None, Query(ge=0, le=10**18, description="Time point.")] = None
    tier: Annotated[str | None, Query(max_length=200, description="Tier of the trials.")] = None
    offset: Annotated[int, Query(ge=0, le=10**9, description="Trials to skip.")] = 0


@dataclass(frozen=True, slots=True)
class _Slider:
    """A field of the form: its name, the axis that it moves along, where it is, of how many."""

    name: str
    axis: str
    value: int
    count: int


async def get_catalog(
    request: Request, query: Annotated[ListQuery, grouped(ListQuery)], service: ServiceDep
) -> HTMLResponse:
    """Show the datasets."""
    view = await service.view(request)
    base = request.scope.get("root_path", "")
    asked = without_blanks(query)
    if "limit" not in request.query_params:
        asked = replace(asked, limit=PER_PAGE)
    listed = await search_datasets(service, view, base, replace(asked, facets=True))
    return _page(request, "catalog.html", catalog_page(base, listed, asked))


async def get_dataset(request: Request, path: DatasetPathDep, service: ServiceDep) -> HTMLResponse:
    """Show a dataset."""
    _check_not_reserved(path.collection)
    view, base = await service.view(request), request.scope.get("root_path", "")
    return _page(request, "dataset.html", {"dataset": await document_of(view, base, path.id)})


async def get_layer(
    request: Request,
    path: LayerPathDep,
    query: Annotated[SliceQuery, grouped(SliceQuery)],
    service: ServiceDep,
) -> HTMLResponse:
    """Show a layer or a recording; its address is also what the Python client opens."""
    _check_not_reserved(path.collection)
    view = await service.view(request)
    layer = await view.entry(path.id)
    if not isinstance(layer, Layer):
        base, host = request.scope.get("root_path", ""), _host(request, service)
        page = recording_page(base, host, layer, query.tier, query.offset)
        return _page(request, "recording.html", page)
    info = layer.info
    links = layer_links(request.scope.get("root_path", ""), layer)
    host = _host(request, service)
    values = {
        "info": info,
        "links": links,
        "host": host,
        "path": layer.path,
        "region": _example_region(info),
        "slice": _slice(info, links.self, query),
        "planes": _planes(info),
        **_relatives(layer, await view.layers(path.id.parent)),
    }
    return _page(request, "layer.html", values)


async def get_docs(request: Request, service: ServiceDep) -> HTMLResponse:
    """Describe the API, from the same OpenAPI document that machines read."""
    app: FastAPI = request.app
    return _page(request, "docs.html", {"document": app.openapi()})


def _page(request: Request, template: str, values: dict[str, Any]) -> HTMLResponse:
    pages: Pages = request.app.state.pages
    return pages.page(template, {"base": request.scope.get("root_path", ""), **values})


def _check_not_reserved(collection: str) -> None:
    if collection in _RESERVED:
        raise NotFound(f"nothing lies at /{collection}/ by this address")


def _host(request: Request, service: Service) -> str:
    return (service.settings.public_url or str(request.base_url)).rstrip("/")


def _example_region(info: LayerInfo) -> dict[str, tuple[int, int]]:
    """Return a block in the middle, no axis longer than 64."""
    ranges = {}
    for axis, extent in zip(info.axes, info.shape, strict=True):
        low = max(0, (extent - _BLOCK) // 2) if axis in "zyx" else 0
        ranges[axis] = (low, min(extent, low + _BLOCK))
    return ranges


def _planes(info: LayerInfo) -> tuple[PlaneName, ...]:
    """Return the planes worth choosing from: a single plane has but one."""
    return planes_of(info.axes if _extents(info, 0).get("z", 1) > 1 else "yx")


def _relatives(layer: Layer, others: Iterable[Layer | Damaged]) -> dict[str, Any]:
    """Return the image that labels lie below, and the labels below an image, as far as readable."""
    ids = {other.path: other.info.id for other in others if isinstance(other, Layer)}
    folder, _, _ = layer.path.rpartition("/")
    image = folder.removesuffix("/labels") if folder.endswith("/labels") else ""
    below = [i for path, i in ids.items() if path.startswith(f"{layer.path}/labels/")]
    return {"image": ids.get(image), "labels": below}


def _extents(info: LayerInfo, level: int) -> dict[str, int]:
    return dict(zip(info.axes, info.levels[level].shape, strict=True))


def _slice(info: LayerInfo, api: str, query: SliceQuery) -> dict[str, Any]:
    """Return what the preview shows: one tile that holds the plane, or its corner if none does."""
    plane = query.plane if query.plane in planes_of(info.axes) else "xy"
    view = PLANES[plane]
    shapes = [_extents(info, number) for number in range(len(info.levels))]
    fitting = [
        number
        for number, shape in enumerate(shapes)
        if max(shape[view.rows], shape[view.columns]) <= _TILE
    ]
    level = fitting[0] if fitting else len(shapes) - 1
    index = _slider("index", view.normal, shapes[level], query.index)
    t = _slider("t", "t", shapes[level], query.t)
    extension = "png" if info.kind == "labels" else "webp"
    tile = f"{api}/tiles/{plane}/{level}/{{index}}/0/0.{extension}?size={_TILE}"
    return {
        "plane": plane,
        "level": level,
        "index": index.value,
        "t": t.value,
        "sliders": [slider for slider in (index, t) if slider.count > 1],
        "whole": bool(fitting),
        "tile": tile + ("&t={t}" if "t" in info.axes else ""),
    }


def _slider(name: str, axis: str, extents: Mapping[str, int], wanted: int | None) -> _Slider:
    count = extents.get(axis, 1)
    return _Slider(name, axis, min(count // 2 if wanted is None else wanted, count - 1), count)


def router() -> APIRouter:
    """Return the routes of pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    add(routes, "/", get_catalog, dependencies=[only(ListQuery)], response_model=None)
    add(routes, "/docs", get_docs, dependencies=[only()], response_model=None)
    add(routes, "/{collection}/{dataset}", get_dataset, dependencies=[only()], response_model=None)
    add(
        routes,
        "/{collection}/{dataset}/{layer}",
        get_layer,
        dependencies=[only(SliceQuery)],
        response_model=None,
    )
    return routes


def static_files() -> StaticFiles:
    """Return the stylesheet and the scripts, which lie beside this package's templates."""
    return PackedFiles(directory=Path(__file__).parent.parent / "static")
