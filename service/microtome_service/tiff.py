"""A cutout as OME-TIFF, which Fiji, napari and Bio-Formats open with axes and voxel size.

Source: OME-TIFF 6 (https://docs.openmicroscopy.org/ome-model/), as tifffile writes it.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import tifffile
from numpy.typing import NDArray

from microtome_core.ome_tiff import TYPES, sizes


def encode_tiff(block: NDArray[Any], axes: str, metadata: Mapping[str, Any]) -> memoryview:
    """Return an uncompressed TIFF of `block`.

    int64 and uint64, which OME's model lacks, become a plain TIFF whose description names the axes.

    Parameters
    ----------
    block : ndarray
    axes : str
        Its axes; y and x that were dropped come back with extent 1, as every TIFF has them.
    metadata : dict
        ``name``, ``uuid``, ``scale`` and ``unit`` by axis letter, ``channels``.
    """
    full, extents = _with_plane(axes, block.shape)
    ome = block.dtype.name in TYPES
    body = BytesIO()
    tifffile.imwrite(
        body,
        block.reshape(extents),
        ome=ome,
        photometric="minisblack",
        metadata={"axes": full.upper(), **(_ome(full, extents, metadata) if ome else {})},
    )
    return body.getbuffer()


def _with_plane(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    extents = dict(zip(axes, shape, strict=True))
    full = "".join(a for a in "tczyx" if a in axes or a in "yx")
    return full, tuple(extents.get(a, 1) for a in full)


def _ome(axes: str, shape: tuple[int, ...], metadata: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"Name": metadata.get("name", "")}
    if "uuid" in metadata:
        # Else tifffile invents one, and no two answers to one request are the same bytes.
        described["UUID"] = f"urn:uuid:{metadata['uuid']}"
    scale, unit = (metadata.get(name, {}) for name in ("scale", "unit"))
    described |= sizes((axis, scale.get(axis), unit.get(axis)) for axis in axes)
    channels = list(metadata.get("channels", ()))
    if "c" in axes and len(channels) == shape[axes.index("c")]:
        described["Channel"] = {"Name": channels}
    return described
