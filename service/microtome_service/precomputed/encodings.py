"""From voxels to the bytes of a precomputed chunk.

===========================  ==========================================================
``raw``                      little-endian, x fastest, then y, z, c: C order of c z y x
``jpeg``, ``png``            one picture, rows of x, all y of all z one below the other
``compressed_segmentation``  blocks of 8³ with a table of ids each
===========================  ==========================================================
"""

from io import BytesIO
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray
from PIL import Image

from microtome_core.dtypes import little_endian
from microtome_core.errors import TooLarge
from microtome_service.precomputed.volume import BLOCK

# libjpeg's own limit.
_LONGEST = 65500
# Full resolution of colour: channels are often stains, not a photograph's.
_JPEG = {"quality": 90, "subsampling": 0}
_PNG = {"compress_level": 2}
MEDIA_TYPES = {
    "raw": "application/octet-stream",
    "compressed_segmentation": "application/octet-stream",
    "jpeg": "image/jpeg",
    "png": "image/png",
}


def cast(block: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return voxels as the format has them: float64 beyond float32 is infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(block, little_endian(dtype))


def encode(block: NDArray[Any], encoding: str) -> bytes | memoryview:
    """Encode voxels.

    Parameters
    ----------
    block : (C, Z, Y, X) array
        In C order, of the dtype that ``info`` names.
    encoding : str
        One that can hold them.
    """
    if encoding == "raw":
        return block.reshape(-1).view(np.uint8).data
    if encoding == "compressed_segmentation":
        return _packed(block)
    return _picture(block, encoding)


def _packed(block: NDArray[Any]) -> bytes:
    """Let TensorStore write one chunk into memory, and take its bytes."""
    channels, *zyx = block.shape
    size = zyx[::-1]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "memory"},
        "multiscale_metadata": {
            "type": "segmentation",
            "data_type": block.dtype.name,
            "num_channels": channels,
        },
        "scale_metadata": {
            "key": "0",
            "size": size,
            "chunk_size": size,
            "resolution": (1, 1, 1),
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": BLOCK,
        },
        "store_data_equal_to_fill_value": True,
    }
    # A context of its own: what lies in memory goes with it.
    array = ts.open(spec, context=ts.Context(), create=True).result()
    array.write(block.T).result()
    chunk = "_".join(f"0-{extent}" for extent in size)
    written: Any = array.kvstore
    return bytes(written.read(f"0/{chunk}").result().value)


def _picture(block: NDArray[Any], encoding: str) -> memoryview:
    channels, *zyx = block.shape
    pixels = np.moveaxis(block, 0, -1).reshape(*_rows(*zyx), channels)
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    body = BytesIO()
    image.save(body, encoding.upper(), **(_JPEG if encoding == "jpeg" else _PNG))
    return body.getbuffer()


def _rows(depth: int, height: int, width: int) -> tuple[int, int]:
    """Return the sides of a picture: rows of x, or of several rows each where they are too many.

    Readers take the pixels one after another, whatever the sides.
    """
    rows = depth * height
    for each in range(1, rows + 1):
        if rows % each == 0 and rows // each <= _LONGEST:
            if width * each <= _LONGEST:
                return rows // each, width * each
            break
    raise TooLarge(f"{prod((depth, height, width))} pixels: no picture of these sides holds them")
