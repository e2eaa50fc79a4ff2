"""Where traces go, if anywhere."""

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol

from starlette.types import Scope

from microtome_core.errors import InputError
from microtome_service.exchange import Exchange


class Tracing(Protocol):
    """What traces requests and their steps."""

    def request(self, scope: Scope, exchange: Exchange) -> AbstractContextManager[None]:
        """Trace a whole request."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """Trace one step of it."""

    def close(self) -> None:
        """Send what is left."""


def open_tracing(endpoint: str) -> Tracing | None:
    """Return what sends traces to an OTLP endpoint such as ``http://collector:4318``.

    Raises
    ------
    InputError
        Traces are asked for and the libraries are not there; names the extra.
    """
    if not endpoint:
        return None
    try:
        telemetry = import_module("microtome_service.telemetry")
    except ModuleNotFoundError as error:
        raise InputError(
            f"otlp_endpoint = {endpoint!r}: traces need the extra 'telemetry' of microtome"
        ) from error
    tracing: Tracing = telemetry.to_endpoint(endpoint)
    return tracing
