"""Many trials of a recording in one answer, for those who train on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from microtome_core.bundle import ALIGNED, MEDIA_TYPE, data_bytes, pack_header
from microtome_core.store.recording import Recording
from microtome_service.encode import Parts, flat
from microtome_service.problems import responses
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import ServiceDep, grouped
from microtome_service.routes.recordings import RECORDING, RecordingPathDep
from microtome_service.state import Service
from microtome_service.streaming import Loader, StreamResponse, check_answer
from microtome_service.together import together
from microtome_service.trial_batch import ASKED, Group, choose_parts, group_parts, parse
from microtome_service.trial_parts import read_part
from microtome_service.upload import check_length, read_body
from microtome_service.versions import Version, check_recording_version


@dataclass(frozen=True, slots=True)
class TrialBatchQuery:
    """Of which version."""

    version: Version = None


async def post_trials(
    request: Request,
    path: RecordingPathDep,
    query: Annotated[TrialBatchQuery, grouped(TrialBatchQuery)],
    service: ServiceDep,
) -> Response:
    """Return variables of many trials, or windows of them, in the order of the list.

    The answer is a header of JSON, which says where each array lies, and the arrays; see the
    documentation of `microtome-trials/1`. What is withheld is named, and has no values.
    """
    view = await service.view(request)
    recording = await view.recording(path.id)
    check_recording_version(recording, query.version)
    most = service.settings.max_body_bytes
    check_length(request, most, "a list of trials: list fewer at a time")
    body = bytes(await read_body(request, most, service.settings.stalled_seconds))
    # Of thousands of trials this takes a second, during which others are to be answered.
    prefix, nbytes, groups = await service.compute(_plan, service, recording, body)
    headers = {
        "Cache-Control": "no-store",
        "X-Microtome-Version": recording.version,
        "X-Microtome-Cost-Bytes-Decoded": str(sum(group.decoded for group in groups)),
        "Content-Length": str(len(prefix) + nbytes),
    }
    lease = await service.admit(view, _held(groups) + len(prefix))
    try:
        loaders = _loaders(service, groups)
        load = next(loaders, None)
        first = await load() if load else ()
    except BaseException:
        lease.release()
        raise
    return StreamResponse((prefix, *first), loaders, MEDIA_TYPE, headers, lease)


def _plan(service: Service, recording: Recording, body: bytes) -> tuple[bytes, int, list[Group]]:
    """Return how an answer begins, the bytes that follow, and in which groups these are read."""
    chosen = choose_parts(recording, parse(body), service.settings.max_boxes)
    items = [item for item, _ in chosen]
    nbytes = data_bytes(items)
    check_answer(nbytes, service.limits)
    groups = group_parts((part for _, part in chosen if part), service.limits)
    about = {"recording": str(recording.id), "version": recording.version}
    return pack_header(about, items), nbytes, groups


def _held(groups: Sequence[Group]) -> int:
    """Return the bytes in memory at one time: a group that is sent, one that is read."""
    largest = max((group.nbytes for group in groups), default=0)
    copies = min(2 * largest, sum(group.nbytes for group in groups))
    return copies + max((group.transient for group in groups), default=0)


def _loaders(service: Service, groups: Sequence[Group]) -> Iterator[Loader]:
    for group in groups:

        async def load(group: Group = group) -> Parts:
            pairs = zip(group.parts, group.costs, strict=True)
            blocks = await together(read_part(*each, service) for each in pairs)
            bodies: list[bytes | memoryview] = []
            for part, block in zip(group.parts, blocks, strict=True):
                bodies += [flat(block), bytes(-part.nbytes % ALIGNED)]
            return tuple(bodies)

        yield load


def router() -> APIRouter:
    """Return the route of batches of trials."""
    routes = APIRouter(tags=["recordings"], route_class=LeanRoute)
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    body = {"required": True, "content": {"application/json": {"schema": ASKED.json_schema()}}}
    routes.add_api_route(
        f"{RECORDING}/trials/batch",
        post_trials,
        methods=["POST"],
        name="trial-batch",
        summary="Read many trials of a recording",
        response_class=Response,
        responses={
            200: {"description": "One array after another.", "content": {MEDIA_TYPE: binary}},
            **responses(400, 404, 408, 409, 413, 422, 429, 503),
        },
        openapi_extra={"requestBody": body},
    )
    return routes
