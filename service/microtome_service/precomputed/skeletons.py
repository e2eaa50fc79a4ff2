"""A dataset's SWC file as a source of skeletons: one, of the number 1."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.store.annotations import Annotation
from microtome_core.swc import ROOT, Nodes
from microtome_core.units import convert

SEGMENT = 1
_IDENTITY = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
_INTEGERS = ("uint8", "int32")


def nanometers(info: Annotation) -> float:
    """Return how many nm a coordinate of 1 is; where nobody knows, one."""
    return convert(info.unit_factor, info.unit, "nanometer") if info.unit else info.unit_factor


def type_dtype(nodes: Nodes) -> str:
    """Return the smallest dtype that holds the types of the nodes."""
    low, high = nodes.types.min(), nodes.types.max()
    for name in _INTEGERS:
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return name
    return "float32"


def skeleton_info(nodes: Nodes) -> dict[str, Any]:
    """Return ``info`` of the source."""
    attributes = (("radius", "float32"), ("vertex_types", type_dtype(nodes)))
    return {
        "@type": "neuroglancer_skeletons",
        "transform": _IDENTITY,
        "vertex_attributes": [
            {"id": name, "data_type": dtype, "num_components": 1} for name, dtype in attributes
        ],
        "segment_properties": "segment_properties",
    }


def skeleton_properties(name: str) -> dict[str, Any]:
    """Return what is known of the one segment, so that a viewer lists it."""
    label = {"id": "label", "type": "label", "values": [name]}
    inline = {"ids": [str(SEGMENT)], "properties": [label]}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def encode_skeleton(nodes: Nodes, factor: float) -> bytes:
    """Return vertices and radii in nm, an edge from every node to its parent, and the types.

    Parameters
    ----------
    nodes : Nodes
    factor : float
        nm that a coordinate of 1 stands for.
    """
    edges = np.column_stack([children(nodes), nodes.parents[children(nodes)]])
    return b"".join(
        (
            struct.pack("<II", len(nodes), len(edges)),
            (nodes.points * factor).astype("<f4").tobytes(),
            edges.astype("<u4").tobytes(),
            (nodes.radii * factor).astype("<f4").tobytes(),
            nodes.types.astype(np.dtype(type_dtype(nodes)).newbyteorder("<")).tobytes(),
        )
    )


def children(nodes: Nodes) -> NDArray[np.intp]:
    """Return the places of all nodes that have a parent."""
    return np.flatnonzero(nodes.parents != ROOT)
