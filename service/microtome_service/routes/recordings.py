"""The trials of a recording, its neurons and statistics."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.names import NAME_PATTERN, LayerId
from microtome_core.store.recording import Recording
from microtome_service.body import BodyResponse
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.problems import responses
from microtome_service.recordings import neuron_count, neuron_table, trial_table
from microtome_service.routes.answers import head_answer
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import (
    CollectionName,
    DatasetName,
    ServiceDep,
    add,
    grouped,
)
from microtome_service.state import Service
from microtome_service.tables import (
    JSON,
    TABLES,
    Table,
    choose_type,
    encode_table,
    encoding_bytes,
    table_bytes,
)
from microtome_service.trial_parts import unreadable
from microtome_service.trials import check_trial, choose_trials
from microtome_service.versions import Version, cache_control, check_recording_version
from microtome_service.view import View

RECORDING = "/api/datasets/{collection}/{dataset}/{recording}"
_FORMAT = {"json_schema_extra": {"enum": [*TABLES, None]}, "examples": ["json"]}
Tiers = Annotated[
    str | None,
    Query(
        max_length=1000,
        description="Tiers, with commas between; all by default.",
        examples=["train"],
    ),
]
MinLength = Annotated[
    int,
    Query(ge=0, le=10**18, description="Samples that a trial has at least.", examples=[0]),
]
TableFormat = Annotated[
    str | None, Query(description="Wins over Accept; json if neither is given.", **_FORMAT)
]


@dataclass(frozen=True, slots=True)
class RecordingPath:
    """``collection/dataset/recording`` in a path."""

    collection: CollectionName
    dataset: DatasetName
    recording: Annotated[
        str, Path(pattern=NAME_PATTERN, description="Name of a recording.", examples=["mouse"])
    ]

    @property
    def id(self) -> LayerId:
        """The address."""
        return LayerId(self.collection, self.dataset, self.recording)


@dataclass(frozen=True, slots=True)
class TrialPath(RecordingPath):
    """A trial of a recording."""

    trial: Annotated[int, Path(ge=0, le=10**18, description="Number of a trial.", examples=[0])]


RecordingPathDep = Annotated[RecordingPath, grouped(RecordingPath)]
TrialPathDep = Annotated[TrialPath, grouped(TrialPath)]


@dataclass(frozen=True, slots=True)
class TrialsQuery:
    """Which trials to list."""

    tier: Tiers = None
    min_length: MinLength = 0
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="Trials on one page.", examples=[1000])
    ] = 1000
    offset: Annotated[int, Query(ge=0, le=10**9, description="Trials to skip.", examples=[0])] = 0
    format: TableFormat = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """In which form a trial is described."""

    format: TableFormat = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class NeuronsQuery:
    """Which neurons to list."""

    columns: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="Names of columns, with commas between; all by default.",
            examples=["cell_motor_coordinates"],
        ),
    ] = None
    limit: Annotated[
        int, Query(ge=1, le=100_000, description="Neurons on one page.", examples=[1000])
    ] = 100_000
    offset: Annotated[int, Query(ge=0, le=10**9, description="Neurons to skip.", examples=[0])] = 0
    format: TableFormat = None
    version: Version = None


async def get_trials(
    request: Request,
    path: RecordingPathDep,
    query: Annotated[TrialsQuery, grouped(TrialsQuery)],
    service: ServiceDep,
) -> Response:
    """List the trials of a recording: tier, and of each variable how many samples there are.

    `frames` is for how many samples all variables of a trial have values. Of each variable,
    `…_frames` counts the samples with values, `…_length` those of the source's array with its
    padding, `…_state` is `stored`, `missing`, `withheld` or `nan`.
    """
    view = await service.view(request)
    return await list_trials(request, view, await view.recording(path.id), query, service)


async def list_trials(
    request: Request, view: View, recording: Recording, query: TrialsQuery, service: Service
) -> Response:
    """Return one page of the trials that the filter lets pass."""
    media_type = choose_type(query.format, request.headers.get("accept"), TABLES)
    check_recording_version(recording, query.version)
    # Of many thousands of trials this takes its time, during which others are to be answered.
    table = await service.compute(_page, recording, query)
    words = (query.tier, query.min_length, query.limit, query.offset)
    headers = table_headers(recording, media_type, query.version, "trials", *words)
    return await _table_answer(request, service, view, table, media_type, headers)


def _page(recording: Recording, query: TrialsQuery) -> Table:
    found = choose_trials(recording, query.tier, query.min_length)
    table = trial_table(recording, found[query.offset : query.offset + query.limit])
    about = {"total": len(found), "limit": query.limit, "offset": query.offset}
    return Table(table.columns, {**table.about, **about})


async def get_trial(
    request: Request,
    path: TrialPathDep,
    query: Annotated[TrialQuery, grouped(TrialQuery)],
    service: ServiceDep,
) -> Response:
    """Describe one trial, as a list of trials would."""
    media_type = choose_type(query.format, request.headers.get("accept"), TABLES)
    view = await service.view(request)
    recording = await view.recording(path.id)
    check_recording_version(recording, query.version)
    table = trial_table(recording, [check_trial(recording, path.trial)])
    headers = table_headers(recording, media_type, query.version, "trial", path.trial)
    return await _table_answer(request, service, view, table, media_type, headers)


async def get_neurons(
    request: Request,
    path: RecordingPathDep,
    query: Annotated[NeuronsQuery, grouped(NeuronsQuery)],
    service: ServiceDep,
) -> Response:
    """List the neurons of a recording, with their coordinates and whatever else is known."""
    media_type = choose_type(query.format, request.headers.get("accept"), TABLES)
    view = await service.view(request)
    recording = await view.recording(path.id)
    check_recording_version(recording, query.version)
    names = _columns(recording, query.columns)
    total = neuron_count(recording)
    start, stop = min(query.offset, total), min(query.offset + query.limit, total)
    words = (",".join(names), start, stop)
    headers = table_headers(recording, media_type, query.version, "neurons", *words)
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return head_answer(None, headers, media_type)
    about = {"total": total, "limit": query.limit, "offset": query.offset}
    lease = await service.admit(view, _held(recording, names, stop - start, media_type))
    try:
        with unreadable(f"recording {recording.id}, neurons"):
            async with asyncio.timeout(service.limits.seconds):
                table = await neuron_table(recording, names, start, stop)
        table = Table(table.columns, {**table.about, **about})
        body = await service.compute(encode_table, table, "neurons", media_type)
    except BaseException:
        lease.release()
        raise
    return BodyResponse((body,), media_type, headers, lease)


def _columns(recording: Recording, words: str | None) -> list[str]:
    if words is None:
        return list(recording.neurons)
    names = list(dict.fromkeys(word.strip() for word in words.split(",")))
    for name in names:
        if name not in recording.neurons:
            there = ", ".join(recording.neurons) or "none"
            raise InputError(f"column {name[:40]!r}: this recording has {there}")
    return names


def _held(recording: Recording, names: Sequence[str], rows: int, media_type: str) -> int:
    """Return the bytes that some rows of some columns take: all are read, in chunks, and kept."""
    arrays = [recording.arrays[recording.neurons[name].path] for name in names]
    itemsizes = [int(array.dtype.numpy_dtype.itemsize) for array in arrays]
    read = sum(array.size * size for array, size in zip(arrays, itemsizes, strict=True))
    cells = [rows * prod(array.shape[1:]) for array in arrays]
    nbytes = sum(count * size for count, size in zip(cells, itemsizes, strict=True)) + 8 * rows
    # Beside the numbers of each row there is the row.
    encoded = encoding_bytes(media_type, sum(cells) + rows * (len(names) + 2), nbytes)
    return 2 * read + encoded


def table_headers(
    recording: Recording, media_type: str, version: str | None, *words: object
) -> dict[str, str]:
    """Return what an answer that depends on `words` says of itself."""
    tag = entity_tag(__version__, str(recording.id), recording.version, media_type, *words)
    return {
        "ETag": tag,
        "Cache-Control": cache_control(version),
        "Vary": "Accept",
        "X-Microtome-Version": recording.version,
    }


async def _table_answer(
    request: Request,
    service: Service,
    view: View,
    table: Table,
    media_type: str,
    headers: dict[str, str],
) -> Response:
    """Answer with rows of trials, which are in memory already."""
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    lease = await service.admit(view, table_bytes(table, media_type))
    try:
        body = await service.compute(encode_table, table, "trials", media_type)
    except BaseException:
        lease.release()
        raise
    if request.method == "HEAD":
        lease.release()
        return head_answer(len(body), headers, media_type)
    return BodyResponse((body,), media_type, headers, lease)


def documented(what: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these answers."""
    schemas = {JSON: {"schema": {"type": "object"}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {media_type: schemas.get(media_type, binary) for media_type in media_types}
    return {
        200: {"description": what, "content": content},
        304: {"description": "The caller has it already."},
        **responses(400, 404, 406, 409, 413, 422, 429, 503),
    }


def router() -> APIRouter:
    """Return the routes of tables."""
    routes = APIRouter(tags=["recordings"], route_class=LeanRoute)
    tables = documented("The table.", *TABLES.values())
    for path, handler, name, summary in (
        (f"{RECORDING}/trials", get_trials, "trials", "List the trials of a recording"),
        (f"{RECORDING}/trials/{{trial}}", get_trial, "trial", "Describe a trial"),
        (f"{RECORDING}/neurons", get_neurons, "neurons", "List the neurons of a recording"),
    ):
        add(
            routes, path, handler, name=name, summary=summary, response_class=Response,
            responses=tables,
        )  # fmt: skip
    return routes
