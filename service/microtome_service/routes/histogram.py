"""How often values occur in a layer."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic_core import to_json
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.appearance import default_appearance
from microtome_service.histogram import Histogram, draw, histogram
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.problems import responses
from microtome_service.reader import check_cost, decoded_bytes, find_level, read
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.live import live_headers
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, add, grouped
from microtome_service.state import Service
from microtome_service.thumbnail import View as Shown
from microtome_service.thumbnail import choose_view, view_region
from microtome_service.view import View

_TYPES = {"json": "application/json", "svg": "image/svg+xml"}
# Of the level that is counted unasked: enough voxels for a smooth curve.
_SIZE = 256


@dataclass(frozen=True, slots=True)
class HistogramPath:
    """In which form."""

    form: Annotated[
        Literal["json", "svg"], Path(description="Counts, or a drawing.", examples=["json"])
    ]


@dataclass(frozen=True, slots=True)
class HistogramQuery:
    """Of which level."""

    level: Annotated[
        int | None,
        Query(
            ge=0,
            le=63,
            description="Level of the pyramid; by default one that is cheap to read. Where the "
            "whole volume costs too much, its middle plane is counted.",
            examples=[0],
        ),
    ] = None


async def get_histogram(
    request: Request,
    path: LayerPathDep,
    form: Annotated[HistogramPath, grouped(HistogramPath)],
    query: Annotated[HistogramQuery, grouped(HistogramQuery)],
    service: ServiceDep,
) -> Response:
    """Return how often values occur in each channel of an image, at the middle time point.

    JSON is a list of objects: `channel`, `low`, `high`, and `counts` of 128 bins of equal width
    between them. The drawing has logarithmic counts. Labels have ids, not values: 400.
    """
    view = await service.view(request)
    layer = await view.layer(path.id)
    if layer.info.kind == "labels":
        raise InputError(f"{layer.info.id} holds ids of labels: these are not counted by value")
    level, regions = _regions(service, layer.info, query.level)
    which = (layer.info.id, layer.info.version, *regions)
    headers = {
        "ETag": entity_tag(__version__, "histogram", form.form, level, *which),
        "Cache-Control": f"public, max-age={service.settings.tile_max_age}",
        "X-Microtome-Version": layer.info.version,
    }
    headers |= await live_headers(service, layer, level, regions, headers["ETag"])
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        response = Response(headers=headers, media_type=_TYPES[form.form])
        del response.headers["content-length"]
        return response

    async def make() -> bytes:
        found = [await _count(service, view, layer, level, each) for each in enumerate(regions)]
        return draw(found, layer.info.channels).encode() if form.form == "svg" else to_json(found)

    body = await service.pictures.get(headers["ETag"], make)
    return Response(body, headers=headers, media_type=_TYPES[form.form])


def _regions(service: Service, info: LayerInfo, level: int | None) -> tuple[int, list[Region]]:
    channels = default_appearance(info).channels
    shown = choose_view(info, _SIZE, 1, service.limits)
    if level is not None:
        find_level(info, level)
        extents = dict(zip(info.axes, info.levels[level].shape, strict=True))
        shown = Shown(level, {axis: (0, extents[axis]) for axis in info.axes if axis in "zyx"})
    regions = [view_region(info, shown, channel) for channel in channels]
    check_cost(info, shown.level, regions[:1], service.limits)
    return shown.level, regions


async def _count(
    service: Service, view: View, layer: Layer, level: int, each: tuple[int, Region]
) -> Histogram:
    channel, region = each
    with await service.admit(view, 2 * decoded_bytes(layer.info, level, region)):
        block = await read(layer, level, region, service.limits.seconds)
        return await service.compute(histogram, block, channel)


def router() -> APIRouter:
    """Return the route of histograms."""
    routes = APIRouter(tags=["pictures"], route_class=LeanRoute)
    add(
        routes,
        "/api/datasets/{collection}/{dataset}/{layer}/histogram.{form}",
        get_histogram,
        name="histogram",
        summary="Count the values of a layer",
        response_class=Response,
        responses={
            200: {
                "description": "Counts.",
                "content": {
                    _TYPES["json"]: {"schema": {"type": "array", "items": {"type": "object"}}},
                    _TYPES["svg"]: {"schema": {"type": "string"}},
                },
            },
            304: {"description": "The caller has it already."},
            **responses(400, 404, 413, 422, 429, 503),
        },
    )
    return routes
