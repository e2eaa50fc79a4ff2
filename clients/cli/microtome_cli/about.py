"""``microtome info SOURCE``: a file of any format, or what a service says of a layer."""

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from microtome.address import did_you_mean
from microtome.errors import (
    AddressError,
    InputError,
    MicrotomeError,
    NotFound,
    ServiceError,
    WrongAnswer,
)
from microtome_cli.ls import lines_of
from microtome_cli.remote import add_service_arguments, find, is_address, transport_of
from microtome_core.trials import RECORDING
from microtome_core.units import bytes_text
from microtome_core.wire import LayerInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "source", help="file, folder, s3://… or synthetic:// to look at, or a layer's address"
    )
    parser.add_argument("--scene", type=int, help="which image of a source that holds several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="read over HTTP from this host alone, a private one too; may be repeated",
    )
    add_service_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the source says of itself."""
    if _may_be_a_layer(arguments):
        said = _layer(arguments)
        if said is not None:
            print(json.dumps(said, indent=2) if arguments.json else _text(said))
            return 0
    if (hint := did_you_mean(arguments.source)) and not Path(arguments.source).exists():
        raise AddressError(f"{arguments.source.rpartition('@')[2]}: not found{hint}")
    # Files need the ingest room, which a thin installation lacks.
    return int(import_module("microtome_cli.info").run(arguments))


def _may_be_a_layer(arguments: argparse.Namespace) -> bool:
    """Tell whether to ask a service; scenes, named hosts and signed queries are of files."""
    of_files = arguments.scene is not None or arguments.allow_host or "?" in arguments.source
    return is_address(arguments.source) and not of_files


def _layer(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of a layer; None where the address is of something else."""
    try:
        _, names, said = find(transport_of(arguments), arguments.source)
    except NotFound:
        # Beside a service there may be files, whose names have endings.
        if "." in arguments.source.rpartition("/")[2]:
            return None
        raise
    except (WrongAnswer, InputError):
        return None
    except ServiceError as error:
        if error.status == 401 or error.passing:
            raise
        return None  # a place for files, which refuses what it does not know
    if len(names) != 3:
        raise MicrotomeError(f"{arguments.source}: no layer: `microtome ls` lists what is there")
    return said


def _text(said: dict[str, Any]) -> str:
    if said.get("kind") == RECORDING:
        return "\n".join([said["id"], *(f"  {line}" for line in lines_of(said))])
    info = LayerInfo.from_json(said)
    rows = [info.id, f"  {info.kind}, {info.dtype}, {bytes_text(info.nbytes)}, axes {info.axes}"]
    for number, level in enumerate(info.levels):
        sizes = ", ".join(
            f"{axis} {size:g} {unit or ''}".strip()
            for axis, size, unit in zip(info.axes, level.scale, info.units, strict=True)
            if axis != "c"
        )
        rows.append(f"  level {number}: {'×'.join(map(str, level.shape))}, {sizes}")
    rows += [f"  channel {n}: {c.name}, {c.color}, {c.window[0]:g} to {c.window[1]:g}"
             for n, c in enumerate(info.channels)]  # fmt: skip
    state = "may be written" if info.writable else "never changes"
    rows.append(f"  {state}; version {info.version}, record {info.record_version}")
    return "\n".join(rows)
