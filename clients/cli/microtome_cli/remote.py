"""What commands that ask a service have in common: its address, and what it says."""

import argparse
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from microtome.address import did_you_mean
from microtome.errors import AddressError, InputError, NotFound, WrongAnswer
from microtome.transport import Patience, Transport
from microtome_core.trials import RECORDING

_LIMIT = 64 << 20
# Collection, dataset and layer may follow the address of a service.
_NAMES = 3
# So many names are told of those that there are.
_MOST = 5


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how to speak to a service."""
    group = parser.add_argument_group("the service")
    group.add_argument("--token", help="who asks; environment MICROTOME_TOKEN stands in for it")
    group.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="of silence")
    group.add_argument("--retries", type=int, default=5, metavar="N", help="after a passing fault")


def transport_of(arguments: argparse.Namespace) -> Transport:
    """Return connections as the arguments say."""
    token = os.environ.get("MICROTOME_TOKEN") if arguments.token is None else arguments.token
    return Transport(token, Patience(arguments.timeout, arguments.retries))


def is_address(text: str) -> bool:
    """Tell whether a source is an address at all."""
    return text.startswith(("http://", "https://"))


def find(transport: Transport, url: str) -> tuple[str, tuple[str, ...], Any]:
    """Return the service of an address, the names after it, and the JSON of what they name.

    Parameters
    ----------
    transport : Transport
    url : str
        Of a service, a collection, a dataset, a layer or a recording; of a page or of its JSON.

    Raises
    ------
    NotFound
        A service, but nothing of that name.
    WrongAnswer
        No service at all.
    """
    base, names = _split(url)
    ways = []
    for count in range(min(_NAMES, len(names)) + 1):
        head = "/".join([base, *names[: len(names) - count]])
        tail = tuple(names[len(names) - count :])
        try:
            return head, tail, _ask(transport, head, tail)
        except (NotFound, WrongAnswer, InputError):
            ways.append((head, tail))
    for head, tail in reversed(ways):
        try:
            datasets = _pages(transport, head)["datasets"]
        except (NotFound, WrongAnswer, InputError):
            continue
        raise NotFound(_absent(head, tail, datasets))
    raise WrongAnswer(f"{url}: no microtome service")


def _absent(base: str, names: tuple[str, ...], datasets: Sequence[Mapping[str, Any]]) -> str:
    """Return what a service lacks, and what there is that is called like it."""
    kinds = ("path", "collection", "dataset", "layer")
    ids = [str(each.get("id")) for each in datasets]
    wanted, parent = "/".join(names), "/".join(names[:2])
    if len(names) == 1:
        there = list(dict.fromkeys(each.partition("/")[0] for each in ids))
    elif len(names) == 3 and parent in ids:
        one = datasets[ids.index(parent)]
        both = [*one.get("layers", ()), *one.get("recordings", ())]
        there = [str(each.get("id")) for each in both]
    else:
        wanted, there = parent, ids
        names = names[:2]
    near = get_close_matches(wanted, there, _MOST, 0.0)
    return (
        f"{base} has no {kinds[len(names)]} {wanted}; there is {', '.join(near) or 'nothing'} "
        "(what is private needs a key: --token, or MICROTOME_TOKEN)"
    )


def _split(url: str) -> tuple[str, list[str]]:
    scheme, separator, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        raise AddressError("an address with a user or password in it: pass --token instead")
    if not separator:
        url = url.rpartition("@")[2]
        more = did_you_mean(url) or (
            f": of a store, `microtome serve {url}` starts a service, "
            f"`microtome info {url}/COLLECTION/DATASET/LAYER` tells of a layer"
        )
        raise AddressError(
            f"{url}: expected the address of a service, such as "
            f"http://host/collection/dataset/layer{more}"
        )
    host, *names = [part for part in rest.partition("?")[0].split("/") if part] or [""]
    for at in range(len(names) - 1):
        if names[at : at + 2] == ["api", "datasets"]:
            names = names[:at] + names[at + 2 :]
            break
    return f"{scheme}://{host}", names


def _ask(transport: Transport, base: str, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
    if len(names) > 1:
        said = _json(transport, f"{base}/api/datasets/{'/'.join(names)}")
        field = "layers" if len(names) == 2 else _field(said)
    else:
        said, field = _pages(transport, base), "datasets"
        if names:
            found = [d for d in said["datasets"] if d.get("collection") == names[0]]
            if not found:
                raise NotFound(names[0])
            said = {**said, "datasets": found}
    if not isinstance(said, dict) or not isinstance(said.get(field), list):
        raise WrongAnswer(f"{base}: no microtome service")
    return said


def _field(said: object) -> str:
    """Return what a layer's JSON has: levels, or of a recording variables."""
    recording = isinstance(said, dict) and said.get("kind") == RECORDING
    return "variables" if recording else "levels"


def _pages(transport: Transport, base: str) -> dict[str, Any]:
    datasets: list[Any] = []
    while True:
        said = _json(transport, f"{base}/api/datasets?limit=200&offset={len(datasets)}")
        if not isinstance(said, dict) or not isinstance(said.get("datasets"), list):
            raise WrongAnswer(f"{base}: no microtome service")
        datasets += said["datasets"]
        if not said["datasets"] or len(datasets) >= said.get("total", 0):
            return {"datasets": datasets}


def _json(transport: Transport, url: str) -> Any:  # noqa: ANN401 - JSON
    return transport.get(url, lambda body: body.json(_LIMIT))
