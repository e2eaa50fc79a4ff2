"""A cutout as NRRD, which 3D Slicer, ITK and pynrrd open with voxel sizes and place.

Source: https://teem.sourceforge.net/nrrd/format.html. Axes are listed fastest first, so that
``t c z y x`` in C order are x, y, z, c, t.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_TYPES = {"float32": "float", "float64": "double"}
_UNITS = {"micrometer": "microns", "millimeter": "mm", "nanometer": "nm", "meter": "m"}
_KINDS = {"c": "list", "t": "time"}


def nrrd_header(
    shape: Sequence[int], dtype: DTypeLike, axes: str, metadata: Mapping[str, Any]
) -> bytes:
    """Return what a NRRD file begins with, before little-endian voxels in C order.

    Parameters
    ----------
    shape : tuple of int
    axes : str
        One letter for each of its axes; with none left, the single voxel is an axis of its own.
    metadata : mapping
        ``name``; ``scale``, ``origin`` and ``unit`` by axis letter.
    """
    order, space = axes[::-1], [axis for axis in "xyz" if axis in axes]
    name = np.dtype(dtype).name
    fields = {
        "type": _TYPES.get(name, name),
        "dimension": max(1, len(axes)),
        "sizes": " ".join(map(str, shape[::-1])) or "1",
        "kinds": " ".join(_KINDS.get(axis, "space") for axis in order) or "list",
        "endian": "little",
        "encoding": "raw",
    }
    lines = ["NRRD0005", f"# {metadata['name']}"]
    lines += [f"{key}: {value}" for key, value in fields.items()]
    lines += _placed(order, space, metadata) if space else []
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _placed(order: str, space: Sequence[str], metadata: Mapping[str, Any]) -> list[str]:
    """Say where voxels lie; the space is that of the layer, along its axes."""
    scale, origin = metadata["scale"], metadata["origin"]
    directions = (
        _vector(scale[axis] if axis == each else 0.0 for each in space) if axis in space else "none"
        for axis in order
    )
    units = [metadata["unit"].get(axis) for axis in space]
    lines = [
        f"space dimension: {len(space)}",
        f"labels: {' '.join(chr(34) + axis + chr(34) for axis in order)}",
        f"space directions: {' '.join(directions)}",
        f"space origin: {_vector(origin[axis] for axis in space)}",
    ]
    if all(units):
        words = (_UNITS.get(str(unit), str(unit)) for unit in units)
        lines.append("space units: " + " ".join(f'"{word}"' for word in words))
    return lines


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(f'{value:.15g}' for value in values)})"
