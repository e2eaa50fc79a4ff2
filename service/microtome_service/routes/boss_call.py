"""What every route of the BossDB API needs of a request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import InputError
from microtome_core.names import DatasetId
from microtome_service.bossdb.records import Records
from microtome_service.bossdb.resources import Resources
from microtome_service.state import Service, get_service
from microtome_service.view import View


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Parameters
    ----------
    request : Request
    service : Service
    view : View
        As whoever asks may see the store.
    """

    request: Request
    service: Service
    view: View

    @property
    def records(self) -> Records:
        """What was written down of resources."""
        return Records(self.service.store)

    @property
    def resources(self) -> Resources:
        """The store in BossDB's words."""
        return Resources(self.view, self.records)

    @property
    def words(self) -> dict[str, str]:
        """The words of the path."""
        return self.request.path_params

    def query(self, *known: str) -> dict[str, str]:
        """Return the query's parameters.

        Raises
        ------
        InputError
            One that is none of `known`, or is given twice.
        """
        found: dict[str, str] = {}
        for name, value in self.request.query_params.multi_items():
            if name not in known:
                expected = ", ".join(known) or "none"
                raise InputError(f"query parameter {name[:40]!r} is unknown: expected {expected}")
            if name in found:
                raise InputError(f"query parameter {name!r} is given more than once")
            found[name] = value
        return found

    def is_public(self, dataset: DatasetId) -> bool:
        """Tell whether anyone may read a dataset."""
        return self.view.rules.is_public(dataset)


Handler = Callable[[Call], Awaitable[Response]]


def route(path: str, handler: Handler, *methods: str) -> Route:
    """Return a route; GET has HEAD with it."""

    async def handle(request: Request) -> Response:
        service = await get_service(request)
        return await handler(Call(request, service, await service.view(request)))

    return Route(path, handle, methods=list(methods) or ["GET"])
