"""SWC files of a dataset as Neuroglancer's skeletons and annotations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from microtome_core.errors import NotFound
from microtome_core.names import NAME_PATTERN, LayerId
from microtome_service.body import BodyResponse
from microtome_service.catalog import Skeleton
from microtome_service.negotiate import unchanged
from microtome_service.precomputed.annotations import (
    Kind,
    annotations_info,
    encode_all,
    encode_one,
)
from microtome_service.precomputed.skeletons import (
    SEGMENT,
    encode_skeleton,
    nanometers,
    skeleton_info,
    skeleton_properties,
)
from microtome_service.problems import responses
from microtome_service.routes.answers import (
    BINARY,
    JSON,
    answer,
    check_query,
    documented,
    fresh,
    head_answer,
    json_answer,
)
from microtome_service.routes.lean import LeanRoute
from microtome_service.routes.parameters import (
    CollectionName,
    DatasetName,
    ServiceDep,
    add,
    grouped,
)
from microtome_service.state import Service
from microtome_service.view import View

_ANNOTATION = "/precomputed/{collection}/{dataset}/annotations/{name}"
# Of a node in what is sent: ids, and two ends with their properties at most.
_NODE_BYTES = 64


@dataclass(frozen=True, slots=True)
class AnnotationPath:
    """An annotation of a dataset."""

    collection: CollectionName
    dataset: DatasetName
    name: Annotated[
        str, Path(pattern=NAME_PATTERN, description="Name of an annotation.", examples=["cell-7"])
    ]

    @property
    def id(self) -> LayerId:
        """The address."""
        return LayerId(self.collection, self.dataset, self.name)


@dataclass(frozen=True, slots=True)
class KindPath:
    """Nodes or what joins them."""

    kind: Annotated[
        Kind, Path(description="Nodes, or lines from nodes to their parents.", examples=["points"])
    ]


@dataclass(frozen=True, slots=True)
class SegmentPath:
    """A skeleton of the source."""

    segment: Annotated[str, Path(description="Always 1.", examples=["1"])]


@dataclass(frozen=True, slots=True)
class NumberPath:
    """An annotation by its id."""

    number: Annotated[str, Path(description="Number of the node.", examples=["1"])]


AnnotationDep = Annotated[AnnotationPath, grouped(AnnotationPath)]
KindDep = Annotated[KindPath, grouped(KindPath)]


async def get_skeleton_info(request: Request, path: AnnotationDep, service: ServiceDep) -> Response:
    """Describe an SWC file as a source of one skeleton, of the number 1."""
    _, found = await _found(request, service, path)
    headers = fresh(path.id, found.info.sha256, "skeletons")
    info = await service.compute(skeleton_info, found.nodes)
    return json_answer(request, info, headers)


async def get_skeleton_properties(
    request: Request, path: AnnotationDep, service: ServiceDep
) -> Response:
    """Name the one skeleton."""
    _, found = await _found(request, service, path)
    headers = fresh(path.id, found.info.sha256, "skeleton_properties")
    return json_answer(request, skeleton_properties(path.name), headers)


async def get_skeleton(
    request: Request,
    path: AnnotationDep,
    segment: Annotated[SegmentPath, grouped(SegmentPath)],
    service: ServiceDep,
) -> Response:
    """Return the skeleton: vertices and radii in nm, edges, types."""
    view, found = await _found(request, service, path)
    if segment.segment != str(SEGMENT):
        raise NotFound(f"no skeleton {segment.segment[:40]!r}: valid is {SEGMENT}")
    factor = nanometers(found.info)
    headers = fresh(path.id, found.info.sha256, factor, "skeleton")
    return await _encoded(
        request, service, (view, found), headers, lambda: encode_skeleton(found.nodes, factor)
    )


async def get_annotations_info(
    request: Request, path: AnnotationDep, kind: KindDep, service: ServiceDep
) -> Response:
    """Describe the nodes of an SWC file, or the lines between them, as annotations."""
    _, found = await _found(request, service, path)
    headers = fresh(path.id, found.info.sha256, nanometers(found.info), kind.kind)
    info = await service.compute(annotations_info, found.nodes, found.info, kind.kind)
    return json_answer(request, info, headers)


async def get_annotations(
    request: Request, path: AnnotationDep, kind: KindDep, service: ServiceDep
) -> Response:
    """Return all nodes or lines: the one cell of the one level of the spatial index."""
    view, found = await _found(request, service, path)
    headers = fresh(path.id, found.info.sha256, kind.kind, "spatial0")
    return await _encoded(
        request, service, (view, found), headers, lambda: encode_all(found.nodes, kind.kind)
    )


async def get_annotation(
    request: Request,
    path: AnnotationDep,
    kind: KindDep,
    number: Annotated[NumberPath, grouped(NumberPath)],
    service: ServiceDep,
) -> Response:
    """Return one node or line by the number of its node."""
    _, found = await _found(request, service, path)
    body = await service.compute(encode_one, found.nodes, kind.kind, number.number)
    return answer(request, body, fresh(path.id, found.info.sha256, kind.kind, number.number))


async def _found(request: Request, service: Service, path: AnnotationPath) -> tuple[View, Skeleton]:
    check_query(request)
    view = await service.view(request)
    return view, await view.skeleton(path.id)


async def _encoded(
    request: Request,
    service: Service,
    seen: tuple[View, Skeleton],
    headers: dict[str, str],
    work: Callable[[], bytes],
) -> Response:
    view, found = seen
    if unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    lease = await service.admit(view, _NODE_BYTES * len(found.nodes))
    try:
        body = await service.compute(work)
    except BaseException:
        lease.release()
        raise
    if request.method == "HEAD":
        lease.release()
        return head_answer(len(body), headers, BINARY)
    return BodyResponse((body,), BINARY, headers, lease)


def router() -> APIRouter:
    """Return the routes of skeletons and annotations."""
    routes = APIRouter(tags=["precomputed"], route_class=LeanRoute)
    for ending, handler, name, summary, media_type in (
        ("skeletons/info", get_skeleton_info, "info", "Describe a skeleton", JSON),
        (
            "skeletons/segment_properties/info",
            get_skeleton_properties,
            "properties",
            "Name a skeleton",
            JSON,
        ),
        ("skeletons/{segment}", get_skeleton, "skeleton", "Return a skeleton", BINARY),
        ("{kind}/info", get_annotations_info, "kind", "Describe nodes or lines", JSON),
        ("{kind}/spatial0/0_0_0", get_annotations, "all", "Return all nodes or lines", BINARY),
        ("{kind}/by_id/{number}", get_annotation, "one", "Return one node or line", BINARY),
    ):
        add(
            routes,
            f"{_ANNOTATION}/{ending}",
            handler,
            name=f"annotation {name}",
            summary=summary,
            response_class=Response,
            responses=documented(media_type) | responses(400, 404, 422, 429, 503),
        )
    return routes
