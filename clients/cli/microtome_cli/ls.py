"""``microtome ls URL``."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from microtome.display import voxel_text
from microtome.recording import variable_text
from microtome_cli.remote import add_service_arguments, find, transport_of
from microtome_core.trials import RECORDING, RecordingInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("url", help="of a service, a collection, a dataset or a layer")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_service_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is there, a line each: datasets, layers, the levels of a layer, or variables."""
    _, _, said = find(transport_of(arguments), arguments.url)
    if arguments.json:
        print(json.dumps(said, indent=2))
        return 0
    for line in lines_of(said):
        print(line)
    return 0


def lines_of(said: dict[str, Any]) -> Iterator[str]:
    """Yield what the JSON of a service, a dataset, a layer or a recording tells, line by line."""
    if said.get("kind") == RECORDING:
        yield from _recording_lines(RecordingInfo.from_json(said))
    elif isinstance(said.get("levels"), list):
        for number, level in enumerate(said["levels"]):
            yield f"{number}  {_sizes(said, level['shape'], level['scale'])}"
    elif "layers" in said:
        yield from map(_layer, said["layers"])
        yield from map(_recording, said.get("recordings", ()))
        for each in said.get("annotations", ()):
            yield f"{said['id']}/annotations/{each['name']}  annotation  skeleton, points, lines"
    else:
        for dataset in said["datasets"]:
            both = [*dataset["layers"], *dataset.get("recordings", ())]
            names = [each["id"].rpartition("/")[2] for each in both]
            names += [f"annotations/{each['name']}" for each in dataset.get("annotations", ())]
            yield f"{dataset['id']}  {' '.join(names)}"


def _recording_lines(info: RecordingInfo) -> Iterator[str]:
    tiers = ", ".join(f"{tier} {count}" for tier, count in info.tiers.items())
    yield f"{info.trials} trials ({tiers}), {info.neurons} neurons"
    for variable in info.variables:
        yield f"{variable.name}  {variable_text(variable)}"


def _recording(recording: dict[str, Any]) -> str:
    if "error" in recording:
        return f"{recording['id']}  damaged: {recording['error']}"
    names = ", ".join(recording["variables"])
    counts = f"{recording['trials']} trials, {recording['neurons']} neurons"
    return f"{recording['id']}  {recording['kind']}  {counts}: {names}"


def _layer(layer: dict[str, Any]) -> str:
    if "error" in layer:
        return f"{layer['id']}  damaged: {layer['error']}"
    return f"{layer['id']}  {layer['kind']}  {_sizes(layer, layer['shape'], layer['scale'])}"


def _sizes(layer: dict[str, Any], shape: list[int], scale: list[float]) -> str:
    axes, units = layer["axes"], layer["units"]
    pairs = list(zip(axes, scale, strict=True))
    sizes = {axis: float(size) for axis, size in pairs if axis in "zyx"}
    voxel = voxel_text(sizes, dict(zip(axes, units, strict=True)))
    return f"{axes} {'×'.join(map(str, shape))} {layer['dtype']}, voxel {voxel}"
