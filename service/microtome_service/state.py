"""What every route needs, put together once when the app is made."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fastapi import Request

from microtome_core.store.location import Store
from microtome_service.admission import Admission, Lease
from microtome_service.auth.access import Access
from microtome_service.auth.sessions import session_of
from microtome_service.callers import caller_of, note_principal
from microtome_service.catalog import Catalog
from microtome_service.draining import Draining
from microtome_service.hierarchy import Hierarchy
from microtome_service.kept_pictures import KeptPictures
from microtome_service.links import Links
from microtome_service.metrics import Metrics
from microtome_service.objects import Objects
from microtome_service.picture_folder import PictureFolder
from microtome_service.reader import Limits
from microtome_service.search.index import Index
from microtome_service.seen_jobs import SeenJobs
from microtome_service.settings import Settings
from microtome_service.shards import Indexes
from microtome_service.tracing import open_tracing
from microtome_service.view import View
from microtome_service.writes import Writes

_INDEX_BYTES = 32 << 20
_PICTURE_BYTES = 32 << 20
P = ParamSpec("P")
T = TypeVar("T")
_SAMPLE_SECONDS = 5.0


class Service:
    """The parts of one running service.

    Parameters
    ----------
    settings : Settings
    store : Store
    metrics : Metrics, optional
        Its own by default.
    """

    def __init__(self, settings: Settings, store: Store, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.store = store
        self.writes = Writes()
        self.catalog = Catalog(
            store, settings.recheck_seconds, self.writes.following.look, settings.read_seconds
        )
        self.access = Access(settings, store.url)
        self.links = Links(self.access.database)
        self.index = Index(
            store,
            self.catalog,
            self.access.database,
            settings.recheck_seconds,
            settings.index_seconds,
        )
        self.gate = Admission(
            settings.max_flying_bytes,
            settings.max_waiting,
            settings.wait_seconds,
            settings.max_share,
        )
        self.limits = Limits(
            settings.max_cutout_bytes,
            settings.max_decoded_bytes,
            settings.max_chunks,
            settings.read_seconds,
            settings.slab_bytes,
            settings.max_answer_bytes,
        )
        self.metrics = metrics or Metrics()
        self.draining = Draining(settings.drain_seconds, settings.grace_seconds)
        self.tracing = open_tracing(settings.otlp_endpoint)
        self.objects = Objects(store, settings.read_seconds, settings.recheck_seconds)
        self.hierarchy = Hierarchy(self.objects)
        self.indexes = Indexes(self.objects, _INDEX_BYTES)
        self._folder = _picture_folder(settings, store)
        self.pictures = KeptPictures(_PICTURE_BYTES, self._folder)
        self.jobs = SeenJobs(store, settings.recheck_seconds)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "encode")

    async def view(self, request: Request) -> View:
        """Return the catalog as whoever sent `request` may see it; raises as `Access.identify`."""
        credentials = request.headers.getlist("authorization")
        session = None if credentials else session_of(request, self.settings.public_url)
        principal, rules = await self.access.identify(credentials, session)
        note_principal(principal)
        return View(self.catalog, principal, rules)

    def sample(self) -> None:
        """Note what nobody tells of by itself."""
        self.metrics.sample(self.gate, len(self.draining.active))

    async def watch(self) -> None:
        """Note every few seconds what nobody tells of by itself, for ever."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def admit(self, view: View, nbytes: int) -> Lease:
        """Wait for room in memory; raises as `Admission.admit`."""
        return await self.gate.admit(nbytes, caller_of(view.principal))

    async def compute(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what keeps a processor busy in one of as many threads as there are processors."""
        done = self._pool.submit(work, *args, **kwargs)
        waiting = asyncio.wrap_future(done)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # What has begun cannot be stopped, and holds its memory until it ends.
            if not done.cancel():
                await asyncio.wait([waiting])
            raise

    def close(self) -> None:
        """Let the threads go."""
        self.index.close()
        self.links.close()
        self.catalog.close()
        self.access.close()
        self.objects.close()
        self.jobs.close()
        if self._folder is not None:
            self._folder.close()
        self.writes.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.tracing is not None:
            self.tracing.close()


def _picture_folder(settings: Settings, store: Store) -> PictureFolder | None:
    if settings.picture_folder in ("", "none"):
        return None
    return PictureFolder(settings.picture_folder, settings.picture_bytes, store.url)


async def get_service(request: Request) -> Service:
    """Return the service of the app that got this request."""
    service = request.app.state.service
    if not isinstance(service, Service):
        raise TypeError("the app was not made by create_app")
    return service
