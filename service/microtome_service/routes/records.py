"""The record of a layer: what is known beyond its voxels, read and changed, and its JSON Schema."""

import json
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic_core import to_json
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.store.record_text import given_schema, parse_json, record_schema
from microtome_core.store.recording import Recording
from microtome_service.audit import facts
from microtome_service.errors import Unsupported
from microtome_service.negotiate import entity_tag, unchanged
from microtome_service.problems import responses
from microtome_service.routes.parameters import LayerPathDep, ServiceDep, add, only
from microtome_service.upload import check_length, read_body

MERGE_PATCH = "application/merge-patch+json"
_READ = (MERGE_PATCH, "application/json")
_MOST_BYTES = 256 << 10
_FRESH = {"Cache-Control": "no-cache"}
_TAG = re.compile(r'"([^"]*)"')


async def get_record(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Return the NWB-style record of a layer or recording; empty where other software wrote it.

    Its ETag is the layer's `record_version`: a change under `If-Match` is held to it.
    """
    entry = await (await service.view(request)).entry(path.id)
    if isinstance(entry, Recording):
        version, values, record = entry.record_version, entry.version, dict(entry.record)
    else:
        version, values = entry.info.record_version, entry.info.version
        record = entry.info.attrs
    headers = {**_FRESH, "ETag": f'"{version}"', "X-Microtome-Version": values}
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(to_json(record), headers=headers, media_type="application/json")


async def patch_record(request: Request, path: LayerPathDep, service: ServiceDep) -> Response:
    """Change the record of a layer or recording; its values and their version stay.

    The body is a merge patch (RFC 7396): what is given replaces what is there, null removes it.
    `channels` alone are found by their names. What cannot be is refused, every fault with its
    field. Who changed what and when is noted beside the layer.
    """
    view = await service.view(request)
    await view.entry(path.id)
    if not service.settings.anonymous_writes:
        await view.check_may_write(path.id)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _READ:
        raise Unsupported(f"a body of type {kind[:80]!r}: expected {MERGE_PATCH}")
    check_length(request, _MOST_BYTES, "a record")
    body = await read_body(request, _MOST_BYTES, service.settings.stalled_seconds)
    change = await service.writes.change_record(
        service.store,
        path.id,
        parse_json(body),
        {**facts(request, view.principal), "tool": "PATCH"},
        _versions(request.headers.get("if-match")),
    )
    service.catalog.forget()
    service.index.forget()
    told = {"record_version": change.version, "changes": change.changes}
    headers = {**_FRESH, "ETag": f'"{change.version}"'}
    return Response(to_json(told), headers=headers, media_type="application/json")


def _versions(if_match: str | None) -> list[str] | None:
    if if_match is None or if_match.strip() == "*":
        return None
    tags = _TAG.findall(if_match)
    if not tags:
        raise InputError(f"If-Match {if_match[:80]!r}: expected the ETag of the record")
    return tags


class _Schema:
    """A document that is the same for all callers."""

    def __init__(self, document: dict[str, Any], name: str) -> None:
        self.body = json.dumps({**document, "$id": name}, indent=1).encode()
        self.tag = entity_tag(__version__, name, self.body)


def _add_schemas(routes: APIRouter) -> None:
    schemas = {
        "record": _Schema(record_schema(), "/api/schema/record.json"),
        "metadata": _Schema(given_schema(), "/api/schema/metadata.json"),
    }

    async def get_schema(
        request: Request,
        service: ServiceDep,
        schema: Annotated[
            Literal["record", "metadata"],
            Path(
                description="`record`: as it is stored; `metadata`: what may be given of a layer.",
                examples=["record"],
            ),
        ],
    ) -> Response:
        """Return the JSON Schema of a record, or of what may be given of one."""
        await service.view(request)
        found = schemas[schema]
        headers = {"Cache-Control": "max-age=3600", "ETag": found.tag}
        if unchanged(request.headers.get("if-none-match"), found.tag):
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers=headers, media_type="application/schema+json")

    add(
        routes,
        "/api/schema/{schema}.json",
        get_schema,
        name="schema",
        summary="The JSON Schema of a record",
        dependencies=[only()],
        response_class=Response,
        responses={
            200: {
                "description": "JSON Schema, draft 2020-12.",
                "content": {"application/schema+json": {"schema": {"type": "object"}}},
            },
            **responses(400, 401, 404, 422),
        },
    )


def router() -> APIRouter:
    """Return the routes of records."""
    routes = APIRouter(tags=["metadata"])
    address = "/api/datasets/{collection}/{dataset}/{layer}/record"
    json_of: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    add(
        routes,
        address,
        get_record,
        name="record",
        summary="The record of a layer",
        dependencies=[only()],
        response_class=Response,
        responses={
            200: {"description": "The record.", "content": json_of},
            **responses(400, 404, 422, 503),
        },
    )
    body = {"required": True, "content": {kind: {"schema": {"type": "object"}} for kind in _READ}}
    routes.add_api_route(
        address,
        patch_record,
        methods=["PATCH"],
        name="patch-record",
        summary="Change the record of a layer",
        dependencies=[only()],
        response_class=Response,
        openapi_extra={"requestBody": body},
        responses={
            200: {"description": "The record's version, and what has changed: old and new.",
                  "content": json_of},
            **responses(400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 503),
        },
    )  # fmt: skip
    _add_schemas(routes)
    return routes
