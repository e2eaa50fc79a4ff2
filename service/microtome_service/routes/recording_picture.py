"""A recording at a glance, for pages: made once and kept."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from microtome_core import __version__
from microtome_service.images import encode_image
from microtome_service.negotiate import entity_tag
from microtome_service.recording_picture import Glance, choose_glance, draw
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import ServiceDep, grouped
from microtome_service.routes.recordings import RecordingPathDep
from microtome_service.routes.webp import QUALITY, TYPE, add_webp, webp_answer
from microtome_service.state import Service
from microtome_service.trial_parts import read_part
from microtome_service.versions import Version, cache_control, check_recording_version
from microtome_service.view import View


@dataclass(frozen=True, slots=True)
class PictureQuery:
    """How large a picture is."""

    size: Annotated[int, Query(ge=64, le=1024, description="Width in pixels.", examples=[480])] = (
        480
    )
    version: Version = None


async def get_picture(
    request: Request,
    path: RecordingPathDep,
    query: Annotated[PictureQuery, grouped(PictureQuery)],
    service: ServiceDep,
) -> Response:
    """Return a WebP of a recording: the middle frame of a trial's film, and its responses below.

    The trial is the first of which all is there. Of the responses the first neurons are drawn, a
    row each against its own largest value, time to the right; what a recording lacks is left out.
    """
    view = await service.view(request)
    recording = await view.recording(path.id)
    check_recording_version(recording, query.version)
    decoded = min(service.settings.max_thumbnail_bytes, service.limits.voxels)
    glance = choose_glance(recording, replace(service.limits, decoded=decoded))
    shown = [(str(part), part.start, part.stop, part.rows) for part in glance.parts]
    tag = entity_tag(__version__, "picture", query.size, recording.id, recording.version, shown)
    age = f"public, max-age={service.settings.tile_max_age}"
    headers = {
        "ETag": tag,
        "Cache-Control": cache_control(query.version, age),
        "X-Microtome-Version": recording.version,
    }

    async def make() -> bytes:
        return await _make(service, view, glance, query.size)

    return await webp_answer(request, service, headers, make)


async def _make(service: Service, view: View, glance: Glance, size: int) -> bytes:
    with await service.admit(view, sum(2 * part.cost.held for part in glance.parts)):
        film, raster = [
            None if part is None else await read_part(part, part.cost, service)
            for part in (glance.film, glance.raster)
        ]
        return await service.compute(_encode, film, raster, size)


def _encode(film: NDArray[Any] | None, raster: NDArray[Any] | None, size: int) -> bytes:
    return bytes(encode_image(draw(film, raster, size), TYPE, QUALITY))


def router() -> APIRouter:
    """Return the route of pictures of recordings."""
    routes = APIRouter(tags=["pictures"], route_class=LeanRoute)
    path = "/api/datasets/{collection}/{dataset}/{recording}/picture.webp"
    add_webp(routes, path, get_picture, "recording_picture", "Show a recording at a glance")
    return routes
