"""Running the service under uvicorn."""

import errno
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from microtome_core.errors import InputError
from microtome_core.heap import keep_freed_memory
from microtome_core.store.location import StorageOptions, Store
from microtome_service import logs
from microtome_service.app import create_app
from microtome_service.auth.access import Access
from microtome_service.connections import Config
from microtome_service.location import check_folder, check_root
from microtome_service.metrics import Metrics
from microtome_service.settings import Settings

_NOT_STARTED = 3
_FAULTS_OF_PORTS = (errno.EADDRINUSE, errno.EACCES)
# Where prometheus_client shares the numbers of several processes.
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_FACTORY = "microtome_service.server:create_app_from_environment"


def create_app_from_environment() -> FastAPI:
    """Return the app of one worker process, from ``MICROTOME_*`` and the usual AWS variables."""
    keep_freed_memory()
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_format, access_log=settings.access_log)
    metrics = Metrics(os.environ.get(_SHARED))
    return create_app(settings, open_store(settings), metrics)


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
    InputError
        A root that is not one, or a host or port that cannot be had; nothing was started.
    StorageError
        A root that cannot be reached, or a database of keys and grants that cannot be used.
    """
    store = open_store(settings)
    check_folder(store)
    check_root(store)
    check_access(settings, store)
    settings = with_picture_folder(settings, os.environ)
    try:
        if settings.workers > 1:
            return _serve_in_workers(settings)
        return _serve_here(settings, store)
    except KeyboardInterrupt:
        # uvicorn raises the signal anew once all is closed.
        return 0


def check_access(settings: Settings, store: Store) -> None:
    """Return if keys and grants can be read; raises as `Access.check`."""
    access = Access(settings, store.url)
    try:
        access.check()
    finally:
        access.close()


def with_picture_folder(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Return settings that keep pictures where caches of the user lie, unless they say otherwise.

    Source of the place: XDG Base Directory Specification 0.8.
    """
    if settings.picture_folder:
        return settings
    caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(caches).expanduser() / "microtome" / "pictures"
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        # A container without a home: nothing is wrong, pictures are drawn again after a restart.
        return settings
    return replace(settings, picture_folder=str(folder))


def _serve_here(settings: Settings, store: Store) -> int:
    keep_freed_memory()
    logs.configure(settings.log_format, access_log=settings.access_log)
    config = Config(create_app(settings, store), **_options(settings))
    with _listen(settings) as sock:
        _say(settings, sock.getsockname()[1])
        server = uvicorn.Server(config)
        server.run(sockets=[sock])
    return 0 if server.started else _NOT_STARTED


def _serve_in_workers(settings: Settings) -> int:
    # Worker processes are new interpreters: the environment is the only way in.
    os.environ.update(settings.to_environment())
    logs.configure(settings.log_format, access_log=settings.access_log)
    config = Config(_FACTORY, factory=True, workers=settings.workers, **_options(settings))
    with _listen(settings) as sock, TemporaryDirectory(prefix="microtome-") as folder:
        os.environ[_SHARED] = folder
        _say(settings, sock.getsockname()[1])
        Multiprocess(config, sockets=[sock]).run()
    return 0


def _listen(settings: Settings) -> socket.socket:
    """Bind the port, so that a free one is known, and one in use is told, before anything is said.

    A caller who takes nothing for too long is cut off by the system: else a few of them would hold
    all the room that there is for answers. Connections inherit the option (tcp(7)).
    """
    sock = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        _bind(sock, settings)
    except BaseException:
        sock.close()
        raise
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, round(settings.stalled_seconds * 1000))
    # Worker processes get it from their parent.
    sock.set_inheritable(True)
    return sock


def _bind(sock: socket.socket, settings: Settings) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        at_fault = "--port" if error.errno in _FAULTS_OF_PORTS else "--host"
        raise InputError(
            f"cannot listen on host {settings.host}, port {settings.port}: "
            f"{error.strerror}; choose another with {at_fault}"
        ) from error


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "ws": "none",
        # One line a request is ours, and has no query in it.
        "access_log": False,
        "log_config": None,
        "log_level": "warning",
        "server_header": False,
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "limit_concurrency": settings.max_connections,
        "timeout_graceful_shutdown": ceil(settings.grace_seconds),
        "request_seconds": settings.request_seconds,
    }


def _say(settings: Settings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"serving {settings.root} at http://{host}:{port}\n")
    sys.stdout.flush()
