"""Signing in with a key: a form that becomes a cookie, and its end."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from microtome_core.errors import InputError
from microtome_service.auth.sessions import COOKIE, SECONDS, same_origin
from microtome_service.errors import Forbidden, Unauthenticated
from microtome_service.routes.parameters import ServiceDep, add, grouped, only
from microtome_service.routes.showing import show
from microtome_service.state import Service
from microtome_service.upload import read_body

_LARGEST = 4096
_FRESH = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class SignInQuery:
    """Where to go when it is done."""

    to: Annotated[str, Query(max_length=500, description="A page of this service.")] = "/"


async def get_sign_in(
    request: Request, query: Annotated[SignInQuery, grouped(SignInQuery)], service: ServiceDep
) -> Response:
    """Show the form."""
    view = await service.view(request)
    values = {"to": local(query.to), "trouble": ""}
    return show(request, service, view, "sign_in.html", values, headers=_FRESH)


async def post_sign_in(request: Request, service: ServiceDep) -> Response:
    """Take a key, and answer with the cookie of a new session."""
    view = await service.view(request)
    form = await _form(request, service)
    to = local(form.get("to", "/"))
    try:
        token = await service.access.sign_in(form.get("key", "").strip())
    except Unauthenticated as error:
        values = {"to": to, "trouble": str(error)}
        return show(request, service, view, "sign_in.html", values, 401, _FRESH)
    answer = _back(request, to)
    path, secure = _cookie(request, service)
    answer.set_cookie(
        COOKIE, token, SECONDS, path=path, secure=secure, httponly=True, samesite="lax"
    )
    return answer


async def post_sign_out(request: Request, service: ServiceDep) -> Response:
    """End the session."""
    await service.view(request)
    await _form(request, service)
    token = request.cookies.get(COOKIE)
    if token and service.access.database is not None:
        await service.access.sign_out(token)
    answer = _back(request, "/")
    path, secure = _cookie(request, service)
    answer.delete_cookie(COOKIE, path, secure=secure, httponly=True, samesite="lax")
    return answer


def local(address: str) -> str:
    """Return an address if it is a page of this service, else the catalog.

    >>> local("/demo/brain"), local("//elsewhere.example"), local("https://elsewhere.example")
    ('/demo/brain', '/', '/')
    """
    plain = address.isascii() and address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and address[1:2] != "/" else "/"


def _back(request: Request, to: str) -> Response:
    base = request.scope.get("root_path", "")
    return RedirectResponse(f"{base}{to}", 303, headers=_FRESH)


def _cookie(request: Request, service: Service) -> tuple[str, bool]:
    """Return where the cookie holds, and whether by https alone."""
    secure = request.url.scheme == "https" or service.settings.public_url.startswith("https://")
    return request.scope.get("root_path", "") or "/", secure


async def _form(request: Request, service: Service) -> dict[str, str]:
    """Return the fields of a form that a page of this service sent.

    Raises
    ------
    Forbidden
        Another site sent it: whoever signs somebody in, or out, by stealth is up to something.
    InputError
        It is no form.
    """
    if not same_origin(request, service.settings.public_url):
        raise Forbidden("this form was not sent by a page of this service")
    body = await read_body(request, _LARGEST, service.settings.request_seconds)
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError as error:
        raise InputError("expected a form") from error
    return {name: values[-1] for name, values in fields.items()}


def router() -> APIRouter:
    """Return the routes of signing in and out."""
    routes = APIRouter(include_in_schema=False)
    add(routes, "/sign-in", get_sign_in, dependencies=[only(SignInQuery)], response_model=None)
    for path, handler in (("/sign-in", post_sign_in), ("/sign-out", post_sign_out)):
        routes.add_api_route(
            path, handler, methods=["POST"], dependencies=[only()], response_model=None
        )
    return routes
