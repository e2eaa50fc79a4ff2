"""The text that a NRRD file begins with.

Source: https://teem.sourceforge.net/nrrd/format.html. Axes are listed fastest first, so that
``t c z y x`` in C order are x, y, z, c, t.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome_core.wire import Channel

_TYPES = {"float32": "float", "float64": "double"}
_UNITS = {"micrometer": "microns", "millimeter": "mm", "nanometer": "nm", "meter": "m"}
# What may stand between quotes; other software may have written any unit.
_SPEAKABLE = re.compile(r"[ !#-\[\]-~]+")
_KINDS = {"c": "list", "t": "time"}


def nrrd_header(
    shape: Sequence[int],
    dtype: DTypeLike,
    axes: str,
    *,
    matrix: NDArray[np.float64],
    units: Sequence[str | None],
    space: str = "",
    encoding: str = "raw",
    data_file: str | None = None,
    name: str = "",
    pairs: Mapping[str, str] | None = None,
) -> bytes:
    """Return the header of little-endian voxels in C order.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    axes : str
        One letter for each extent; with none, a single voxel is an axis of its own.
    matrix : ndarray
        Shape (dimension of space, 4): a step along x, y and z as columns, zeros where there is no
        such axis, and the place of the first voxel; no rows where there is no spatial axis.
    units : sequence of str or None
        Of the dimensions of space; left out unless all are known, and words that a header can hold.
    space : str
        NRRD's name of the space; of no named one unless given.
    encoding : str
        ``raw`` or ``gzip``.
    data_file : str, optional
        Where the voxels are, beside the header.
    name : str
        A comment.
    pairs : mapping of str to str
        Key/value pairs, in ASCII.
    """
    order, kind = axes[::-1], np.dtype(dtype).name
    fields: dict[str, Any] = {
        "type": _TYPES.get(kind, kind),
        "dimension": max(1, len(axes)),
        **(_placed(order, matrix, units, space) if len(matrix) else {}),
        "sizes": " ".join(map(str, shape[::-1])) or "1",
        "kinds": " ".join(_KINDS.get(axis, "space") for axis in order) or "list",
        "endian": "little",
        "encoding": encoding,
        **({"data file": data_file} if data_file else {}),
    }
    lines = ["NRRD0005", *([f"# {name}"] if name else [])]
    lines += [f"{key}: {value}" for key, value in fields.items()]
    lines += [f"{key}:={value}" for key, value in (pairs or {}).items()]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def along_axes(
    axes: str, scale: Mapping[str, float], origin: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the matrix of voxels that lie along the axes of their layer, sizes by axis letter."""
    space = [axis for axis in "xyz" if axis in axes]
    matrix = np.zeros((len(space), 4))
    for row, axis in enumerate(space):
        matrix[row, "xyz".index(axis)], matrix[row, 3] = scale[axis], origin[axis]
    return matrix


def channel_pairs(channels: Sequence[Channel]) -> dict[str, str]:
    """Return what is known of channels as key/value pairs."""
    if not channels:
        return {}
    told = [{"name": c.name, "color": c.color, "window": c.window} for c in channels]
    return {"microtome_channels": pair_text(told)}


def pair_text(value: object) -> str:
    """Return JSON that is the same whether a reader takes back NRRD's escapes or, as some, not."""
    return json.dumps(value).replace("\\\\", "\\u005c").replace("\\n", "\\u000a")


def _placed(
    order: str, matrix: NDArray[np.float64], units: Sequence[str | None], space: str
) -> dict[str, Any]:
    fields: dict[str, Any] = {"space": space} if space else {"space dimension": len(matrix)}
    if units and all(unit and _SPEAKABLE.fullmatch(unit) for unit in units):
        words = (_UNITS.get(str(unit), str(unit)) for unit in units)
        fields["space units"] = " ".join(f'"{word}"' for word in words)
    fields["labels"] = " ".join(f'"{axis}"' for axis in order)
    fields["space directions"] = " ".join(_direction(axis, matrix) for axis in order)
    fields["space origin"] = _vector(matrix[:, 3])
    return fields


def _direction(axis: str, matrix: NDArray[np.float64]) -> str:
    step = matrix[:, "xyz".index(axis)] if axis in "xyz" else np.zeros(1)
    return _vector(step) if step.any() else "none"


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(f'{value:.15g}' for value in values)})"
