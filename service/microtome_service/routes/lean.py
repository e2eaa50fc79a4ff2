"""Routes that FastAPI describes but does not take apart parameter by parameter.

FastAPI's own way cost 0.2 ms a request with a dozen parameters, half as much as an empty route in
all; one pydantic validation of all of them takes microseconds.
"""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from fastapi import Request, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import Response

from microtome_core.errors import InputError
from microtome_service.state import get_service

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class LeanRoute(APIRoute):
    """Calls an endpoint of ``request``, ``service`` and dataclasses of path or query parameters.

    The dataclasses stand in the signature as for any route of FastAPI, so that OpenAPI describes
    each field; a misspelt query parameter is refused instead of being answered with something that
    was not asked for.
    """

    def get_route_handler(self) -> Handler:
        """Return what answers a request; FastAPI calls this once."""
        endpoint = self.endpoint
        hints = get_type_hints(endpoint)
        names = [
            name for name in inspect.signature(endpoint).parameters if is_dataclass(hints[name])
        ]
        groups = {name: _Group.of(hints[name]) for name in names}

        async def handle(request: Request) -> Response:
            arguments = {name: group.parse(request) for name, group in groups.items()}
            service = await get_service(request)
            response: Response = await endpoint(request=request, service=service, **arguments)
            return response

        return handle


@dataclass(frozen=True, slots=True)
class _Group:
    """One dataclass of parameters."""

    adapter: TypeAdapter[Any]
    where: str
    known: tuple[str, ...]
    repeated: tuple[str, ...]

    @classmethod
    def of(cls, group: type) -> "_Group":
        hints = get_type_hints(group, include_extras=True)
        known = tuple(f.name for f in fields(group))
        in_path = any(isinstance(m, params.Path) for m in hints[known[0]].__metadata__)
        many = tuple(name for name in known if get_origin(hints[name].__origin__) is tuple)
        return cls(TypeAdapter(group), "path" if in_path else "query", known, many)

    def parse(self, request: Request) -> Any:  # noqa: ANN401 - an instance of the dataclass
        values = self._values(request)
        try:
            return self.adapter.validate_python(values)
        except ValidationError as error:
            told = [{**each, "loc": (self.where, *each["loc"])} for each in error.errors()]
            raise RequestValidationError(told) from error

    def _values(self, request: Request) -> dict[str, Any]:
        if self.where == "path":
            return {name: request.path_params[name] for name in self.known}
        return self._query(request.query_params)

    def _query(self, query: QueryParams) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in query.multi_items():
            if name not in self.known:
                expected = ", ".join(self.known)
                raise InputError(f"query parameter {name[:40]!r} is unknown: expected {expected}")
            if name in self.repeated:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise InputError(f"query parameter {name!r} is given more than once")
            else:
                values[name] = value
        return values
