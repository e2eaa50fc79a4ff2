"""A cutout as OME-Zarr in one zip file, as zarr-python's ZipStore and napari open it.

Source: https://ngff.openmicroscopy.org/0.5; its single-file form stores entries uncompressed, the
root's metadata first.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from microtome_core.levels import Level
from microtome_core.store.ome import ImageLabel, Ome, multiscale, omero

_CHUNK = {"t": 1, "c": 1, "z": 64, "y": 256, "x": 256}
# The format has axes for planes at least.
_LEAST = "yx"


def encode_zipped(block: NDArray[Any], axes: str, metadata: Mapping[str, Any]) -> memoryview:
    """Return a zip of one level.

    Parameters
    ----------
    block : ndarray
        Voxels in C order.
    axes : str
        Its axes; y and x that were dropped come back with extent 1.
    metadata : mapping
        ``name`` and ``kind``; ``scale``, ``origin`` and ``unit`` by axis letter; ``looks``, the
        channels of the block.
    """
    full = "".join(a for a in "tczyx" if a in axes or a in _LEAST)
    extents = dict(zip(axes, block.shape, strict=True))
    block = block.reshape([extents.get(axis, 1) for axis in full])
    body = BytesIO()
    with ZipFile(body, "w", ZIP_STORED) as archive:
        for name, data in _entries(block, full, _group(block, full, metadata)):
            # Of the same request the same bytes: no entry has the time at which it was made.
            archive.writestr(ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return body.getbuffer()


def _group(block: NDArray[Any], axes: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    scale = tuple(metadata["scale"].get(axis, 1.0) for axis in axes)
    units = [metadata["unit"].get(axis) for axis in axes]
    level = Level((1,) * len(axes), block.shape, scale)
    labels = metadata["kind"] == "labels"
    told = multiscale(metadata["name"], axes, units, [level], "mode" if labels else "mean")
    told.type = told.metadata = None
    told.datasets[0].coordinateTransformations[1].translation = [  # type: ignore[union-attr]
        metadata["origin"].get(axis, 0.0) for axis in axes
    ]
    lowest, highest = _limits(block.dtype)
    looks: Sequence[Any] = () if labels else metadata["looks"]
    ome = Ome(
        multiscales=[told],
        omero=omero(looks, lowest, highest) if looks else None,
        image_label=ImageLabel() if labels else None,
    )
    return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome.to_json()}}


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _entries(block: NDArray[Any], axes: str, group: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each entry, which is not kept then."""
    # It takes a second to import, which no other answer should wait for.
    import zarr  # noqa: PLC0415
    from zarr.codecs import ZstdCodec  # noqa: PLC0415

    kept: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(kept),
        name="0",
        data=block,
        chunks=tuple(min(n, _CHUNK[a]) for n, a in zip(block.shape, axes, strict=True)),
        dimension_names=list(axes),
        compressors=ZstdCodec(level=3),
    )
    yield "zarr.json", json.dumps(group).encode()
    for name in sorted(kept):
        if name != "zarr.json":
            yield name, kept.pop(name).to_bytes()
