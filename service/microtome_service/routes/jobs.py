"""Ingests under way and done, for people to look on."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from microtome_core.errors import StorageError
from microtome_core.names import NAME_PATTERN, DatasetId
from microtome_core.store.jobs import Job, find_jobs
from microtome_service.errors import Unreadable
from microtome_service.routes.parameters import ServiceDep, add, grouped, only
from microtome_service.routes.showing import show
from microtome_service.state import Service
from microtome_service.together import together

# Datasets whose ledgers are looked at for one page.
_DATASETS = 200
_FINISHED = 50
# Of the threads that read for everybody.
_AT_ONCE = 4
_ORDER = {"running": 0, "stopped": 1, "damaged": 2, "done": 3}


@dataclass(frozen=True, slots=True)
class JobsQuery:
    """Of which datasets."""

    collection: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Of this collection.")
    ] = None
    offset: Annotated[int, Query(ge=0, le=10**9, description="Datasets to skip.")] = 0


async def get_jobs(
    request: Request, query: Annotated[JobsQuery, grouped(JobsQuery)], service: ServiceDep
) -> HTMLResponse:
    """Show the ingests of those datasets that the caller may see."""
    view = await service.view(request)
    datasets = [d for d in await view.datasets() if query.collection in (None, d.collection)]
    looked = datasets[query.offset : query.offset + _DATASETS]
    jobs = sorted(await _find(service, looked), key=_order)
    unfinished = [job for job in jobs if job.state != "done"]
    values: dict[str, Any] = {
        "unfinished": unfinished,
        "finished": [job for job in jobs if job.state == "done"][:_FINISHED],
        "count": len(jobs) - len(unfinished),
        "now": time(),
        "query": query,
        "total": len(datasets),
        "until": query.offset + len(looked),
        "limit": _DATASETS,
    }
    return show(request, service, view, "jobs.html", values, headers={"Cache-Control": "no-store"})


async def _find(service: Service, datasets: Sequence[DatasetId]) -> list[Job]:
    now, turns = time(), asyncio.Semaphore(_AT_ONCE)

    async def look(dataset: DatasetId) -> list[Job]:
        async with turns:
            return await service.objects.run(find_jobs, service.store, dataset, now)

    try:
        found = await together(look(dataset) for dataset in datasets)
    except StorageError as error:
        raise Unreadable("the ledgers of ingests cannot be read") from error
    return [job for jobs in found for job in jobs]


def _order(job: Job) -> tuple[int, float]:
    return _ORDER[job.state], -(job.seen or job.started or 0.0)


def router() -> APIRouter:
    """Return the route of the page of ingests."""
    routes = APIRouter(include_in_schema=False)
    add(routes, "/jobs", get_jobs, dependencies=[only(JobsQuery)], response_model=None)
    return routes
