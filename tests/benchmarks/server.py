"""The service as it is, and beside it one route that sends bytes it has in memory."""

import sys
from collections.abc import Sequence

import numpy as np
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from microtome_core.heap import keep_freed_memory
from microtome_core.store.location import StorageOptions, Store
from microtome_service.app import create_app
from microtome_service.body import BodyResponse
from microtome_service.settings import Settings


def run(words: Sequence[str]) -> None:
    """Serve ``ROOT PORT CACHE_BYTES``."""
    root, port, cache = words
    keep_freed_memory()  # as `serve` does
    settings = Settings(root=root, cache_bytes=int(cache))
    app = create_app(settings, Store(root, StorageOptions(cache_bytes=int(cache))))
    app.router.routes.insert(0, Route("/benchmark/body/{size:int}/{number:int}", _body))
    app.router.routes.insert(0, Route("/benchmark/empty", _empty))
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), http="httptools", loop="uvloop", log_level="warning",
        access_log=False,
    )  # fmt: skip


_BODIES: dict[tuple[int, int], memoryview] = {}


async def _body(request: Request) -> Response:
    key = size, number = request.path_params["size"], request.path_params["number"]
    if key not in _BODIES:
        _BODIES[key] = np.random.default_rng(number).integers(0, 255, size, "uint8").data
    return BodyResponse((_BODIES[key],), "application/octet-stream", {}, None)


async def _empty(_: Request) -> Response:
    return Response(b"")


if __name__ == "__main__":
    run(sys.argv[1:])
