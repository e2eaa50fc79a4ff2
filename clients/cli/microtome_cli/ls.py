"""``microtome ls URL``."""

import argparse
import json
from typing import Any

from microtome.display import voxel_text
from microtome_cli.remote import add_service_arguments, find, transport_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("url", help="of a service, a collection, a dataset or a layer")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_service_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is there, a line each: datasets, layers, or the levels of a layer."""
    _, _, said = find(transport_of(arguments), arguments.url)
    if arguments.json:
        print(json.dumps(said, indent=2))
        return 0
    if "levels" in said and isinstance(said["levels"], list):
        for number, level in enumerate(said["levels"]):
            print(f"{number}  {_sizes(said, level['shape'], level['scale'])}")
    elif "layers" in said:
        for layer in said["layers"]:
            print(_layer(layer))
    else:
        for dataset in said["datasets"]:
            layers = (each["id"].rpartition("/")[2] for each in dataset["layers"])
            print(f"{dataset['id']}  {' '.join(layers)}")
    return 0


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
