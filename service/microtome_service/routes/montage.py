"""A layer at a glance, for pages: made once, kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.names import NAME_PATTERN, LayerId
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.appearance import Appearance, default_appearance
from microtome_service.images import encode_image
from microtome_service.montage import choose_sight, compose, panes
from microtome_service.negotiate import entity_tag
from microtome_service.reader import Limits, check_cost, decoded_bytes, read
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.live import live_headers
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, grouped
from microtome_service.routes.webp import QUALITY, TYPE, add_webp, webp_answer
from microtome_service.state import Service
from microtome_service.thumbnail import view_region
from microtome_service.together import together
from microtome_service.versions import Version, cache_control, check_version
from microtome_service.view import View


@dataclass(frozen=True, slots=True)
class MontageQuery:
    """How large a montage is, and what lies over it."""

    size: Annotated[
        int, Query(ge=64, le=1024, description="Width in pixels of its box.", examples=[480])
    ] = 480
    labels: Annotated[
        str | None,
        Query(
            pattern=NAME_PATTERN,
            description="Labels of the same dataset to lay over an image; none by default.",
            examples=["neurons"],
        ),
    ] = None
    version: Version = None


@dataclass(frozen=True, slots=True)
class _Job:
    """What is read of one layer: for each channel the regions of its views."""

    layer: Layer
    look: Appearance
    level: int
    regions: tuple[tuple[Region, ...], ...]

    @property
    def flat(self) -> list[Region]:
        """Every region."""
        return [region for regions in self.regions for region in regions]

    @property
    def decoded(self) -> int:
        """Bytes of the chunks of all regions."""
        return sum(decoded_bytes(self.layer.info, self.level, region) for region in self.flat)


async def get_montage(
    request: Request,
    path: LayerPathDep,
    query: Annotated[MontageQuery, grouped(MontageQuery)],
    service: ServiceDep,
) -> Response:
    """Return a WebP of a layer from three sides: xy, yz to its right and xz below.

    An image is projected along each axis (largest value), labels are seen from outside (first id
    that is not 0); where the whole volume costs too much, the middle planes. Proportions are those
    of the tissue. The middle time point is shown, from a level that is cheap to read.
    """
    view = await service.view(request)
    layer = await view.layer(path.id)
    check_version(layer.info, query.version)
    jobs = [_job(service, layer, query.size)]
    if query.labels is not None:
        jobs.append(await _labels_job(service, view, layer, query))
    headers = await _headers(service, jobs, query)

    async def make() -> bytes:
        return await _make(service, view, jobs, query.size)

    return await webp_answer(request, service, headers, make)


async def _labels_job(service: Service, view: View, layer: Layer, query: MontageQuery) -> _Job:
    if layer.info.kind == "labels":
        raise InputError(f"labels={query.labels}: {layer.info.id} is no image")
    place = layer.info.layer_id
    found = await view.layer(LayerId(place.collection, place.dataset, str(query.labels)))
    if found.info.kind != "labels":
        raise InputError(f"labels={query.labels}: {found.info.id} holds no labels")
    return _job(service, found, query.size)


def _job(service: Service, layer: Layer, size: int) -> _Job:
    decoded = min(service.settings.max_thumbnail_bytes, service.limits.voxels)
    limits: Limits = replace(service.limits, decoded=decoded)
    look = default_appearance(layer.info)
    sight = choose_sight(layer.info, size, len(look.channels), limits)
    regions = tuple(
        tuple(view_region(layer.info, each, channel) for each in sight.views)
        for channel in look.channels
    )
    job = _Job(layer, look, sight.views[0].level, regions)
    check_cost(layer.info, job.level, job.flat, limits)
    return job


async def _headers(service: Service, jobs: Sequence[_Job], query: MontageQuery) -> dict[str, str]:
    infos = [job.layer.info for job in jobs]
    # What is read depends on limits, too: services of others may share the folder of pictures.
    told = ((job.layer.info.id, job.layer.info.version, job.level, job.flat) for job in jobs)
    tag = entity_tag(__version__, "montage", query.size, *told)
    age = f"public, max-age={service.settings.tile_max_age}"
    headers = {
        "ETag": tag,
        "Cache-Control": cache_control(query.version if len(jobs) == 1 else None, age),
        "X-Microtome-Version": infos[0].version,
    }
    for job in jobs:
        headers |= await live_headers(service, job.layer, job.level, job.flat, headers["ETag"])
    return headers


async def _make(service: Service, view: View, jobs: Sequence[_Job], size: int) -> bytes:
    # Projected side by side: of each channel its volume, and what becomes of it.
    with await service.admit(view, 2 * sum(job.decoded for job in jobs)):
        blocks = [await _read(job, service.limits.seconds) for job in jobs]
        return await service.compute(_draw, jobs, blocks, size)


async def _read(job: _Job, seconds: float) -> list[list[NDArray[Any]]]:
    reads = (read(job.layer, job.level, region, seconds) for region in job.flat)
    found = await together(reads)
    count = len(job.regions[0])
    return [found[first : first + count] for first in range(0, len(found), count)]


def _draw(jobs: Sequence[_Job], blocks: Sequence[list[list[NDArray[Any]]]], size: int) -> bytes:
    info: LayerInfo = jobs[0].layer.info
    shown = [
        [panes(channel, job.layer.info.axes, job.layer.info.kind) for channel in of_layer]
        for job, of_layer in zip(jobs, blocks, strict=True)
    ]
    over = shown[1][0] if len(shown) > 1 else ()
    return bytes(encode_image(compose(info, shown[0], jobs[0].look, over, size), TYPE, QUALITY))


def router() -> APIRouter:
    """Return the route of montages."""
    routes = APIRouter(tags=["pictures"], route_class=LeanRoute)
    path = "/api/datasets/{collection}/{dataset}/{layer}/montage.webp"
    add_webp(routes, path, get_montage, "montage", "Show a layer from three sides")
    return routes
