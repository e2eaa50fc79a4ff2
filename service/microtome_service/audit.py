"""What is kept of each write: who asked for it, how, and with what bytes."""

import hashlib
import re
from typing import Any

from fastapi import Request

from microtome_service.exchange import current
from microtome_service.principal import Principal

_ODD = re.compile(r"[^\x21-\x7e]")


def digest(body: bytes | bytearray) -> dict[str, Any]:
    """Return what tells a body from others. Takes a second for a GiB."""
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def facts(request: Request, principal: Principal) -> dict[str, Any]:
    """Return who asks for a write, and by which request."""
    exchange = current()
    asked = exchange.id if exchange else request.headers.get("x-request-id", "")
    return {"who": principal.name, "request_id": _ODD.sub("", asked)[:128] or None}
