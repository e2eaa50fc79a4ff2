"""Short links to what the viewer shows."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from microtome_core.errors import InputError, NotFound
from microtome_service.callers import caller_of
from microtome_service.links import LARGEST, Link, dataset_of
from microtome_service.routes.parameters import ServiceDep, add, only
from microtome_service.routes.showing import host_of
from microtome_service.state import Service
from microtome_service.upload import check_length, read_body

Name = Annotated[str, Path(max_length=64, description="Of a link.", examples=["mfrggzdfmztw"])]
_FRESH = {"Cache-Control": "no-cache"}
_LARGEST = LARGEST + 1024


async def post_link(request: Request, service: ServiceDep) -> Response:
    """Keep what the viewer shows, and return its short address.

    The body is `{"page": "/view/collection/dataset", "state": {…}}`; every source of the state
    must be at this service.
    """
    view = await service.view(request)
    check_length(request, _LARGEST, "a state of the viewer")
    body = await read_body(request, _LARGEST, service.settings.request_seconds)
    page, state = _read(bytes(body))
    await view.layers(dataset_of(page))
    name = await service.links.put(
        page, state, host_of(request, service), caller_of(view.principal)
    )
    address = f"{host_of(request, service)}/s/{name}"
    return JSONResponse({"link": name, "url": address}, 201, headers={"Location": address})


async def get_link(request: Request, link: Name, service: ServiceDep) -> Response:
    """Return the state that a link leads to, to those who may see its dataset."""
    return JSONResponse((await _find(request, service, link)).state, headers=_FRESH)


async def follow_link(request: Request, link: Name, service: ServiceDep) -> Response:
    """Lead to the viewer, which then asks for the state."""
    found = await _find(request, service, link)
    base = request.scope.get("root_path", "")
    return RedirectResponse(f"{base}{found.page}?link={link}", 302, headers=_FRESH)


async def _find(request: Request, service: Service, name: str) -> Link:
    view = await service.view(request)
    found = await service.links.get(name, host_of(request, service))
    try:
        await view.layers(found.dataset)
    except NotFound as error:
        # What may not be seen is as absent as what is gone.
        raise NotFound(f"no link {name}") from error
    return found


def _read(body: bytes) -> tuple[str, Any]:
    try:
        told = json.loads(body)
        page, state = told["page"], told["state"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError('expected JSON: {"page": "/view/…", "state": {…}}') from error
    if not isinstance(page, str):
        raise InputError("page: expected text")
    return page, state


def router() -> APIRouter:
    """Return the routes of links."""
    routes = APIRouter(include_in_schema=False)
    options: dict[str, Any] = {"dependencies": [only()], "response_model": None}
    routes.add_api_route("/api/links", post_link, methods=["POST"], **options)
    add(routes, "/api/links/{link}", get_link, **options)
    add(routes, "/s/{link}", follow_link, **options)
    return routes
