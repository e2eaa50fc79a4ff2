"""Bytes of precomputed chunks, read back by other libraries."""

from io import BytesIO
from typing import Any

import compressed_segmentation
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from microtome_core.errors import TooLarge
from microtome_service.precomputed.encodings import cast, encode

SHAPES = [(1, 8, 8, 8), (1, 1, 1, 1), (1, 5, 9, 17), (1, 33, 2, 64)]


def unpack(body: Any, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:  # noqa: ANN401 - bytes
    """Read compressed segmentation into z y x."""
    found = compressed_segmentation.decompress(
        bytes(body), (*shape[:0:-1], 1), dtype, (8, 8, 8), order="F"
    )
    return np.asarray(found)[..., 0].T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
@pytest.mark.parametrize("ids", [1, 2, 300, 2**31])
def test_compressed_segmentation_keeps_every_id(
    shape: tuple[int, ...], dtype: str, ids: int
) -> None:
    """One id, few or as many as voxels; sides that are no multiple of a block; the largest id."""
    rng = np.random.default_rng(ids)
    labels = rng.integers(0, ids, shape, dtype)
    labels[labels == 1] = np.iinfo(dtype).max
    assert np.array_equal(unpack(encode(labels, "compressed_segmentation"), shape, dtype),
                          labels[0])  # fmt: skip


def test_a_chunk_of_nothing_is_no_empty_answer() -> None:
    """Zeros are encoded like any other id: an empty body would be an error to clients."""
    body = encode(np.zeros((1, 64, 64, 64), "uint64"), "compressed_segmentation")
    assert not unpack(body, (1, 64, 64, 64), "uint64").any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64", "float32"])
def test_raw_has_x_fastest_and_channels_slowest(dtype: str) -> None:
    """Little-endian, in Fortran order of x y z c."""
    voxels = np.arange(2 * 3 * 4 * 5, dtype=dtype).reshape(2, 3, 4, 5)
    body = encode(cast(voxels.astype(np.dtype(dtype).newbyteorder(">")), dtype), "raw")
    read = np.frombuffer(body, np.dtype(dtype).newbyteorder("<")).reshape(5, 4, 3, 2, order="F")
    assert read[4, 3, 2, 1] == voxels[1, 2, 3, 4]
    assert np.array_equal(read, voxels.T)


@pytest.mark.parametrize(
    ("dtype", "channels"),
    [("uint8", 1), ("uint8", 2), ("uint8", 3), ("uint8", 4), ("uint16", 1)],
)
def test_png_is_exact(dtype: str, channels: int) -> None:
    """The pixels one after another are the voxels, x fastest; a channel is a sample."""
    rng = np.random.default_rng(channels)
    voxels = rng.integers(0, np.iinfo(dtype).max, (channels, 3, 4, 5), dtype)
    picture = np.asarray(Image.open(BytesIO(encode(voxels, "png"))))
    assert picture.shape[:2] == (12, 5)
    pixels = picture.reshape(3, 4, 5, channels).astype(dtype)
    assert np.array_equal(np.moveaxis(pixels, -1, 0), voxels)


def test_a_picture_too_tall_for_jpeg_is_folded() -> None:
    """More than 65500 rows become fewer and longer ones; the order of the pixels stays."""
    ramp = (np.arange(512 * 256 * 8) // 8192 % 256).astype("uint8").reshape(1, 512, 256, 8)
    picture = Image.open(BytesIO(encode(ramp, "jpeg")))
    assert max(picture.size) <= 65500
    assert np.abs(np.asarray(picture).reshape(-1).astype(int) - ramp.reshape(-1)).max() <= 16
    with pytest.raises(TooLarge, match="no picture of these sides"):
        encode(np.zeros((1, 1, 65521, 2), "uint8"), "jpeg")
