"""What there is: datasets, and all that is known of a layer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import NotFound
from microtome_core.names import DatasetId
from microtome_service.documents import (
    DatasetDocument,
    DatasetList,
    LayerDocument,
    dataset_document,
    json_response,
    layer_document,
)
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.problems import responses
from microtome_service.routes.parameters import (
    DatasetPathDep,
    LayerPathDep,
    ServiceDep,
    add,
    grouped,
    only,
)
from microtome_service.view import View

_FRESH = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which datasets to list."""

    limit: Annotated[
        int, Query(ge=1, le=200, description="Datasets on one page.", examples=[50])
    ] = 50
    offset: Annotated[int, Query(ge=0, le=10**9, description="Datasets to skip.", examples=[0])] = 0
    q: Annotated[
        str,
        Query(
            max_length=200,
            description="Words that `collection/dataset` must hold, in any order and case.",
            examples=["brain"],
        ),
    ] = ""


async def list_datasets(
    request: Request, query: Annotated[ListQuery, grouped(ListQuery)], service: ServiceDep
) -> Response:
    """List datasets by name, each with its layers in short. A damaged layer is named as such."""
    view = await service.view(request)
    found = await find_datasets(view, query)
    base = request.scope.get("root_path", "")
    return json_response(await dataset_list(view, base, found, query), _FRESH)


async def find_datasets(view: View, query: ListQuery) -> list[DatasetId]:
    """Return every dataset that the filter lets pass."""
    words = query.q.lower().split()
    return [d for d in await view.datasets() if all(w in str(d) for w in words)]


async def dataset_list(
    view: View, base: str, found: Sequence[DatasetId], query: ListQuery
) -> DatasetList:
    """Return one page of the datasets found; one that vanished meanwhile is left out."""
    page = found[query.offset : query.offset + query.limit]
    documents = await asyncio.gather(*(_document_or_none(view, base, d) for d in page))
    kept = tuple(document for document in documents if document is not None)
    return DatasetList(kept, len(found), query.limit, query.offset)


async def _document_or_none(view: View, base: str, dataset: DatasetId) -> DatasetDocument | None:
    try:
        return dataset_document(
            base, dataset, await view.layers(dataset), await view.skeletons(dataset)
        )
    except NotFound:
        return None


async def get_dataset(request: Request, path: DatasetPathDep, service: ServiceDep) -> Response:
    """Return a dataset with its layers in short, and its annotations."""
    view = await service.view(request)
    layers, annotations = await view.layers(path.id), await view.skeletons(path.id)
    document = dataset_document(request.scope.get("root_path", ""), path.id, layers, annotations)
    return json_response(document, _FRESH)


async def get_layer(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Return all that is known of a layer: axes, levels, channels, record, links."""
    layer = await (await service.view(request)).layer(path.id)
    info = layer.info
    base = request.scope.get("root_path", "")
    headers = {**_FRESH, "ETag": entity_tag(__version__, info.id, info.version, base)}
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return json_response(layer_document(base, layer), headers)


def _documented(model: type, description: str, *statuses: int) -> dict[str, Any]:
    ok: dict[int | str, dict[str, Any]] = {200: {"model": model, "description": description}}
    return {"response_model": None, "responses": {**ok, **responses(*statuses)}}


def router() -> APIRouter:
    """Return the routes of metadata."""
    routes = APIRouter(tags=["metadata"])
    add(
        routes,
        "/api/datasets",
        list_datasets,
        name="datasets",
        summary="List datasets",
        dependencies=[only(ListQuery)],
        **_documented(DatasetList, "One page of datasets.", 400, 422, 503),
    )
    add(
        routes,
        "/api/datasets/{collection}/{dataset}",
        get_dataset,
        name="dataset",
        summary="Describe a dataset",
        dependencies=[only()],
        **_documented(DatasetDocument, "The dataset.", 400, 404, 422, 503),
    )
    add(
        routes,
        "/api/datasets/{collection}/{dataset}/{layer}",
        get_layer,
        name="layer",
        summary="Describe a layer",
        dependencies=[only()],
        **_documented(LayerDocument, "The layer.", 400, 404, 422, 503),
    )
    return routes
