"""What every route of the BossDB API needs of a request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import InputError
from microtome_core.names import DatasetId, LayerId, check_name
from microtome_service.auth.roles import Role
from microtome_service.bossdb.records import Records
from microtome_service.bossdb.resources import Resources
from microtome_service.errors import Forbidden, Unauthenticated
from microtome_service.state import Service, get_service
from microtome_service.upload import check_length, read_body
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
        return Records(self.service.store, self.service.objects.run)

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

    async def body(self, most: int, expected: str) -> bytes:
        """Return the request's body; raises as `check_length` and `read_body`."""
        check_length(self.request, most, expected)
        seconds = self.service.settings.stalled_seconds
        return bytes(await read_body(self.request, most, seconds))

    async def check_may_write(self, layer: LayerId) -> None:
        """Raise as `View.check_may_write`, unless everybody may write."""
        if not self.service.settings.anonymous_writes:
            await self.view.check_may_write(layer)

    async def check_may_create(self, dataset: DatasetId) -> None:
        """Raise as `View.check_may_create`, unless everybody may write."""
        if not self.service.settings.anonymous_writes:
            await self.view.check_may_create(dataset)

    async def check_may_create_in(self, collection: str) -> None:
        """Raise as `View.check_may_create_in`, unless everybody may write."""
        if not self.service.settings.anonymous_writes:
            await self.view.check_may_create_in(check_name(collection))

    async def check_may_administer(self, dataset: DatasetId) -> None:
        """Raise as `View.check_may_administer`, unless everybody may write."""
        if not self.service.settings.anonymous_writes:
            await self.view.check_may_administer(dataset)

    def check_may_write_somewhere(self) -> None:
        """Return if the caller may write anything at all, or everybody may.

        Raises
        ------
        Unauthenticated, Forbidden
        """
        principal = self.view.principal
        if self.service.settings.anonymous_writes:
            return
        if principal.anonymous:
            raise Unauthenticated("this needs a key or a sign-in: send Authorization: Token …")
        if self.view.rules.highest(principal) < Role.WRITER:
            raise Forbidden(f"{principal.name} may write nothing here")


Handler = Callable[[Call], Awaitable[Response]]


def route(path: str, handler: Handler, *methods: str) -> Route:
    """Return a route; GET has HEAD with it."""

    async def handle(request: Request) -> Response:
        service = await get_service(request)
        return await handler(Call(request, service, await service.view(request)))

    return Route(path, handle, methods=list(methods) or ["GET"])
