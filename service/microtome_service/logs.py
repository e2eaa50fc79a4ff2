"""What the service says of itself, as lines for people or as one JSON object a line."""

import logging
import re
import sys
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor

from microtome_core.addresses import without_secrets
from microtome_service.exchange import current

_SECRET = re.compile(r"\b(bearer|token|basic)(\s+|=)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)


def configure(form: str, *, access_log: bool, stream: IO[str] | None = None) -> None:
    """Send every log of this process to one place, in one form.

    Parameters
    ----------
    form : str
        ``plain`` or ``json``.
    access_log : bool
        Whether there is a line for every request.
    stream : file, optional
        Standard error by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("microtome.access").setLevel(logging.INFO if access_log else logging.WARNING)


def formatter(form: str) -> logging.Formatter:
    """Return what makes lines of records."""
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _with_request,
        structlog.processors.TimeStamper("iso", utc=True),
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=False)
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
    )


def _with_request(_: Any, __: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's own
    exchange = current()
    if exchange is not None:
        event["request_id"] = exchange.id
    return event


def _without_secrets(_: Any, __: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's own
    for name in ("event", "exception", "path"):
        if isinstance(event.get(name), str):
            event[name] = without_secrets(_SECRET.sub(r"\1\2***", event[name]))
    return event
