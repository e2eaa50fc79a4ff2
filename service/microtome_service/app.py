"""Putting the service together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from microtome_core import __version__
from microtome_core.store.location import StorageOptions, Store
from microtome_service import problems
from microtome_service.auth.described import describe_credentials
from microtome_service.auth.privacy import PrivateAnswers
from microtome_service.metrics import Metrics
from microtome_service.pages import Pages
from microtome_service.routes import (
    batch,
    cutout,
    datasets,
    health,
    histogram,
    ids,
    jobs,
    links,
    montage,
    pages,
    points,
    precomputed,
    recording_picture,
    recordings,
    recordings_short,
    records,
    signing,
    tiles,
    transform,
    trial_batch,
    trials,
    viewer,
    writes,
    zarr,
)
from microtome_service.routes import metrics as metrics_route
from microtome_service.routes.boss import mount_boss
from microtome_service.safe_answers import SafeAnswers
from microtome_service.settings import Settings
from microtome_service.state import Service
from microtome_service.watch import Watch

_ASKED = (
    "Accept",
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Range",
    "X-Request-ID",
)
_EXPOSED = (
    "ETag",
    "Content-Length",
    "Content-Disposition",
    "Retry-After",
    "Accept-Ranges",
    "Content-Range",
    "Last-Modified",
    "X-Microtome-Shape",
    "X-Microtome-Dtype",
    "X-Microtome-Axes",
    "X-Microtome-Version",
    "WWW-Authenticate",
    "X-Microtome-Cost-Bytes-Decoded",
    "X-Microtome-Cost-Chunks",
    "X-Microtome-Boxes",
    "X-Microtome-Trials",
    "X-Request-ID",
    "X-Microtome-Pyramid",
    "X-Microtome-Shards-Written",
)


class App(FastAPI):
    """FastAPI's own, with `Watch` around even what answers unexpected errors.

    Its description says how to tell who asks.
    """

    def openapi(self) -> dict[str, Any]:
        """Describe the API; made once."""
        if self.openapi_schema is None:
            describe_credentials(super().openapi())
        return super().openapi()

    def build_middleware_stack(self) -> ASGIApp:
        """Return the whole app; Starlette calls this once."""
        service: Service = self.state.service
        watched = SafeAnswers(super().build_middleware_stack())
        return Watch(
            watched,
            service.metrics,
            service.tracing,
            service.draining.active,
            service.settings.access_log,
        )


def create_app(
    settings: Settings, store: Store | None = None, metrics: Metrics | None = None
) -> FastAPI:
    """Return the service of one store.

    Parameters
    ----------
    settings : Settings
    store : Store, optional
        In place of the one that ``settings.root`` names, without credentials from the environment:
        for stores in memory, and for storage that needs options.
    metrics : Metrics, optional
        Those of one worker among several.
    """
    opened = store or Store(settings.root, StorageOptions(cache_bytes=settings.cache_bytes))
    service = Service(settings, opened, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.draining.install()
        watching = [asyncio.create_task(w) for w in (service.watch(), service.index.watch())]
        yield
        for task in watching:
            task.cancel()
        service.close()

    app = App(
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
        allow_methods=["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "OPTIONS"],
        allow_headers=_ASKED,
        expose_headers=_EXPOSED,
        max_age=86400,
    )
    app.add_middleware(PrivateAnswers)


def _add_routes(app: FastAPI) -> None:
    # The routes themselves: those of an included router are described anew for each app, at its
    # first request.
    for router in _routers():
        app.router.routes.extend(router.routes)
    mount_boss(app, app.state.service)
    app.mount("/static", pages.static_files(), "static")
    # Last: their addresses begin with any name.
    app.router.routes.extend(_pages().routes)


@cache
def _routers() -> tuple[APIRouter, ...]:
    """Return the routes of every app; to describe them takes most of the time of making one."""
    rooms = (
        cutout, writes, batch, points, ids, tiles, montage, histogram, recordings, trials,
        trial_batch, recordings_short, recording_picture, records, transform, datasets, zarr,
        precomputed, health, metrics_route, viewer, links, signing, jobs,
    )  # fmt: skip
    return tuple(room.router() for room in rooms)


@cache
def _pages() -> APIRouter:
    return pages.router()
