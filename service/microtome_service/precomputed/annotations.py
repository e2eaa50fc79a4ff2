"""A dataset's SWC file as annotations: its nodes as points, or the lines from nodes to parents.

Positions are the file's own numbers, as float32; ``dimensions`` says how long 1 of them is. The id
of a node is its number in the file, that of a line the number of the node at its lower end.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import NotFound
from microtome_core.store.annotations import Annotation
from microtome_core.swc import Nodes, type_name
from microtome_core.units import convert
from microtome_service.precomputed.skeletons import children, nanometers, type_dtype

Kind = Literal["points", "lines"]
_TYPES = {"points": "POINT", "lines": "LINE"}


def encode_one(nodes: Nodes, kind: Kind, text: str) -> bytes:
    """Return a single point or line by its id, written in decimal.

    Raises
    ------
    NotFound
        No such annotation.
    """
    chosen = _chosen(nodes, kind)
    wanted = np.uint64(text) if _is_id(text) else None
    found = chosen[_ids(nodes)[chosen] == wanted]
    if wanted is None or not len(found):
        raise NotFound(f"no annotation of the id {text[:40]!r}")
    return _rows(nodes, kind, found).tobytes()


def encode_all(nodes: Nodes, kind: Kind) -> bytes:
    """Return all points or lines, as the one cell of the spatial index; in an order by chance."""
    order = np.random.default_rng(0).permutation(_chosen(nodes, kind))
    count = np.array(len(order), "<u8")
    ids = _ids(nodes)[order]
    return b"".join((count.tobytes(), _rows(nodes, kind, order).tobytes(), ids.tobytes()))


def annotations_info(nodes: Nodes, info: Annotation, kind: Kind) -> dict[str, Any]:
    """Return ``info`` of the points or lines."""
    meters = convert(nanometers(info), "nanometer", "meter")
    lower, upper = _bounds(nodes)
    return {
        "@type": "neuroglancer_annotations_v1",
        "dimensions": {axis: [meters, "m"] for axis in "xyz"},
        "lower_bound": lower,
        "upper_bound": upper,
        "annotation_type": _TYPES[kind],
        "properties": _properties(nodes),
        "relationships": [],
        "by_id": {"key": "by_id"},
        "spatial": [
            {
                "key": "spatial0",
                "grid_shape": [1, 1, 1],
                "chunk_size": [high - low for low, high in zip(lower, upper, strict=True)],
                "limit": max(len(_chosen(nodes, kind)), 1),
            }
        ],
    }


def _chosen(nodes: Nodes, kind: Kind) -> NDArray[np.intp]:
    return np.arange(len(nodes)) if kind == "points" else children(nodes)


def _rows(nodes: Nodes, kind: Kind, chosen: NDArray[np.intp]) -> NDArray[np.void]:
    """Return geometry, properties and padding of some nodes as they go over the wire."""
    ends = [chosen] if kind == "points" else [chosen, nodes.parents[chosen]]
    rows = np.zeros(len(chosen), _row_dtype(nodes, len(ends)))
    for place, end in enumerate(ends):
        rows["points"][:, place] = nodes.points[end]
    rows["radius"] = nodes.radii[chosen]
    rows["type"] = nodes.types[chosen]
    return rows


def _properties(nodes: Nodes) -> list[dict[str, Any]]:
    kinds = [int(kind) for kind in np.unique(nodes.types)]
    return [
        {"id": "radius", "type": "float32", "description": "in units of the coordinates"},
        {
            "id": "type",
            "type": type_dtype(nodes),
            "description": "structure, by the numbers of SWC",
            "enum_values": kinds,
            "enum_labels": [type_name(kind) for kind in kinds],
        },
    ]


def _row_dtype(nodes: Nodes, ends: int) -> np.dtype[np.void]:
    kind = np.dtype(type_dtype(nodes)).newbyteorder("<")
    fields: list[Any] = [("points", "<f4", (ends, 3)), ("radius", "<f4"), ("type", kind)]
    # Rows are padded to a multiple of 4 bytes.
    return np.dtype([*fields, ("padding", "u1", (-kind.itemsize % 4,))])


def _bounds(nodes: Nodes) -> tuple[list[int], list[int]]:
    """Return whole numbers around all nodes, never two alike: a cell must have a size."""
    points = nodes.points.astype("f4")
    low = [int(n) for n in np.floor(points.min(axis=0))]
    high = [int(n) for n in np.ceil(points.max(axis=0))]
    return low, [max(pair[1], pair[0] + 1) for pair in zip(low, high, strict=True)]


def _ids(nodes: Nodes) -> NDArray[np.uint64]:
    """Return the numbers of the nodes; where one is negative, their places from 1 on."""
    negative = bool((nodes.ids < 0).any())
    return (np.arange(1, len(nodes) + 1) if negative else nodes.ids).astype("<u8")


def _is_id(text: str) -> bool:
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    return plain and len(text) <= 20 and int(text) < 1 << 64
