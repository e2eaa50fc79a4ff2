"""A page with what every page has: who is signed in, and where to go."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse

from microtome_service.pages import POLICY, Pages, path_of
from microtome_service.state import Service
from microtome_service.view import View


def show(
    request: Request,
    service: Service,
    view: View,
    template: str,
    values: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    policy: str = POLICY,
) -> HTMLResponse:
    """Return a page as `view.principal` may see it."""
    pages: Pages = request.app.state.pages
    named = "" if view.principal.anonymous else view.principal.name.removeprefix("key:")
    every = {
        "base": request.scope.get("root_path", ""),
        "who": named,
        "may_sign_in": view.rules.hides and service.access.database is not None,
        "page_path": path_of(request.scope),
    }
    return pages.page(template, {**every, **values}, status, headers, policy)


def host_of(request: Request, service: Service) -> str:
    """Return where people reach the service, without a stroke at the end."""
    return (service.settings.public_url or str(request.base_url)).rstrip("/")
