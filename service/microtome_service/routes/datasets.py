"""What there is: datasets, and all that is known of a layer."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_service.documents import (
    DatasetDocument,
    DatasetList,
    Facet,
    LayerDocument,
    RecordingDocument,
    dataset_document,
    indexed_document,
    json_response,
    layer_document,
    recording_document,
)
from microtome_service.errors import Unreadable
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
from microtome_service.search.asked import (
    Asked,
    read_collection,
    read_cursor,
    read_kind,
    read_size,
    read_sort,
    read_terms,
    read_words,
    write_cursor,
)
from microtome_service.search.facts import FIELDS
from microtome_service.state import Service
from microtome_service.view import View

_LOG = logging.getLogger(__name__)
_FRESH = {"Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which datasets to list, in which order."""

    limit: Annotated[
        int, Query(ge=1, le=200, description="Datasets on one page.", examples=[50])
    ] = 50
    offset: Annotated[int, Query(ge=0, le=10**9, description="Datasets to skip.", examples=[0])] = 0
    q: Annotated[
        str,
        Query(
            max_length=200,
            description="Words, in any order and case: each is part of `collection/dataset`, or "
            "begins a word of the records of its layers.",
            examples=["brain"],
        ),
    ] = ""
    species: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Species of the subject, by its Latin or common name. The filters from "
            "`species` to `max_size` let a dataset pass if one layer meets all of them.",
            examples=["Mus musculus"],
        ),
    ] = None
    sex: Annotated[
        str | None, Query(max_length=200, description="M, F, O or U, or in full.", examples=["F"])
    ] = None
    technique: Annotated[
        str | None,
        Query(max_length=200, description="Imaging technique.", examples=["confocal"]),
    ] = None
    channel: Annotated[
        str | None,
        Query(max_length=200, description="Name or indicator of a channel.", examples=["EGFP"]),
    ] = None
    license: Annotated[
        str | None, Query(max_length=200, description="Licence.", examples=["CC-BY-4.0"])
    ] = None
    kind: Annotated[
        str | None, Query(max_length=200, description="Kind of layer.", examples=["image"])
    ] = None
    min_size: Annotated[
        str | None,
        Query(max_length=40, description="Least bytes of voxels, uncompressed.", examples=["1GB"]),
    ] = None
    max_size: Annotated[
        str | None,
        Query(max_length=40, description="Most bytes of voxels.", examples=["2 TiB"]),
    ] = None
    collection: Annotated[
        str | None, Query(max_length=200, description="Of this collection.", examples=["demo"])
    ] = None
    sort: Annotated[
        str,
        Query(
            max_length=20,
            description="`name`, `size` or `changed`; with a minus in front backwards.",
            examples=["name"],
        ),
    ] = "name"
    cursor: Annotated[
        str,
        Query(
            max_length=600,
            description="`next` of the page before, in place of `offset`.",
            examples=[""],
        ),
    ] = ""
    facets: Annotated[
        bool,
        Query(
            description="Count the values of species, sex, technique, licence and channel.",
            examples=[False],
        ),
    ] = False

    def asked(self) -> Asked:
        """Return what is searched for; raises InputError, which names the parameter."""
        if self.cursor and self.offset:
            raise InputError("offset: expected none beside cursor")
        sort = read_sort(self.sort)
        return Asked(
            words=read_words(self.q),
            collection=read_collection(self.collection),
            terms=read_terms({name: getattr(self, name) for name in FIELDS}),
            kind=read_kind(self.kind),
            min_size=read_size("min_size", self.min_size),
            max_size=read_size("max_size", self.max_size),
            sort=sort,
            after=read_cursor(sort, self.cursor),
            limit=self.limit,
            offset=self.offset,
            facets=self.facets,
        )


async def list_datasets(
    request: Request, query: Annotated[ListQuery, grouped(ListQuery)], service: ServiceDep
) -> Response:
    """Search datasets, each with its layers in short. A damaged layer is named as such."""
    view = await service.view(request)
    base = request.scope.get("root_path", "")
    return json_response(await search_datasets(service, view, base, query), _FRESH)


async def search_datasets(service: Service, view: View, base: str, query: ListQuery) -> DatasetList:
    """Return one page of the datasets that the filter lets pass."""
    asked = query.asked()
    try:
        found, looked = await service.index.search(asked, view.rules, view.principal)
    except Unreadable:
        raise
    except StorageError as error:
        if not asked.by_name:
            raise Unreadable("the index of search cannot be read") from error
        _LOG.warning("%s: datasets are listed by name alone", error)
        return await _listed(view, base, asked)
    # Before the first look has ended, names are read off the store itself.
    if looked is None and asked.by_name:
        return await _listed(view, base, asked)
    facets = found.facets
    return DatasetList(
        tuple(indexed_document(base, hit.id, hit.layers, hit.annotations) for hit in found.hits),
        found.total,
        asked.limit,
        asked.offset,
        looked is not None,
        None if looked is None else datetime.fromtimestamp(looked.at, UTC).isoformat(),
        found.next,
        None if facets is None else {f: _facets(values) for f, values in facets.items()},
    )


def _facets(values: Iterable[tuple[str, int]]) -> tuple[Facet, ...]:
    return tuple(Facet(value, count) for value, count in values)


async def _listed(view: View, base: str, asked: Asked) -> DatasetList:
    """Return one page of the datasets whose names fit, without an index."""
    named = [d for d in await view.datasets() if _is_named(d, asked)]
    backwards = asked.sort == "-name"
    ordered = sorted(named, reverse=backwards)
    if asked.after:
        last = DatasetId(*map(str, asked.after))
        ordered = [d for d in ordered if (d < last if backwards else d > last)]
    page = ordered[asked.offset : asked.offset + asked.limit]
    documents = await asyncio.gather(*(_document_or_none(view, base, d) for d in page))
    more = len(ordered) > asked.offset + asked.limit
    cursor = write_cursor(asked.sort, (page[-1].collection, page[-1].dataset)) if more else None
    kept = tuple(document for document in documents if document is not None)
    return DatasetList(kept, len(named), asked.limit, asked.offset, False, None, cursor)


def _is_named(dataset: DatasetId, asked: Asked) -> bool:
    within = asked.collection in ("", dataset.collection)
    return within and all(word in str(dataset) for word in asked.words)


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
    version = found.info.record_version if isinstance(found, Layer) else found.record_version
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
