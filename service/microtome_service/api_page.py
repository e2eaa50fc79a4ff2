"""The API's description for people, with examples that run on what lies in the store."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

_WORD = re.compile(r"\{(\w+)\}")
# Of these an example is more than the words of the path; all are small.
_ASKED: Mapping[str, Mapping[str, str]] = {
    "cutout": {"level": "0", "format": "npy"},
    "window": {"t": "0:5", "format": "json"},
    "row": {"format": "npy"},
    "datasets": {"limit": "3"},
    "trials": {"limit": "5"},
    "neurons": {"limit": "5"},
}
_UNFIT = re.compile(r"/ids$|/segment_properties/|\{dataset\}/(trials|neurons)")
_BOX = 32


@dataclass(frozen=True, slots=True)
class Example:
    """What examples are about; empty where the store has no such thing.

    Parameters
    ----------
    layer : str
        ``collection/dataset/layer`` of an image.
    box : mapping of str to str
        A small box of it, as cutouts take it.
    recording, variable : str
        A recording, and one of its variables of neurons, else any.
    trial : int
    """

    layer: str = ""
    box: Mapping[str, str] | None = None
    recording: str = ""
    variable: str = ""
    trial: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path; `example` is an address that works, empty where there is none."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Mapping[str, Any], ...]
    responses: Mapping[str, Any]
    example: str


def operations(
    document: Mapping[str, Any], base: str, example: Example | None
) -> tuple[Operation, ...]:
    """Return what an OpenAPI document describes, in its order."""
    return tuple(_operations(document, base, example or Example()))


def _operations(document: Mapping[str, Any], base: str, example: Example) -> Iterable[Operation]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield Operation(
                re.sub(r"\W+", "-", f"{method}{path}").strip("-"),
                method.upper(),
                path,
                told["summary"],
                told.get("description", ""),
                tuple(told.get("parameters", ())),
                dict(sorted(told["responses"].items())),
                _example(base, path, example) if method == "get" else "",
            )


def _example(base: str, path: str, example: Example) -> str:
    """Return an address, or nothing where a word of it has no example here."""
    words = {**_names(path, example), "form": "svg", "schema": "record"}
    words |= {"plane": "xy", "level": "0", "index": "0", "row": "0", "col": "0", "extension": "png"}
    wanted = _WORD.findall(path)
    # Ids and statistics differ from layer to layer; not every dataset has but one recording.
    if _UNFIT.search(path) or any(not words.get(name) for name in wanted):
        return ""
    filled = _WORD.sub(lambda match: quote(words[match[1]], safe=""), path)
    last = path.rstrip("/").rpartition("/")[2]
    query = dict(_ASKED.get(last, {}))
    if "{variable}" in last:
        query = dict(_ASKED["window" if "{trial}" in path else "row"])
    if last == "cutout":
        query |= example.box or {}
    return f"{base}{filled}" + (f"?{urlencode(query, safe=':')}" if query else "")


def _names(path: str, example: Example) -> dict[str, str]:
    of_trials = "trials" in path or "neurons" in path or "{recording}" in path
    whole = example.recording if of_trials else example.layer
    collection, _, rest = whole.partition("/")
    dataset, _, name = rest.partition("/")
    return {
        "collection": collection, "dataset": dataset, "layer": name, "recording": name,
        "trial": str(example.trial), "neuron": "0", "variable": example.variable,
    }  # fmt: skip


def box_of_example(axes: str, shape: Iterable[int]) -> dict[str, str]:
    """Return a small box in the middle of a layer, of its first channel and time point."""
    box = {}
    for axis, extent in zip(axes, shape, strict=True):
        size = min(extent, _BOX if axis in "zyx" else 1)
        start = (extent - size) // 2 if axis in "zyx" else 0
        box[axis] = f"{start}:{start + size}"
    return box
