"""Names that are like one that was not found, of what the caller may see."""

from difflib import get_close_matches
from typing import Any

from microtome.address import Address
from microtome.errors import MicrotomeError
from microtome.transport import Patience, Transport

_LIMIT = 4 << 20
# An error is to be shown at once; names are worth a short wait and no second try.
_PATIENCE = Patience(timeout=3.0, retries=0)
_MOST = 3


def near_names(transport: Transport, address: Address) -> list[str]:
    """Return up to three layers, or else datasets, whose names are like the one asked for."""
    datasets = f"{address.base}/api/datasets"
    layers = _ids(transport, f"{datasets}/{address.layer.parent}", "layers")
    if layers:
        return get_close_matches(str(address.layer), layers, _MOST, 0.0)
    found = _ids(transport, f"{datasets}?limit=200", "datasets")
    return get_close_matches(str(address.layer.parent), found, _MOST, 0.5)


def _ids(transport: Transport, url: str, field: str) -> list[str]:
    try:
        said: Any = transport.get(url, lambda body: body.json(_LIMIT), patience=_PATIENCE)
        return [str(each["id"]) for each in said[field]]
    except (MicrotomeError, KeyError, TypeError):
        # Then the error is shown without names.
        return []
