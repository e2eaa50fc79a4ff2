"""A cutout as NRRD, which 3D Slicer, ITK and pynrrd open with voxel sizes and place."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import DTypeLike

from microtome_core import nrrd


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
    matrix = nrrd.along_axes(axes, metadata["scale"], metadata["origin"])
    units = [metadata["unit"].get(axis) for axis in "xyz" if axis in axes]
    name = metadata["name"]
    return nrrd.nrrd_header(shape, dtype, axes, matrix=matrix, units=units, name=name)
