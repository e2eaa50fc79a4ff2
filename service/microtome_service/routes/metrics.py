"""What the service counts."""

from fastapi import APIRouter
from starlette.responses import Response

from microtome_service.metrics import MEDIA_TYPE
from microtome_service.routes.parameters import ServiceDep, add, only


async def get_metrics(service: ServiceDep) -> Response:
    """Return the numbers of all workers, in Prometheus' text format."""
    service.sample()
    text = service.metrics.text()
    return Response(text, headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


def router() -> APIRouter:
    """Return the route of metrics."""
    routes = APIRouter(tags=["health"])
    text = {"schema": {"type": "string"}}
    add(
        routes,
        "/metrics",
        get_metrics,
        name="metrics",
        summary="Numbers for Prometheus",
        dependencies=[only()],
        response_model=None,
        response_class=Response,
        responses={200: {"description": "The numbers.", "content": {"text/plain": text}}},
    )
    return routes
