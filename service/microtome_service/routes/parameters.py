"""What several routes have in common: the address of a layer, and strictness about queries."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from microtome_core.axes import ORDER
from microtome_core.errors import InputError
from microtome_core.names import NAME_PATTERN, DatasetId, LayerId
from microtome_service.state import Service, get_service

ServiceDep = Annotated[Service, Depends(get_service)]
Handler = Callable[..., Any]
CollectionName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Name of a collection.", examples=["demo"])
]
DatasetName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Name of a dataset.", examples=["brainbow"])
]


def grouped(group: type) -> Any:  # noqa: ANN401 - a FastAPI marker
    """Return a dependency that makes a dataclass of a request's parameters.

    FastAPI calls a class, like any plain function, in a thread: 0.3 ms of waiting for each group.
    """

    async def make(*args: Any, **values: Any) -> Any:  # noqa: ANN401 - an instance of `group`
        return group(*args, **values)

    # FastAPI reads the parameters off the signature.
    make.__signature__ = inspect.signature(group)  # type: ignore[attr-defined]
    return Depends(make)


@dataclass(frozen=True, slots=True)
class CollectionPath:
    """``collection`` in a path."""

    collection: CollectionName


@dataclass(frozen=True, slots=True)
class DatasetPath:
    """``collection/dataset`` in a path."""

    collection: CollectionName
    dataset: DatasetName

    @property
    def id(self) -> DatasetId:
        """The address."""
        return DatasetId(self.collection, self.dataset)


@dataclass(frozen=True, slots=True)
class LayerPath:
    """``collection/dataset/layer`` in a path."""

    collection: CollectionName
    dataset: DatasetName
    layer: Annotated[
        str, Path(pattern=NAME_PATTERN, description="Name of a layer.", examples=["brain"])
    ]

    @property
    def id(self) -> LayerId:
        """The address."""
        return LayerId(self.collection, self.dataset, self.layer)


CollectionPathDep = Annotated[CollectionPath, grouped(CollectionPath)]
DatasetPathDep = Annotated[DatasetPath, grouped(DatasetPath)]
LayerPathDep = Annotated[LayerPath, grouped(LayerPath)]


# Words of any other form are answered with 400 by `Selection`, which knows the valid range.
_FORM: dict[str, Any] = {"pattern": r"^(\d{0,18}:\d{0,18}|\d{1,18})$"}


def range_text(what: str, one: str = "") -> str:
    """Say how the range of an axis is written, and what `one` index means."""
    return f"{what}: half-open range `start:stop`, or one index{one}; all of it by default"


def range_query(what: str, example: str, one: str = "") -> Any:  # noqa: ANN401 - a FastAPI marker
    """Return the query parameter of an axis' range."""
    text = f"{range_text(what, one)}."
    return Query(description=text, examples=[example], json_schema_extra=_FORM)


def axis_words(query: object) -> dict[str, str]:
    """Return what a query says of each axis; what it does not name is left out."""
    given = {axis: getattr(query, axis) for axis in ORDER}
    return {axis: word for axis, word in given.items() if word is not None}


def only(query: type | None = None, repeated: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - a FastAPI marker
    """Return a dependency that refuses query parameters which are none of `query`'s fields.

    Those of `repeated` are known, too, and may be given many times.

    A misspelt parameter would else be answered with something that was not asked for.
    """
    known = [f.name for f in fields(query)] if query else []

    async def check(request: Request) -> None:
        names = [name for name, _ in request.query_params.multi_items()]
        for name in names:
            if name in repeated:
                continue
            if name not in known:
                expected = ", ".join(known) or "none"
                raise InputError(f"query parameter {name[:40]!r} is unknown: expected {expected}")
            if names.count(name) > 1:
                raise InputError(f"query parameter {name!r} is given {names.count(name)} times")

    return Depends(check)


class _Head:
    """Answers HEAD as a route answers GET, without a second description of the same parameters."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._route
        await self._route.app(scope, receive, send)


def add(router: APIRouter, path: str, handler: Handler, **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
    """Route GET and HEAD to `handler`; HEAD is not described apart."""
    router.add_api_route(path, handler, methods=["GET"], **options)
    got = router.routes[-1]
    assert isinstance(got, Route)
    router.routes.append(Route(path, _Head(got), methods=["HEAD"], include_in_schema=False))
