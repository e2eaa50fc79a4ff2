"""Any cutout of any layer."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import RegionError
from microtome_core.names import is_index
from microtome_core.selection import Selection
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.body import BodyResponse
from microtome_service.encode import (
    ALIASES,
    FORMATS,
    PLAIN,
    Parts,
    check_encodable,
    choose_media_type,
    describe,
    encode,
    length,
    npy_header,
)
from microtome_service.encoded import HEADER_BYTES, find_chunks
from microtome_service.exchange import span
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.nrrd import nrrd_header
from microtome_service.objects import SENDING_BYTES
from microtome_service.problems import responses
from microtome_service.reader import Cost, cost_of, find_level, read, refuse_beyond
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.live import live_headers
from microtome_service.routes.parameters import (
    LayerPathDep,
    ServiceDep,
    add,
    axis_words,
    grouped,
    range_query,
    range_text,
)
from microtome_service.sending import StreamedResponse, started
from microtome_service.state import Service
from microtome_service.streaming import (
    STREAMED,
    Encoder,
    Plan,
    fits_whole,
    plan_slabs,
    stream,
)
from microtome_service.versions import Version, cache_control, check_version
from microtome_service.view import View
from microtome_service.zip_plan import plan_zipped
from microtome_service.zipped import Zipped

_ONE = ", which drops the axis"
_CHANNELS: Any = Query(
    description=f"{range_text('Channels', _ONE)}; or the name of one.", examples=["0:2"]
)
# What is meant as a number or a range, whatever is wrong with it.
_NUMBERS = re.compile(r"[-+]?\d*(:[-+]?\d*){0,2}")
# Of an image of many channels.
_MOST_NAMES = 16


@dataclass(frozen=True, slots=True)
class CutoutQuery:
    """Which voxels, and in which form."""

    level: Annotated[
        int, Query(ge=0, le=63, description="Level of the pyramid; 0 is the finest.", examples=[0])
    ] = 0
    t: Annotated[str | None, range_query("Time points", "0", _ONE)] = None
    c: Annotated[str | None, _CHANNELS] = None
    z: Annotated[str | None, range_query("In voxels of the level", "10:74", _ONE)] = None
    y: Annotated[str | None, range_query("In voxels of the level", "0:512", _ONE)] = None
    x: Annotated[str | None, range_query("In voxels of the level", "0:512", _ONE)] = None
    format: Annotated[
        str | None,
        Query(
            description="Wins over the header Accept; npy if neither is given. `jpg` and `tif` are "
            "`jpeg` and `tiff`.",
            examples=["npy"],
            json_schema_extra={"enum": [*FORMATS, *ALIASES, None]},
        ),
    ] = None

    version: Version = None


def numbered(info: LayerInfo, words: Mapping[str, str]) -> dict[str, str]:
    """Return what was said of each axis, with the number of a channel in place of its name.

    A name of digits alone is a number where there is such a channel; of a name that is there twice
    the first is meant.

    Raises
    ------
    RegionError
        Neither a number nor a range, and no channel is called so.
    """
    names = [channel.name for channel in info.channels]
    word = words.get("c")
    if not word or "c" not in info.axes or is_index(word, len(names)):
        return dict(words)
    if word in names:
        return {**words, "c": str(names.index(word))}
    if _NUMBERS.fullmatch(word):
        return dict(words)
    known = ", ".join(map(repr, names[:_MOST_NAMES])) + (", …" if names[_MOST_NAMES:] else "")
    raise RegionError(
        f"c={word[:40]!r}: no channel is called so: expected a name of {known}, or such as "
        f"c=0:{len(names)} or c=0"
    )


async def get_cutout(
    request: Request,
    path: LayerPathDep,
    query: Annotated[CutoutQuery, grouped(CutoutQuery)],
    service: ServiceDep,
) -> Response:
    """Return the voxels of a region.

    Axes are in the order t c z y x, less those that are absent or given by one index; voxels are
    little-endian, in C order. The headers `X-Microtome-Shape`, `-Dtype`, `-Axes` and `-Version`
    say what the body holds. A HEAD request reads no voxel.
    """
    media_type = choose_media_type(query.format, request.headers.get("accept"))
    view = await service.view(request)
    layer = await view.layer(path.id)
    shape = find_level(layer.info, query.level).shape
    selection = Selection.parse(layer.info.axes, shape, numbered(layer.info, axis_words(query)))
    check_version(layer.info, query.version)
    check_encodable(selection.shape, layer.info.dtype, selection.axes, media_type)
    cost = _check_cost(service, layer.info, query.level, selection, media_type)
    headers = _headers(layer.info, query.level, selection, media_type, cost, query.version)
    headers |= await live_headers(service, layer, query.level, [selection.region], headers["ETag"])
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return _head(layer.info, selection, media_type, headers)
    if media_type == FORMATS["chunks"]:
        return await _chunks(service, view, layer, query.level, selection, headers, cost)
    return await _body(service, view, layer, query.level, selection, media_type, headers, cost)


async def _chunks(
    service: Service,
    view: View,
    layer: Layer,
    level: int,
    selection: Selection,
    headers: dict[str, str],
    cost: Cost,
) -> Response:
    """Answer with the stored chunks, undecoded."""
    lease = await service.admit(view, cost.chunks * HEADER_BYTES + SENDING_BYTES)
    try:
        found = await find_chunks(service, layer, level, selection, service.limits.voxels)
        pieces = await started(found.pieces(service.objects))
    except BaseException:
        lease.release()
        raise
    media_type = FORMATS["chunks"]
    return StreamedResponse(pieces, found.length, 200, headers, media_type, lease.release)


def _check_cost(
    service: Service, info: LayerInfo, level: int, selection: Selection, media_type: str
) -> Cost:
    cost = cost_of(info, level, [selection.region])
    if media_type in STREAMED and not fits_whole(cost.voxels, service.limits):
        _plan(service, info, level, selection, media_type)
        return cost
    refuse_beyond(cost, level, [selection.region], service.limits)
    return cost


def _headers(
    info: LayerInfo,
    level: int,
    selection: Selection,
    media_type: str,
    cost: Cost,
    version: str | None,
) -> dict[str, str]:
    request = (level, selection.region, selection.dropped, media_type)
    name = _file_name(info, level, selection, media_type)
    return {
        "ETag": entity_tag(__version__, info.id, info.version, *request),
        "Cache-Control": cache_control(version),
        "Vary": "Accept",
        "Content-Disposition": f'inline; filename="{name}"',
        "X-Microtome-Version": info.version,
        **cost.headers,
        **describe(selection.shape, info.dtype, selection.axes),
    }


def _file_name(info: LayerInfo, level: int, selection: Selection, media_type: str) -> str:
    """Return a name to save by: letters, digits and ``._-`` alone, as names of layers are."""
    ranges = zip(info.axes, selection.region.start, selection.region.stop, strict=True)
    words = [f"{axis}{start}-{stop}" for axis, start, stop in ranges]
    return f"{info.id.split('/')[-1]}-{level}-{'_'.join(words)}.{_EXTENSIONS[media_type]}"


def _head(
    info: LayerInfo, selection: Selection, media_type: str, headers: dict[str, str]
) -> Response:
    known = length(selection.shape, info.dtype, media_type)
    response = Response(headers=headers, media_type=media_type)
    del response.headers["content-length"]
    if known is not None:
        response.headers["content-length"] = str(known)
    return response


async def _body(
    service: Service,
    view: View,
    layer: Layer,
    level: int,
    selection: Selection,
    media_type: str,
    headers: dict[str, str],
    cost: Cost,
) -> Response:
    if media_type in STREAMED and not fits_whole(cost.voxels, service.limits):
        plan, encoder, head = _plan(service, layer.info, level, selection, media_type)
        prefix = await service.compute(head)
        return await stream(service, view, layer, level, plan, media_type, headers, prefix, encoder)
    # Chunks while it is read, and then what it is encoded to.
    held = cost.held if media_type in PLAIN else cost.held + cost.voxels
    lease = await service.admit(view, held)
    try:
        parts = await _parts(service, layer, level, selection, media_type)
    except BaseException:
        lease.release()
        raise
    return BodyResponse(parts, media_type, headers, lease)


def _plan(
    service: Service, info: LayerInfo, level: int, selection: Selection, media_type: str
) -> tuple[Plan, Encoder | None, Callable[[], bytes]]:
    """Return how an answer is sent in parts, and what gives its first bytes; raises TooLarge."""
    shape, dtype, axes = selection.shape, info.dtype, selection.axes
    if media_type == FORMATS["zarr"]:
        zipped = Zipped(shape, axes, dtype, _metadata(info, level, selection))
        return *plan_zipped(info, level, selection, zipped, service.limits), zipped.begin
    heads: Mapping[str, Callable[[], bytes]] = {
        FORMATS["npy"]: lambda: npy_header(shape, dtype),
        FORMATS["nrrd"]: lambda: nrrd_header(shape, dtype, axes, _metadata(info, level, selection)),
    }
    plan = plan_slabs(info, level, selection.region, service.limits)
    return plan, None, heads.get(media_type, bytes)


async def _parts(
    service: Service, layer: Layer, level: int, selection: Selection, media_type: str
) -> Parts:
    block = await read(layer, level, selection.region, service.limits.seconds)
    block = block.reshape(selection.shape)
    if media_type in PLAIN:
        return encode(block, selection.axes, media_type, {})
    metadata = _metadata(layer.info, level, selection)
    with span("encode"):
        return await service.compute(encode, block, selection.axes, media_type, metadata)


def _metadata(info: LayerInfo, level: int, selection: Selection) -> dict[str, Any]:
    region = selection.region
    described = info.levels[level]
    where = dict(zip(info.axes, region.slices, strict=True))
    looks = info.channels[where["c"]] if "c" in where else info.channels
    name = f"{info.id} level {level} {region}"
    return {
        "name": name,
        "uuid": str(uuid5(NAMESPACE_URL, f"{info.version} {name} {selection.dropped}")),
        "kind": info.kind,
        "scale": dict(zip(info.axes, described.scale, strict=True)),
        "origin": {
            axis: place + start * step
            for axis, place, start, step in zip(
                info.axes, described.translation, region.start, described.scale, strict=True
            )
        },
        "unit": dict(zip(info.axes, info.units, strict=True)),
        "looks": looks,
        "channels": [channel.name for channel in looks],
    }


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_EXTENSIONS = {
    **{media_type: name for name, media_type in FORMATS.items()},
    FORMATS["zstd"]: "zst",
    FORMATS["jpeg"]: "jpg",
    FORMATS["tiff"]: "ome.tif",
    FORMATS["zarr"]: "ome.zarr.zip",
}
_HEADERS = {
    "X-Microtome-Shape": {"description": "Extents, for example `64,512,512`."},
    "X-Microtome-Dtype": {"description": "NumPy's name of the dtype, for example `uint16`."},
    "X-Microtome-Axes": {"description": "One letter an axis, for example `zyx`."},
    "X-Microtome-Version": {"description": "Version of the layer."},
    "Content-Disposition": {"description": "A name to save by: layer, level and region."},
    "X-Microtome-Cost-Bytes-Decoded": {"description": "Bytes of all chunks that hold a voxel."},
    "X-Microtome-Cost-Chunks": {"description": "Number of those chunks."},
    "ETag": {"description": "Strong: of version, region and format."},
}


def router() -> APIRouter:
    """Return the route of cutouts."""
    routes = APIRouter(tags=["voxels"], route_class=LeanRoute)
    text = {"schema": {"type": "string"}}
    ok = {
        "description": "The voxels.",
        "content": dict.fromkeys(FORMATS.values(), _BINARY),
        "headers": {name: {**header, **text} for name, header in _HEADERS.items()},
    }
    add(
        routes,
        "/api/datasets/{collection}/{dataset}/{layer}/cutout",
        get_cutout,
        name="cutout",
        summary="Cut a region out of a layer",
        response_class=Response,
        responses={
            200: ok,
            304: {"description": "The caller has it already."},
            **responses(400, 404, 406, 409, 413, 422, 429, 503),
        },
    )
    return routes
