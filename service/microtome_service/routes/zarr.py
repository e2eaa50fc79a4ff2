"""The store itself: its metadata, and its shards as they lie in storage, whole or by ranges."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex

from fastapi import APIRouter, Request
from starlette.responses import Response

from microtome_core.errors import NotFound, StorageError
from microtome_core.store.listing import Stat
from microtome_service.negotiate import entity_tag
from microtome_service.objects import Held, Opened
from microtome_service.ranges import Span, Validators, in_range, not_modified, parse_ranges
from microtome_service.recording_files import RecordingObject
from microtome_service.sending import StreamedResponse, started
from microtome_service.shards import open_shard, reading
from microtome_service.state import Service, get_service
from microtome_service.stored import Document, Shard
from microtome_service.versions import cache_control, check_version
from microtome_service.view import View

Found = Document | Shard | RecordingObject
_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class _Message:
    """What an answer says, but for its bytes."""

    status: int
    headers: dict[str, str]
    media_type: str
    sections: Sequence[Span | bytes]

    @property
    def length(self) -> int:
        return sum(map(len, self.sections))


async def get_object(request: Request) -> Response:
    """Answer with what lies at a key below the root."""
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": ", ".join(_METHODS)})
    service = await get_service(request)
    view = await service.view(request)
    found = await service.hierarchy.find(view, request.path_params["key"])
    opened = await _open(service, found)
    try:
        message = _message(request, opened, found)
        if request.method == "HEAD" or message.status == 304:
            opened.close()
            return _bodiless(message)
        with reading(found):
            return await _response(service, view, opened, message)
    except BaseException:
        opened.close()
        raise


async def _open(service: Service, found: Found) -> Opened:
    if isinstance(found, Document):
        tag = sha256(found.body).hexdigest()
        return Held(found.body, Stat(len(found.body), tag, None))
    if isinstance(found, RecordingObject):
        with reading(found):
            stored = await service.objects.open(found.path)
            if stored is None:
                raise StorageError(f"{found.path}: lost")
        return stored
    opened = await open_shard(service.objects, found)
    if opened is None:
        raise NotFound(f"{found}: not stored, all its voxels are the fill value")
    try:
        # One that was cut short has lost its index, or chunks that this names.
        await service.indexes.places(found, opened)
    except BaseException:
        opened.close()
        raise
    return opened


def _message(request: Request, opened: Opened, found: Found) -> _Message:
    stat = opened.stat
    validators = Validators(entity_tag(stat.tag, stat.size), stat.modified)
    version = request.query_params.get("version") if isinstance(found, Shard) else None
    if isinstance(found, Shard):
        check_version(found.layer.info, version)
        # What may be written at any moment is never kept for ever.
        version = None if found.layer.info.writable else version
    kept = cache_control(version, "no-cache")
    headers = {"Cache-Control": kept, "Accept-Ranges": "bytes", **validators.headers}
    media_type = found.media_type if isinstance(found, Document) else "application/octet-stream"
    if not_modified(request.headers, validators):
        return _Message(304, headers, "", ())
    whole = _Message(200, headers, media_type, (Span(0, stat.size),))
    # Ranges are of GET alone (RFC 9110, section 14.2).
    if request.method == "HEAD" or not in_range(request.headers, validators):
        return whole
    spans = parse_ranges(request.headers.get("range"), stat.size)
    return whole if spans is None else _partial(whole, spans, stat.size)


def _partial(whole: _Message, spans: Sequence[Span], size: int) -> _Message:
    if len(spans) == 1:
        headers = {**whole.headers, "Content-Range": spans[0].content_range(size)}
        return _Message(206, headers, whole.media_type, spans)
    boundary = token_hex(16)
    sections: list[Span | bytes] = []
    for span in spans:
        words = f"Content-Type: {whole.media_type}\r\nContent-Range: {span.content_range(size)}"
        sections += [f"\r\n--{boundary}\r\n{words}\r\n\r\n".encode(), span]
    sections.append(f"\r\n--{boundary}--\r\n".encode())
    return _Message(206, whole.headers, f"multipart/byteranges; boundary={boundary}", sections)


async def _response(service: Service, view: View, opened: Opened, message: _Message) -> Response:
    lease = await service.admit(view, service.objects.held(opened, message.length))

    def done() -> None:
        opened.close()
        lease.release()

    try:
        pieces = await started(service.objects.parts(opened, message.sections))
    except BaseException:
        lease.release()
        raise
    return StreamedResponse(
        pieces, message.length, message.status, message.headers, message.media_type, done
    )


def _bodiless(message: _Message) -> Response:
    response = Response(status_code=message.status, headers=message.headers)
    if message.status == 200:
        response.headers["Content-Type"] = message.media_type
        response.headers["Content-Length"] = str(message.length)
    return response


def router() -> APIRouter:
    """Return the route of the store; OpenAPI has no words for a path of any depth."""
    routes = APIRouter()
    routes.add_route(
        "/zarr/{key:path}", get_object, methods=list(_METHODS), include_in_schema=False
    )
    return routes
