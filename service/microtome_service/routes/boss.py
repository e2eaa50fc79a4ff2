"""The BossDB API as an app of its own, mounted at /v1 and /latest: its errors are BossDB's."""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from microtome_service.bossdb import problems
from microtome_service.routes import (
    boss_changes,
    boss_meta,
    boss_people,
    boss_pictures,
    boss_resources,
    boss_voxels,
    boss_writes,
)
from microtome_service.state import Service

PREFIXES = ("/v1", "/latest")


@dataclass(frozen=True, slots=True)
class _Named:
    """A route by its whole template, for logs and metrics."""

    path: str


class Trimmed:
    """An app whose addresses end in slashes or do not, as its callers like: ``/collection//``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the rules of ASGI."""
        inner = {**scope, "path": scope.get("path", "").rstrip("/")}
        try:
            await self._app(inner, receive, send)
        finally:
            found = inner.get("route")
            if isinstance(found, Route):
                scope["route"] = _Named(f"{scope.get('root_path', '')}{found.path}")


def mount_boss(app: Starlette, service: Service) -> None:
    """Serve the API below `PREFIXES`."""
    for prefix in PREFIXES:
        app.mount(prefix, boss_app(service), f"boss{prefix}")


def boss_app(service: Service) -> ASGIApp:
    """Return the app of one prefix."""
    rooms = (
        boss_resources, boss_voxels, boss_pictures, boss_people,
        boss_changes, boss_writes, boss_meta,
    )  # fmt: skip
    app = Starlette(routes=[route for room in rooms for route in room.routes()])
    # An address with a slash and one without are the same one: no redirections.
    app.router.redirect_slashes = False
    app.state.service = service
    problems.install(app)
    return Trimmed(app)
