"""Errors as RFC 9457 problem details: the one table from exceptions to HTTP.

A body is ``{"type", "title", "status", "detail", "error"}``; ``error`` is the name of the
exception, which clients may rely on. Pages that a browser asked for get the same words as HTML.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from microtome_core.errors import (
    Conflict,
    InputError,
    MicrotomeError,
    NotFound,
    PreconditionFailed,
    RegionError,
    StorageError,
    TooLarge,
)
from microtome_service.errors import (
    Busy,
    Forbidden,
    NotAcceptable,
    RangeNotSatisfiable,
    SlowCaller,
    TooMany,
    Unauthenticated,
    Unreadable,
    Unsupported,
)
from microtome_service.pages import Pages, path_of

_LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_LONGEST_DETAIL = 1000

# The first class that fits decides, so the special ones come first.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (TooLarge, 413),
    (NotAcceptable, 406),
    (RangeNotSatisfiable, 416),
    (Unsupported, 415),
    (SlowCaller, 408),
    (RegionError, 400),
    (InputError, 400),
    (NotFound, 404),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (PreconditionFailed, 412),
    (Conflict, 409),
    (StorageError, 503),
    (TooMany, 429),
    (Busy, 503),
)
_FRESH = {"Cache-Control": "no-store"}
CHALLENGE = 'Bearer realm="microtome"'
LATER = {"Retry-After": "2"}
_HIDDEN = "storage failed or holds damaged data"


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error; 500 for one that nobody raises on purpose."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def failed(error: Exception) -> bool:
    """Tell whether an error is the service's: the same request may succeed later."""
    return isinstance(error, Busy) or status_of(error) >= 500


def tell(request: Request, error: Exception) -> str:
    """Write in the log how the service failed, and return what may be said of it to strangers."""
    # To be busy is no fault: metrics count it, and lines of it would fill the log under load.
    busy = isinstance(error, Busy)
    level, cause = (logging.INFO, None) if busy else (logging.ERROR, error)
    _LOG.log(level, "%s %r: %s", request.method, request.url.path, error, exc_info=cause)
    # Words from the storage engine name paths and hosts; they are for the log alone.
    return str(error) if isinstance(error, Unreadable | Busy) else _HIDDEN


def problem(
    status: int, detail: str, error: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return one problem document."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail[:_LONGEST_DETAIL],
            "error": error,
        },
        status,
        headers={**_FRESH, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these errors."""
    described = {
        400: "A word that cannot be read, or a region out of bounds; names the valid range.",
        401: "The credentials do not hold, or some are needed.",
        403: "It may be seen with these credentials, and no more.",
        404: "No such collection, dataset, layer, level or tile.",
        406: "None of the media types in Accept is served.",
        408: "The body did not come in time.",
        409: "The layer has another version than the one asked for, or is not writable.",
        412: "A condition such as If-Match does not hold; nothing was done.",
        413: "More than is given or taken at once.",
        415: "A body of a type that is not read.",
        422: "A parameter of the wrong type.",
        429: "The caller's own share of the room is taken; `Retry-After` says when to come back.",
        503: "Storage failed or holds damaged data, or the service is busy. Never fill values.",
    }
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {status: {"description": described[status], "content": content} for status in statuses}


_SCHEMA: Mapping[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "error"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Let `app` answer every error with a problem document."""
    app.add_exception_handler(MicrotomeError, _microtome)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(
    request: Request,
    status: int,
    detail: str,
    error: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with JSON, or where a browser asks for a page with a page."""
    page = "text/html" in request.headers.get("accept", "")
    if not page or request.url.path.startswith("/api/"):
        return problem(status, detail, error, headers)
    values = {
        "status": status,
        "phrase": HTTPStatus(status).phrase,
        "detail": detail[:_LONGEST_DETAIL],
        "base": request.scope.get("root_path", ""),
        "who": "",
        "may_sign_in": request.app.state.service.access.database is not None,
        "page_path": path_of(request.scope),
    }
    pages: Pages = request.app.state.pages
    return pages.page("error.html", values, status, {**_FRESH, **(headers or {})})


async def _microtome(request: Request, error: Exception) -> Response:
    status = status_of(error)
    if isinstance(error, Unauthenticated):
        challenge = {"WWW-Authenticate": CHALLENGE + ', error="invalid_token"' * error.invalid}
        return _answer(request, status, str(error), type(error).__name__, challenge)
    if not failed(error):
        size = error.size if isinstance(error, RangeNotSatisfiable) else None
        headers = {} if size is None else {"Content-Range": f"bytes */{size}"}
        return _answer(request, status, str(error), type(error).__name__, headers)
    name = "StorageError" if isinstance(error, StorageError) else type(error).__name__
    return _answer(request, status, tell(request, error), name, LATER)


async def _validation(request: Request, error: Exception) -> Response:
    # What was sent is not repeated: it may be long, or not be text.
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    words = "; ".join(f"{f['loc'][-1]}: {f['msg']}" for f in faults[:10])
    return _answer(request, 422, words, "InputError")


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    # GET and HEAD are routes of their own, of which Starlette names one.
    if status == 405 and headers.get("Allow", "GET") in ("GET", "HEAD"):
        headers["Allow"] = "GET, HEAD"
    name = "NotFound" if status == 404 else "HTTPError"
    return _answer(request, status, str(getattr(error, "detail", "")), name, headers)


async def _unexpected(_: Request, __: Exception) -> Response:
    return problem(500, "the service failed; the cause is in its log", "InternalError")
