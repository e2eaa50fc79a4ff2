"""``microtome register ROOT COLLECTION/DATASET/LAYER``: how a layer lies in a named space."""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from microtome_cli.matrix_file import read_matrix
from microtome_cli.metadata import person
from microtome_core.axes import spatial
from microtome_core.errors import InputError, SourceError
from microtome_core.names import LayerId
from microtome_core.space import DIRECTIONS, DisplacementField
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.spaces import register
from microtome_core.units import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… in which the layer lies")
    parser.add_argument("layer", metavar="COLLECTION/DATASET/LAYER")
    parser.add_argument("--space", required=True, metavar="NAME", help="short name, such as ccf")
    parser.add_argument("--title", help="in full: 'Allen CCFv3 2017, 25 µm'")
    parser.add_argument("--rrid", metavar="RRID:…", help="identifier of the atlas")
    parser.add_argument(
        "--orientation", metavar="PIR", help="what each axis of the space points to, in its order"
    )
    parser.add_argument(
        "--affine",
        required=True,
        metavar="FILE",
        help="homogeneous matrix: rows of numbers, JSON, or the text of ITK and elastix",
    )
    parser.add_argument(
        "--axes", metavar="zyx", help="order of the layer's coordinates in it (default: its own)"
    )
    parser.add_argument("--unit", default="micrometer", help="of its shift (default micrometer)")
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default=DIRECTIONS[0],
        help="what it maps; that of elastix and ANTs is space-to-layer where the atlas was fixed",
    )
    parser.add_argument(
        "--field",
        metavar="FILE.npy",
        help="displacements in µm: one array for each axis of the space, on a grid of the space",
    )
    parser.add_argument("--field-spacing", metavar="A,B,C", help="distance of its nodes in µm")
    parser.add_argument(
        "--field-origin", metavar="A,B,C", help="place of its first node in µm (default 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write it into the record."""
    layer_id = LayerId.parse(arguments.layer)
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    own = spatial(read_layer(store, layer_id).info.axes)
    matrix = read_matrix(arguments.affine, len(own), convert(1.0, arguments.unit, "micrometer"))
    told: dict[str, Any] = {
        "space": arguments.space,
        "title": arguments.title,
        "rrid": arguments.rrid,
        "orientation": arguments.orientation,
        "axes": arguments.axes or own,
        "direction": arguments.direction,
        "affine": matrix.tolist(),
    }
    who = {"who": person(), "tool": "microtome register", "file": arguments.affine}
    known = {key: value for key, value in told.items() if value is not None}
    change = register(store, layer_id, known, who, _field(arguments, len(own)))
    words = "is now" if change.changes else "stays"
    print(
        f"{layer_id}: registered to {arguments.space}; its record {words} version {change.version}"
    )
    return 0


def _field(arguments: argparse.Namespace, ndim: int) -> DisplacementField | None:
    if arguments.field is None:
        return None
    if arguments.field_spacing is None:
        raise InputError("--field needs --field-spacing: the distance of its nodes in µm")
    spacing = _numbers("--field-spacing", arguments.field_spacing, ndim)
    origin = _numbers("--field-origin", arguments.field_origin or ",".join(["0"] * ndim), ndim)
    try:
        values = np.load(Path(arguments.field), allow_pickle=False)
        return DisplacementField(values.astype("float32"), origin, spacing)
    except (OSError, ValueError) as error:
        raise SourceError(arguments.field, str(error)) from error


def _numbers(option: str, text: str, ndim: int) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} {text!r:.80}: expected {ndim} numbers") from error
    if len(found) != ndim:
        raise InputError(f"{option} {text!r:.80}: expected {ndim} numbers")
    return found
