"""Pictures for pages, as WebP: how they are answered and described."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from microtome_service.negotiate import unchanged
from microtome_service.problems import responses
from microtome_service.routes.answers import head_answer
from microtome_service.routes.parameters import add
from microtome_service.state import Service

TYPE = "image/webp"
# A page shows dozens: at this quality one of 480 pixels takes 10 to 40 kB.
QUALITY = 60


async def webp_answer(
    request: Request,
    service: Service,
    headers: Mapping[str, str],
    make: Callable[[], Awaitable[bytes]],
) -> Response:
    """Return a picture, kept under its ETag or made; none is made for HEAD, or where it is had."""
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return head_answer(None, headers, TYPE)
    body = await service.pictures.get(headers["ETag"], make)
    return Response(body, headers=headers, media_type=TYPE)


def add_webp(
    routes: APIRouter, path: str, handler: Callable[..., Any], name: str, summary: str
) -> None:
    """Add the route of a picture."""
    content = {TYPE: {"schema": {"type": "string", "format": "binary"}}}
    add(
        routes,
        path,
        handler,
        name=name,
        summary=summary,
        response_class=Response,
        responses={
            200: {"description": "The picture.", "content": content},
            304: {"description": "The caller has it already."},
            **responses(400, 404, 409, 413, 422, 429, 503),
        },
    )
