"""Names of what the caller may see: of a dataset's layers, and like one that was not found."""

from difflib import get_close_matches
from typing import Any

from microtome.address import Address, dataset_of
from microtome.errors import AddressError, MicrotomeError, WrongAnswer
from microtome.transport import Patience, Transport
from microtome_core.names import LayerId

_LIMIT = 4 << 20
# An error is to be shown at once; names are worth a short wait and no second try.
_PATIENCE = Patience(timeout=3.0, retries=0)
_MOST = 3
_LISTED = 20


def layer_address(url: str, transport: Transport) -> Address:
    """Return the address of a layer; that of a dataset is its only layer's.

    Raises
    ------
    AddressError
        No address, or one of a dataset that has no layer or several, which are named.
    NotFound
        There is no such dataset, or none that the token may see.
    """
    found = dataset_of(url)
    if found is None:
        return Address.parse(url)
    base, dataset = found
    asked = f"{base}/api/datasets/{dataset}"
    said = transport.json(asked)
    try:
        layers = [str(each["id"]) for each in [*said["layers"], *said.get("recordings", ())]]
        addresses = [Address(base, LayerId.parse(each)) for each in layers]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongAnswer(f"{asked}: not a dataset's JSON: {error!r}") from error
    if len(addresses) == 1:
        return addresses[0]
    if not addresses:
        raise AddressError(f"{base}/{dataset}: a dataset without a layer")
    names = ", ".join(address.url for address in addresses[:_LISTED])
    raise AddressError(f"{base}/{dataset}: a dataset of {len(layers)} layers: open one of {names}")


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
