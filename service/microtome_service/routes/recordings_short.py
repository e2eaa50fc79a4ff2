"""The same addresses without a recording's name, for datasets that have one and no other."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from microtome_core.errors import InputError, NotFound
from microtome_core.names import LayerId
from microtome_core.store.recording import Recording
from microtome_service.routes.datasets import layer_answer
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import (
    DatasetPath,
    DatasetPathDep,
    ServiceDep,
    add,
    grouped,
)
from microtome_service.routes.recordings import TrialsQuery, documented, list_trials
from microtome_service.routes.trials import (
    RowQuery,
    WindowQuery,
    Word,
    answer_row,
    answer_window,
)
from microtome_service.tables import TABLES
from microtome_service.values import ROWS, WINDOWS
from microtome_service.view import View

DATASET = "/api/datasets/{collection}/{dataset}"
_NAME = "trials"


@dataclass(frozen=True, slots=True)
class OnlyWindowPath(DatasetPath):
    """A variable of a trial."""

    trial: Annotated[int, Path(ge=0, le=10**18, description="Number of a trial.", examples=[0])]
    variable: Word


@dataclass(frozen=True, slots=True)
class OnlyRowPath(DatasetPath):
    """A variable of one neuron."""

    neuron: Annotated[int, Path(ge=0, le=10**18, description="Index of a neuron.", examples=[0])]
    variable: Word


async def get_trials(
    request: Request,
    path: DatasetPathDep,
    query: Annotated[TrialsQuery, grouped(TrialsQuery)],
    service: ServiceDep,
) -> Response:
    """List the trials of a dataset's only recording; where a layer is named so, describe that."""
    view = await service.view(request)
    layer_id = LayerId(path.collection, path.dataset, _NAME)
    try:
        layer = await view.entry(layer_id)
    except NotFound:
        recording = await only_recording(view, path)
        return await list_trials(request, view, recording, query, service)
    return layer_answer(request, layer_id, layer)


async def get_window(
    request: Request,
    path: Annotated[OnlyWindowPath, grouped(OnlyWindowPath)],
    query: Annotated[WindowQuery, grouped(WindowQuery)],
    service: ServiceDep,
) -> Response:
    """Return a variable of a trial of the only recording of a dataset."""
    view = await service.view(request)
    recording = await only_recording(view, path)
    return await answer_window(
        request, view, recording, (path.trial, path.variable), query, service
    )


async def get_row(
    request: Request,
    path: Annotated[OnlyRowPath, grouped(OnlyRowPath)],
    query: Annotated[RowQuery, grouped(RowQuery)],
    service: ServiceDep,
) -> Response:
    """Return one neuron's values over trials of the only recording of a dataset."""
    view = await service.view(request)
    recording = await only_recording(view, path)
    return await answer_row(request, view, recording, (path.neuron, path.variable), query, service)


async def only_recording(view: View, path: DatasetPath) -> Recording:
    """Return the recording of a dataset that has one and no other.

    Raises
    ------
    NotFound
        It has none.
    InputError
        It has several; names them.
    Unreadable
        It is damaged.
    """
    found = [LayerId.parse(str(each.id)) for each in await view.recordings(path.id)]
    if not found:
        raise NotFound(f"dataset {path.id} has no recording")
    if len(found) > 1:
        raise InputError(
            f"dataset {path.id} has several recordings, {', '.join(i.layer for i in found)}: "
            f"ask for such as /api/datasets/{found[0]}/trials"
        )
    return await view.recording(found[0])


def router() -> APIRouter:
    """Return these routes."""
    routes = APIRouter(tags=["recordings"], route_class=LeanRoute)
    add(
        routes, f"{DATASET}/{_NAME}", get_trials, name="only-trials",
        summary="List the trials of a dataset's only recording", response_class=Response,
        responses=documented("The table.", *TABLES.values()),
    )  # fmt: skip
    add(
        routes, f"{DATASET}/trials/{{trial}}/{{variable}}", get_window, name="only-window",
        summary="Read a variable of a trial of a dataset's only recording",
        response_class=Response, responses=documented("The values.", *WINDOWS.values()),
    )  # fmt: skip
    add(
        routes, f"{DATASET}/neurons/{{neuron}}/{{variable}}", get_row, name="only-row",
        summary="Read one neuron of a dataset's only recording",
        response_class=Response, responses=documented("The values.", *ROWS.values()),
    )  # fmt: skip
    return routes
