"""Putting the service together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from microtome_core import __version__
from microtome_core.store.location import StorageOptions, Store
from microtome_service import problems
from microtome_service.auth.privacy import PrivateAnswers
from microtome_service.pages import Pages
from microtome_service.routes import cutout, datasets, health, pages, tiles
from microtome_service.settings import Settings
from microtome_service.state import Service

_EXPOSED = (
    "ETag",
    "Content-Length",
    "Content-Disposition",
    "Retry-After",
    "X-Microtome-Shape",
    "X-Microtome-Dtype",
    "X-Microtome-Axes",
    "X-Microtome-Version",
    "WWW-Authenticate",
)


def create_app(settings: Settings, store: Store | None = None) -> FastAPI:
    """Return the service of one store.

    Parameters
    ----------
    settings : Settings
    store : Store, optional
        In place of the one that ``settings.root`` names, without credentials from the environment:
        for stores in memory, and for storage that needs options.
    """
    opened = store or Store(settings.root, StorageOptions(cache_bytes=settings.cache_bytes))
    service = Service(settings, opened)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title=settings.title,
        version=__version__,
        summary="Any cutout of any brain image, over HTTP.",
        # The usual /docs loads scripts from elsewhere, which the pages' policy forbids: see pages.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.pages = Pages(settings.title)
    _add_middleware(app, settings)
    problems.install(app)
    _add_routes(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD"],
        allow_headers=["Accept", "Authorization", "If-None-Match"],
        expose_headers=_EXPOSED,
        max_age=86400,
    )
    app.add_middleware(PrivateAnswers)


def _add_routes(app: FastAPI) -> None:
    # Pages come last: their addresses begin with any name.
    for room in (cutout, tiles, datasets, health):
        app.include_router(room.router())
    app.mount("/static", pages.static_files(), "static")
    app.include_router(pages.router())
