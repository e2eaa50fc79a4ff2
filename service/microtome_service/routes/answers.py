"""What answers of small things have in common: ETag, 304, HEAD."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_service.negotiate import entity_tag, unchanged

BINARY = "application/octet-stream"
JSON = "application/json"


def check_query(request: Request) -> None:
    """Refuse any query parameter.

    Raises
    ------
    InputError
        There is one: it would else be answered with something that was not asked for.
    """
    if request.query_params:
        name = next(iter(request.query_params))
        raise InputError(f"query parameter {name[:40]!r} is unknown: expected none")


def fresh(*parts: object) -> dict[str, str]:
    """Return the headers of an answer that depends on `parts`: kept, but asked for again."""
    return {"ETag": entity_tag(__version__, *parts), "Cache-Control": "public, no-cache"}


def json_answer(
    request: Request, document: Mapping[str, Any], headers: Mapping[str, str]
) -> Response:
    """Return a document, or 304 where the caller has it."""
    return answer(request, to_json(document), headers, JSON)


def answer(
    request: Request, body: bytes, headers: Mapping[str, str], media_type: str = BINARY
) -> Response:
    """Return a body, or 304 where the caller has it."""
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return head_answer(len(body), headers, media_type)
    return Response(body, headers=headers, media_type=media_type)


def head_answer(length: int | None, headers: Mapping[str, str], media_type: str) -> Response:
    """Return the answer to HEAD; a length that only the body would tell is left out."""
    response = Response(headers=headers, media_type=media_type)
    del response.headers["content-length"]
    if length is not None:
        response.headers["content-length"] = str(length)
    return response


def documented(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers that go well."""
    schemas = {JSON: {"schema": {"type": "object"}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {media_type: schemas.get(media_type, binary) for media_type in media_types}
    return {
        200: {"description": "As Neuroglancer's format has it.", "content": content},
        304: {"description": "The caller has it already."},
    }
