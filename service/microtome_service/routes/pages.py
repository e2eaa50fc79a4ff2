"""Pages for people: the catalog, a dataset, a layer, and the API's description."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from microtome_core.errors import MicrotomeError, NotFound
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_service.api_page import Example, box_of_example, operations
from microtome_service.catalog_page import PER_PAGE, catalog_page, without_blanks
from microtome_service.layer_page import (
    box_values,
    dataset_values,
    layer_values,
    main_layer,
    record_values,
    relatives,
)
from microtome_service.packed import PackedFiles
from microtome_service.planes import PlaneName
from microtome_service.preview import REPEATED
from microtome_service.principal import ANONYMOUS
from microtome_service.recording_page import recording_page
from microtome_service.recordings import NEURON
from microtome_service.routes.datasets import ListQuery, document_of, search_datasets
from microtome_service.routes.parameters import (
    CollectionPathDep,
    DatasetPathDep,
    LayerPathDep,
    ServiceDep,
    add,
    grouped,
    only,
)
from microtome_service.routes.showing import host_of, show
from microtome_service.snippets import curl
from microtome_service.view import View

_LOG = logging.getLogger(__name__)
# Datasets that are looked at for examples.
_LOOKED = 8
# First words of addresses that are not collections.
_RESERVED = frozenset({"api", "docs", "download", "health", "jobs", "latest", "metrics",
                       "precomputed", "s", "sign-in", "sign-out", "static", "v1", "view",
                       "zarr"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class SliceQuery:
    """Which slice a layer's page shows, and which trials that of a recording."""

    plane: Annotated[PlaneName, Query(description="View.")] = "xy"
    index: Annotated[int | None, Query(ge=0, le=10**18, description="Slice.")] = None
    t: Annotated[int | None, Query(ge=0, le=10**18, description="Time point.")] = None
    tier: Annotated[str | None, Query(max_length=200, description="Tier of the trials.")] = None
    offset: Annotated[int, Query(ge=0, le=10**9, description="Trials to skip.")] = 0
    trial: Annotated[int | None, Query(ge=0, le=10**18, description="Trial to play.")] = None


@dataclass(frozen=True, slots=True)
class BoxQuery:
    """Which box somebody is about to download; words of axes are as for cutouts."""

    level: Annotated[int, Query(ge=0, le=63, description="Level.")] = 0
    format: Annotated[str, Query(max_length=20, description="Format.")] = "tiff"
    t: Annotated[str, Query(max_length=40, description="Time points.")] = ""
    c: Annotated[str, Query(max_length=40, description="Channels.")] = ""
    z: Annotated[str, Query(max_length=40, description="In voxels of the level.")] = ""
    y: Annotated[str, Query(max_length=40, description="In voxels of the level.")] = ""
    x: Annotated[str, Query(max_length=40, description="In voxels of the level.")] = ""


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
    return show(request, service, view, "catalog.html", catalog_page(base, listed, asked))


async def get_dataset(request: Request, path: DatasetPathDep, service: ServiceDep) -> HTMLResponse:
    """Show a dataset."""
    _check_not_reserved(path.collection)
    view, base = await service.view(request), request.scope.get("root_path", "")
    document = await document_of(view, base, path.id)
    layers, recordings = await view.layers(path.id), await view.recordings(path.id)
    main = main_layer(layers)
    named = (each.record for each in recordings if isinstance(each, Recording))
    record = main.info.attrs if main else next(named, {})
    host = host_of(request, service)
    private = not view.rules.is_public(path.id)
    values = dataset_values(base, host, document, layers, record, service.limits, private=private)
    return show(request, service, view, "dataset.html", values)


async def get_collection(
    path: CollectionPathDep, request: Request, service: ServiceDep
) -> RedirectResponse:
    """Lead from the address of a collection to its part of the catalog."""
    view = await service.view(request)
    if not any(each.collection == path.collection for each in await view.datasets()):
        raise NotFound(f"no collection {path.collection}")
    base = request.scope.get("root_path", "")
    headers = {"Cache-Control": "no-cache"}
    return RedirectResponse(f"{base}/?collection={path.collection}", 307, headers)


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
    base, host = request.scope.get("root_path", ""), host_of(request, service)
    private = not view.rules.is_public(path.id.parent)
    if not isinstance(layer, Layer):
        page = await service.compute(
            recording_page, base, host, layer, query.tier, query.offset, query.trial
        )
        page |= {"private": private, "curl": curl(private=private)}
        page |= record_values(str(path.id), f"{host}/{path.id}", layer.record)
        return show(request, service, view, "recording.html", page)
    given = {name: request.query_params.getlist(name) for name in REPEATED}
    where = (query.index, query.t)
    others = await view.layers(path.id.parent)
    values = {
        **layer_values(
            base, host, layer, others, service.limits, query.plane, where, given, private=private
        ),
        **record_values(str(path.id), f"{host}/{path.id}", layer.info.attrs),
        **relatives(layer, others),
    }
    return show(request, service, view, "layer.html", values)


async def get_download(
    request: Request,
    path: LayerPathDep,
    query: Annotated[BoxQuery, grouped(BoxQuery)],
    service: ServiceDep,
) -> HTMLResponse:
    """Tell the size of a box, and offer it."""
    view = await service.view(request)
    layer = await view.layer(path.id)
    base, host = request.scope.get("root_path", ""), host_of(request, service)
    words = {axis: getattr(query, axis) for axis in layer.info.axes}
    given = {axis: word for axis, word in words.items() if word}
    values = box_values(base, layer, service.limits, query.level, query.format, given)
    return show(request, service, view, "download.html", {**values, "host": host})


async def get_docs(request: Request, service: ServiceDep) -> HTMLResponse:
    """Describe the API, from the same OpenAPI document that machines read.

    Examples are about what anybody may see, whoever asks.
    """
    app: FastAPI = request.app
    view = await service.view(request)
    everybody = View(service.catalog, ANONYMOUS, view.rules)
    example = await _example(everybody)
    base, document = request.scope.get("root_path", ""), app.openapi()
    values = {
        "document": document,
        "example": example,
        "operations": operations(document, base, example),
    }
    return show(request, service, view, "docs.html", values)


async def _example(view: View) -> Example | None:
    """Return what lies in the first datasets of the store; None where that is nothing."""
    found = Example()
    try:
        for dataset in (await view.datasets())[:_LOOKED]:
            layer = main_layer(await view.layers(dataset))
            if layer is not None and layer.info.kind == "image" and not found.layer:
                box = box_of_example(layer.info.axes, layer.info.shape)
                found = replace(found, layer=layer.info.id, box=box)
            for each in await view.recordings(dataset):
                if isinstance(each, Recording) and not found.recording:
                    found = _of_recording(found, each)
    except MicrotomeError:
        _LOG.warning("the API is described without examples", exc_info=True)
    return found if found.layer or found.recording else None


def _of_recording(example: Example, recording: Recording) -> Example:
    named = [n for n, facts in recording.variables.items() if facts.axes[0] == NEURON]
    stored = (t for t in recording.trials if all(p.state == "stored" for p in t.pieces.values()))
    trial = next(stored, None)
    if not named or trial is None:
        return example
    return replace(example, recording=str(recording.id), variable=named[0], trial=trial.number)


def _check_not_reserved(collection: str) -> None:
    if collection in _RESERVED:
        raise NotFound(f"nothing lies at /{collection}/ by this address")


def router() -> APIRouter:
    """Return the routes of pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=Response)
    add(routes, "/", get_catalog, dependencies=[only(ListQuery)], response_model=None)
    add(routes, "/docs", get_docs, dependencies=[only()], response_model=None)
    add(routes, "/{collection}", get_collection, dependencies=[only()], response_model=None)
    add(
        routes,
        "/download/{collection}/{dataset}/{layer}",
        get_download,
        dependencies=[only(BoxQuery)],
        response_model=None,
    )
    add(routes, "/{collection}/{dataset}", get_dataset, dependencies=[only()], response_model=None)
    add(
        routes,
        "/{collection}/{dataset}/{layer}",
        get_layer,
        dependencies=[only(SliceQuery, REPEATED)],
        response_model=None,
    )
    return routes


def static_files() -> StaticFiles:
    """Return the stylesheet and the scripts, which lie beside this package's templates."""
    return PackedFiles(directory=Path(__file__).parent.parent / "static")
