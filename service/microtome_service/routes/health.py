"""Whether the service lives, and whether it can answer."""

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from microtome_core.errors import StorageError
from microtome_service.errors import Busy, Unreadable
from microtome_service.problems import responses
from microtome_service.routes.parameters import ServiceDep, add, only

_FRESH = {"Cache-Control": "no-store"}
_UNKNOWN = {400: {**responses(400)[400], "description": "A query parameter: there is none."}}


async def get_live() -> Response:
    """Answer as long as the process does; it does not look at storage."""
    return JSONResponse({"status": "live"}, headers=_FRESH)


async def get_ready(service: ServiceDep) -> Response:
    """Answer if the store and what is known of rights can be read, and the end is not near."""
    if service.draining.begun:
        raise Busy("the service is about to end")
    await service.access.identify(())
    try:
        async with asyncio.timeout(service.settings.read_seconds):
            await asyncio.to_thread(service.catalog.check_root)
    except (StorageError, TimeoutError) as error:
        raise Unreadable("the root of the store cannot be reached") from error
    return JSONResponse({"status": "ready"}, headers=_FRESH)


def _documented(word: str) -> dict[int | str, dict[str, Any]]:
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string", "const": word}},
    }
    return {200: {"description": word, "content": {"application/json": {"schema": schema}}}}


def router() -> APIRouter:
    """Return the probes."""
    routes = APIRouter(tags=["health"])
    add(
        routes,
        "/health/live",
        get_live,
        name="live",
        summary="Is the process alive?",
        dependencies=[only()],
        response_model=None,
        responses=_documented("live") | _UNKNOWN,
    )
    add(
        routes,
        "/health/ready",
        get_ready,
        name="ready",
        summary="Can it answer?",
        dependencies=[only()],
        response_model=None,
        responses=_documented("ready") | _UNKNOWN | responses(503),
    )
    return routes
