"""Running the service under uvicorn."""

import os
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

from microtome_core.errors import InputError
from microtome_core.store.location import StorageOptions, Store
from microtome_service.app import create_app
from microtome_service.location import check_root
from microtome_service.memory import keep_freed_memory
from microtome_service.settings import Settings

_GRACE_SECONDS = 30
_NOT_STARTED = 3
_FACTORY = "microtome_service.server:create_app_from_environment"


def create_app_from_environment() -> FastAPI:
    """Return the app of one worker process, from ``MICROTOME_*`` and the usual AWS variables."""
    keep_freed_memory()
    settings = Settings.from_environment(os.environ)
    return create_app(settings, open_store(settings))


def open_store(settings: Settings) -> Store:
    """Open the root with the credentials and endpoint of the environment."""
    options = StorageOptions.from_environment(os.environ, settings.cache_bytes)
    return Store(settings.root, options)


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; requests under way are finished first.

    Returns
    -------
    int
        0 after an orderly end, 3 if the server could not start.

    Raises
    ------
    InputError, StorageError
        A root that is not one, or cannot be reached; nothing was started.
    """
    store = open_store(settings)
    check_root(store)
    try:
        if settings.workers > 1:
            return _serve_in_workers(settings)
        return _serve_here(settings, store)
    except KeyboardInterrupt:
        # uvicorn raises the signal anew once all is closed.
        return 0


def _serve_here(settings: Settings, store: Store) -> int:
    keep_freed_memory()
    config = uvicorn.Config(create_app(settings, store), **_options(settings))
    # Bound here: so a free port is known, and one in use is told, before anything is said.
    with config.bind_socket() as sock:
        _say(settings, sock.getsockname()[1])
        server = uvicorn.Server(config)
        server.run(sockets=[sock])
    return 0 if server.started else _NOT_STARTED


def _serve_in_workers(settings: Settings) -> int:
    if settings.port == 0:
        raise InputError("port 0 with several workers: expected the number of a port")
    # Worker processes are new interpreters: the environment is the only way in.
    os.environ.update(settings.to_environment())
    _say(settings, settings.port)
    uvicorn.run(_FACTORY, factory=True, workers=settings.workers, **_options(settings))
    return 0


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "http": "httptools",
        "loop": "uvloop",
        "ws": "none",
        "access_log": settings.access_log,
        "log_level": "info" if settings.access_log else "warning",
        "server_header": False,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
    }


def _say(settings: Settings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"serving {settings.root} at http://{host}:{port}\n")
    sys.stdout.flush()
