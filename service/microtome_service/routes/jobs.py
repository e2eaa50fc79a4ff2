"""Ingests under way and done, for people to look on."""

from dataclasses import dataclass
from time import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from microtome_core.names import NAME_PATTERN
from microtome_core.store.jobs import Job
from microtome_service.routes.parameters import ServiceDep, add, grouped, only
from microtome_service.routes.showing import show

# Datasets whose ledgers are looked at for one page.
_DATASETS = 200
_FINISHED = 50
_ORDER = {"running": 0, "failed": 1, "stopped": 2, "damaged": 3, "done": 4}


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
    found = await service.jobs.look(looked)
    jobs = sorted(found.jobs, key=_order)
    unfinished = [job for job in jobs if job.state != "done"]
    values: dict[str, Any] = {
        "unfinished": unfinished,
        "finished": [job for job in jobs if job.state == "done"][:_FINISHED],
        "count": len(jobs) - len(unfinished),
        "unread": [str(each) for each in found.unread],
        "now": time(),
        "query": query,
        "total": len(datasets),
        "until": query.offset + len(looked),
        "limit": _DATASETS,
    }
    return show(request, service, view, "jobs.html", values, headers={"Cache-Control": "no-store"})


def _order(job: Job) -> tuple[int, float]:
    return _ORDER[job.state], -(job.seen or job.started or 0.0)


def router() -> APIRouter:
    """Return the route of the page of ingests."""
    routes = APIRouter(include_in_schema=False)
    add(routes, "/jobs", get_jobs, dependencies=[only(JobsQuery)], response_model=None)
    return routes
