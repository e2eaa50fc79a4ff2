"""What OME-TIFF tells of an image: voxel sizes, in the words that tifffile takes.

Source: OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/).
"""

from collections.abc import Iterable

from microtome_core.units import symbol

TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
"""Types of voxels of the OME model; it knows no 64-bit integers."""


def sizes(axes: Iterable[tuple[str, float | None, str | None]]) -> dict[str, float | str]:
    """Return the fields of voxel sizes: of each axis its letter, size and unit.

    Axis c has none, nor does an axis whose size or unit is not known, or has no symbol.
    """
    found: dict[str, float | str] = {}
    for axis, size, unit in axes:
        sign = symbol(unit)
        if axis == "c" or size is None or sign is None:
            continue
        field = "TimeIncrement" if axis == "t" else f"PhysicalSize{axis.upper()}"
        found |= {field: size, f"{field}Unit": sign}
    return found
