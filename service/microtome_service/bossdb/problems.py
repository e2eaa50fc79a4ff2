"""Errors as BossDB writes them: ``{"status", "code", "message"}``."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from microtome_core.errors import Conflict, MicrotomeError, NotFound, StorageError, TooLarge
from microtome_service.bossdb.errors import ExtentMismatch, TypeMismatch
from microtome_service.errors import Busy, Forbidden, Unauthenticated
from microtome_service.problems import LATER, failed, status_of, tell

_LONGEST = 1000
# The first class that fits decides. Those of BossDB that clients look at are 2000 to 2002, 3001
# and 4000; the others are ours.
CODES: tuple[tuple[type[Exception], int], ...] = (
    (TooLarge, 2000),
    (TypeMismatch, 2001),
    (ExtentMismatch, 2002),
    (Unauthenticated, 3000),
    (Forbidden, 3001),
    (NotFound, 4000),
    (Conflict, 4001),
    (StorageError, 5000),
    (Busy, 5001),
)
_OTHER = 1000


def install(app: Starlette) -> None:
    """Let `app` answer every error as BossDB does."""
    app.add_exception_handler(MicrotomeError, _microtome)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def code_of(error: Exception) -> int:
    """Return BossDB's code of an error; 1000 for words that cannot be read."""
    return next((code for kind, code in CODES if isinstance(error, kind)), _OTHER)


def answer(
    status: int, code: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return one error."""
    body = {"status": status, "code": code, "message": message[:_LONGEST]}
    return JSONResponse(body, status, headers={"Cache-Control": "no-store", **(headers or {})})


async def _microtome(request: Request, error: Exception) -> Response:
    status, code = status_of(error), code_of(error)
    if isinstance(error, Unauthenticated):
        return answer(status, code, str(error), {"WWW-Authenticate": 'Token realm="microtome"'})
    if not failed(error):
        return answer(status, code, str(error))
    return answer(status, code, tell(request, error), LATER)


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None)
    code = 4000 if status == 404 else _OTHER
    words = "no such address" if status == 404 else str(getattr(error, "detail", ""))
    return answer(status, code, words, headers)


async def _unexpected(_: Request, __: Exception) -> Response:
    return answer(500, 5002, "the service failed; the cause is in its log")
