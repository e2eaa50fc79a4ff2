"""The values of a recording: a variable of one trial, one neuron over trials, statistics."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from microtome_core.errors import NotFound
from microtome_core.store.recording import Recording
from microtome_service.body import BodyResponse
from microtome_service.encode import PLAIN, describe, length
from microtome_service.exchange import span
from microtome_service.negotiate import unchanged
from microtome_service.reader import Cost
from microtome_service.recordings import find_statistic
from microtome_service.routes.answers import head_answer
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import ServiceDep, add, grouped
from microtome_service.routes.recordings import (
    RECORDING,
    MinLength,
    RecordingPath,
    Tiers,
    TrialPath,
    documented,
    table_headers,
)
from microtome_service.state import Service
from microtome_service.tables import choose_type
from microtome_service.trial_parts import (
    Part,
    RowPart,
    check_limits,
    check_part,
    read_part,
    read_row,
    unreadable,
)
from microtome_service.trials import choose_trials, part_of, row_of
from microtome_service.values import (
    EXTENSIONS,
    ROWS,
    WINDOWS,
    check_format,
    encode_row,
    encode_window,
    row_held,
    window_held,
)
from microtome_service.versions import Version, check_recording_version
from microtome_service.view import View

Word = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        description="Name of a variable.",
        examples=["responses"],
    ),
]


@dataclass(frozen=True, slots=True)
class WindowPath(TrialPath):
    """A variable of a trial."""

    variable: Word


@dataclass(frozen=True, slots=True)
class NeuronPath(RecordingPath):
    """A variable of one neuron."""

    neuron: Annotated[int, Path(ge=0, le=10**18, description="Index of a neuron.", examples=[0])]
    variable: Word


@dataclass(frozen=True, slots=True)
class StatisticPath(RecordingPath):
    """A statistic of a variable."""

    variable: Word
    group: Annotated[str, Path(max_length=128, description="Its folder.", examples=["all"])]
    statistic: Annotated[str, Path(max_length=128, description="Its name.", examples=["mean"])]


@dataclass(frozen=True, slots=True)
class WindowQuery:
    """Which samples, of which neurons, and in which form."""

    t: Annotated[
        str | None,
        Query(
            description="Samples: half-open range `start:stop`; all that have values by default.",
            examples=["0:5"],
        ),
    ] = None
    neurons: Annotated[
        str | None,
        Query(
            max_length=4000,
            description="Half-open range `start:stop`, or numbers with commas between, of a "
            "variable of neurons; all by default.",
            examples=["0:2"],
        ),
    ] = None
    format: Annotated[
        str | None,
        Query(
            description="Wins over Accept; npy if neither is given.",
            examples=["npy"],
            json_schema_extra={"enum": [*WINDOWS, None]},
        ),
    ] = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which trials, and in which form."""

    tier: Tiers = None
    min_length: MinLength = 0
    format: Annotated[
        str | None,
        Query(
            description="Wins over Accept; npy if neither is given.",
            examples=["npy"],
            json_schema_extra={"enum": [*ROWS, None]},
        ),
    ] = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class StatisticQuery:
    """Whose statistic, and in which form."""

    source: Annotated[
        str | None,
        Query(
            description="`supplied` with the data, or `computed` over the training trials; the "
            "first that there is by default.",
            pattern="^(supplied|computed)$",
            examples=["supplied"],
        ),
    ] = None
    version: Version = None


async def get_window(
    request: Request,
    path: Annotated[WindowPath, grouped(WindowPath)],
    query: Annotated[WindowQuery, grouped(WindowQuery)],
    service: ServiceDep,
) -> Response:
    """Return a variable of a trial, or a window of it, without the padding at its end.

    Axes are those of the source; time is the last. Values that those who published them keep back
    are 404, with the error `Withheld`: never zeros.
    """
    view = await service.view(request)
    recording = await view.recording(path.id)
    return await answer_window(
        request, view, recording, (path.trial, path.variable), query, service
    )


async def answer_window(
    request: Request,
    view: View,
    recording: Recording,
    which: tuple[int, str],
    query: WindowQuery,
    service: Service,
) -> Response:
    """Answer with a variable of a trial."""
    media_type = choose_type(query.format, request.headers.get("accept"), WINDOWS)
    check_recording_version(recording, query.version)
    part = part_of(recording, *which, query.t, query.neurons)
    cost = check_part(part, service.limits)
    check_format(part.nbytes // part.dtype.itemsize, media_type)
    axes = ",".join(recording.variables[part.piece.variable].axes)
    where = (*which, part.start, part.stop, query.neurons or "")
    headers = {
        **table_headers(recording, media_type, query.version, "window", *where),
        **cost.headers,
        **describe(part.shape, part.dtype, axes),
        **_named(f"{which[1]}-{which[0]}", media_type),
    }
    early = _early(request, headers, media_type, length(part.shape, part.dtype, media_type))
    if early is not None:
        return early
    lease = await service.admit(view, cost.held + window_held(part, media_type))
    try:
        body = await _window(service, part, cost, media_type)
    except BaseException:
        lease.release()
        raise
    return BodyResponse(body, media_type, headers, lease)


async def get_row(
    request: Request,
    path: Annotated[NeuronPath, grouped(NeuronPath)],
    query: Annotated[RowQuery, grouped(RowQuery)],
    service: ServiceDep,
) -> Response:
    """Return one neuron's values over trials, one trial after another.

    Trials without values are left out of `npy`, `raw` and `npz`; JSON and Arrow name them, with
    their state. `X-Microtome-Trials` is how many have values.
    """
    view = await service.view(request)
    recording = await view.recording(path.id)
    return await answer_row(request, view, recording, (path.neuron, path.variable), query, service)


async def answer_row(
    request: Request,
    view: View,
    recording: Recording,
    which: tuple[int, str],
    query: RowQuery,
    service: Service,
) -> Response:
    """Answer with one neuron's values over trials."""
    media_type = choose_type(query.format, request.headers.get("accept"), ROWS)
    check_recording_version(recording, query.version)
    # Of many thousands of trials this takes its time, during which others are to be answered.
    part, cost = await service.compute(_row_part, recording, which, query, service)
    check_format(part.length, media_type)
    headers = {
        **table_headers(
            recording, media_type, query.version, "row", *which, query.tier, query.min_length
        ),
        **_row_headers(part, cost),
        **_named(f"{which[1]}-neuron-{which[0]}", media_type),
    }
    known = length((part.length,), part.dtype, media_type)
    early = _early(request, headers, media_type, known)
    if early is not None:
        return early
    lease = await service.admit(view, cost.held + row_held(part, media_type))
    try:
        row = await read_row(part, cost, service)
        with span("encode"):
            body = await service.compute(encode_row, row, part, media_type)
    except BaseException:
        lease.release()
        raise
    return BodyResponse(body, media_type, headers, lease)


def _row_part(
    recording: Recording, which: tuple[int, str], query: RowQuery, service: Service
) -> tuple[RowPart, Cost]:
    trials = choose_trials(recording, query.tier, query.min_length)
    part = row_of(recording, which[1], which[0], trials)
    return part, check_limits(part.cost, str(part), service.limits)


def _row_headers(part: RowPart, cost: Cost) -> dict[str, str]:
    return {
        **cost.headers,
        **describe((part.length,), part.dtype, "time"),
        "X-Microtome-Trials": str(len(part.pieces)),
    }


async def _window(
    service: Service, part: Part, cost: Cost, media_type: str
) -> tuple[bytes | memoryview, ...]:
    values = await read_part(part, cost, service)
    if media_type in PLAIN:
        return encode_window(values, part, media_type)
    with span("encode"):
        return await service.compute(encode_window, values, part, media_type)


async def get_statistic(
    request: Request,
    path: Annotated[StatisticPath, grouped(StatisticPath)],
    query: Annotated[StatisticQuery, grouped(StatisticQuery)],
    service: ServiceDep,
) -> Response:
    """Return a statistic of a variable as .npy; the recording's JSON lists those that there are."""
    view = await service.view(request)
    recording = await view.recording(path.id)
    check_recording_version(recording, query.version)
    found = find_statistic(recording, path.variable, path.group, path.statistic)
    wanted = {"supplied": found.supplied, "computed": found.computed}
    file = wanted[query.source] if query.source else found.supplied or found.computed
    if file is None:
        raise NotFound(f"{found.variable}/{found.group}/{found.name} is not {query.source}")
    media_type = WINDOWS["npy"]
    words = ("statistic", file)
    headers = table_headers(recording, media_type, query.version, *words)
    headers |= _named(f"{found.variable}-{found.group}-{found.name}", media_type)
    early = _early(request, headers, media_type, None)
    if early is not None:
        return early
    size = next(
        f.size for f in (*recording.facts.files, *recording.facts.computed) if f.path == file
    )
    lease = await service.admit(view, size)
    try:
        with unreadable(f"recording {recording.id}, a statistic"):
            body = await service.objects.run(recording.read_file, file)
    except BaseException:
        lease.release()
        raise
    return BodyResponse((body,), media_type, headers, lease)


def _named(name: str, media_type: str) -> dict[str, str]:
    return {"Content-Disposition": f'inline; filename="{name}.{EXTENSIONS[media_type]}"'}


def _early(
    request: Request, headers: dict[str, str], media_type: str, known: int | None
) -> Response | None:
    """Answer what needs no value: the caller has it, or wants its headers alone."""
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return head_answer(known, headers, media_type) if request.method == "HEAD" else None


def router() -> APIRouter:
    """Return the routes of values."""
    routes = APIRouter(tags=["recordings"], route_class=LeanRoute)
    options: dict[str, Any] = {"response_class": Response}
    add(
        routes, f"{RECORDING}/trials/{{trial}}/{{variable}}", get_window, name="window",
        summary="Read a variable of a trial",
        responses=documented("The values.", *WINDOWS.values()), **options,
    )  # fmt: skip
    add(
        routes, f"{RECORDING}/neurons/{{neuron}}/{{variable}}", get_row, name="row",
        summary="Read one neuron over trials",
        responses=documented("The values.", *ROWS.values()), **options,
    )  # fmt: skip
    add(
        routes, f"{RECORDING}/statistics/{{variable}}/{{group}}/{{statistic}}", get_statistic,
        name="statistic", summary="Read a statistic",
        responses=documented("The values.", WINDOWS["npy"]), **options,
    )  # fmt: skip
    return routes
