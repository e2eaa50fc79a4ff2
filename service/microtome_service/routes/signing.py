"""Signing in with a key, by a form, or at an issuer, by its pages: both become a cookie."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from microtome_core.errors import InputError, NotFound
from microtome_service.auth.code_flow import Begun, CodeFlow
from microtome_service.auth.sessions import COOKIE, SECONDS, same_origin
from microtome_service.errors import Busy, Forbidden, Unauthenticated, Unreadable
from microtome_service.problems import status_of, tell
from microtome_service.routes.parameters import ServiceDep, add, grouped, only
from microtome_service.routes.showing import host_of, show
from microtome_service.state import Service
from microtome_service.upload import read_body

_LARGEST = 4096
_FRESH = {"Cache-Control": "no-store"}
_BACK = "/sign-in/back"
# What a browser remembers while it is at the issuer; sent to addresses below /sign-in alone.
_BEGUN, _BEGUN_SECONDS = "microtome_sign_in", 600


@dataclass(frozen=True, slots=True)
class SignInQuery:
    """Where to go when it is done."""

    to: Annotated[str, Query(max_length=500, description="A page of this service.")] = "/"


async def get_sign_in(
    request: Request, query: Annotated[SignInQuery, grouped(SignInQuery)], service: ServiceDep
) -> Response:
    """Show the form."""
    return await _form_page(request, service, local(query.to))


async def post_sign_in(request: Request, service: ServiceDep) -> Response:
    """Take a key, and answer with the cookie of a new session."""
    await service.view(request)
    form = await _form(request, service)
    to = local(form.get("to", "/"))
    try:
        token = await service.access.sign_in(form.get("key", "").strip())
    except Unauthenticated as error:
        return await _form_page(request, service, to, str(error), 401)
    return _signed_in(request, service, token, to)


async def start_sign_in(
    request: Request, query: Annotated[SignInQuery, grouped(SignInQuery)], service: ServiceDep
) -> Response:
    """Send a browser to the issuer, and let it remember that it was sent."""
    await service.view(request)
    flow, begun = _flow(service), Begun.anew(local(query.to))
    address = await flow.address(begun, host_of(request, service) + _BACK)
    answer = RedirectResponse(address, 303, headers=_FRESH)
    path, secure = _cookie(request, service)
    _set(answer, _BEGUN, begun.to_cookie(), _BEGUN_SECONDS, f"{path.rstrip('/')}/sign-in", secure)
    return answer


async def end_sign_in(request: Request, service: ServiceDep) -> Response:
    """Take a browser back from the issuer, and answer with the cookie of a new session.

    Reasons that the issuer gives, and what does not hold, are told on the page of signing in.
    """
    await service.view(request)
    flow, begun = _flow(service), Begun.of_cookie(request.cookies.get(_BEGUN))
    to, back = local(begun.to) if begun else "/", host_of(request, service) + _BACK
    try:
        user = await flow.finish(begun, request.query_params, back)
        answer = _signed_in(request, service, await service.access.sign_in_user(user), to)
    except (Unauthenticated, Unreadable, Busy) as error:
        said = str(error) if isinstance(error, Unauthenticated) else tell(request, error)
        answer = await _form_page(request, service, to, said, status_of(error))
    path, secure = _cookie(request, service)
    answer.delete_cookie(
        _BEGUN, f"{path.rstrip('/')}/sign-in", secure=secure, httponly=True, samesite="lax"
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


def _flow(service: Service) -> CodeFlow:
    flow = service.access.code_flow
    if flow is None:
        raise NotFound("this service signs nobody in at an issuer")
    return flow


async def _form_page(
    request: Request, service: Service, to: str, trouble: str = "", status: int = 200
) -> Response:
    flow = service.access.code_flow
    values = {"to": to, "trouble": trouble, "issuer": flow.name if flow else ""}
    view = await service.view(request)
    return show(request, service, view, "sign_in.html", values, status, _FRESH)


def _signed_in(request: Request, service: Service, token: str, to: str) -> Response:
    answer = _back(request, to)
    _set(answer, COOKIE, token, SECONDS, *_cookie(request, service))
    return answer


def _set(answer: Response, name: str, value: str, seconds: int, path: str, secure: bool) -> None:
    answer.set_cookie(name, value, seconds, path=path, secure=secure, httponly=True, samesite="lax")


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
    # No HEAD: each begins or ends something.
    hidden: dict[str, Any] = {"methods": ["GET"], "response_model": None}
    dependencies = [only(SignInQuery)]
    routes.add_api_route("/sign-in/start", start_sign_in, dependencies=dependencies, **hidden)
    # Issuers add words of their own to what comes back.
    routes.add_api_route(_BACK, end_sign_in, **hidden)
    for path, handler in (("/sign-in", post_sign_in), ("/sign-out", post_sign_out)):
        routes.add_api_route(
            path, handler, methods=["POST"], dependencies=[only()], response_model=None
        )
    return routes
