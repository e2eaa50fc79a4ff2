"""What there is: datasets, and all that is known of a layer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import NotFound
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_service.documents import (
    DatasetDocument,
    DatasetList,
    LayerDocument,
    RecordingDocument,
    dataset_document,
    json_response,
    layer_document,
    recording_document,
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
        return await document_of(view, base, dataset)
    except NotFound:
        return None


async def document_of(view: View, base: str, dataset: DatasetId) -> DatasetDocument:
    """Return a dataset with all that is in it, in short; raises as `View.layers`."""
    layers, annotations = await view.layers(dataset), await view.skeletons(dataset)
    return dataset_document(base, dataset, layers, annotations, await view.recordings(dataset))


async def get_dataset(request: Request, path: DatasetPathDep, service: ServiceDep) -> Response:
    """Return a dataset with its layers and recordings in short, and its annotations."""
    view = await service.view(request)
    document = await document_of(view, request.scope.get("root_path", ""), path.id)
    return json_response(document, _FRESH)


async def get_layer(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Return all that is known of a layer: axes, levels, channels, record, links.

    Of a recording its variables, tiers and what is known of neurons.
    """
    found = await (await service.view(request)).entry(path.id)
    return layer_answer(request, path.id, found)


def layer_answer(request: Request, layer_id: LayerId, found: Layer | Recording) -> Response:
    """Answer with all that is known of a layer or a recording."""
    version = found.info.version if isinstance(found, Layer) else found.version
    base = request.scope.get("root_path", "")
    headers = {**_FRESH, "ETag": entity_tag(__version__, layer_id, version, base)}
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if isinstance(found, Layer):
        return json_response(layer_document(base, found), headers)
    return json_response(recording_document(base, found), headers)


def _documented(model: type | UnionType, description: str, *statuses: int) -> dict[str, Any]:
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
        **_documented(LayerDocument | RecordingDocument, "It.", 400, 404, 422, 503),
    )
    return routes
