"""From voxels to the bytes of an answer; the formats are one table.

==========  ============================  ==========================================================
format      media type                    body
==========  ============================  ==========================================================
``npy``     ``application/x-npy``         NumPy's .npy, version 1.0 (numpy.lib.format)
``raw``     ``application/octet-stream``  little-endian voxels in C order, nothing else
``blosc``   ``application/blosc``         ``raw``, compressed by Blosc 1 (LZ4, bit shuffle)
``zstd``    ``application/zstd``          ``raw``, compressed by Zstandard (RFC 8878)
``png``     ``image/png``                 one plane, uint8 or uint16 grey or uint8 RGB, exact
``jpeg``    ``image/jpeg``                one plane, uint8 grey or RGB, lossy
``tiff``    ``image/tiff``                OME-TIFF with axes and voxel size, uncompressed
``nrrd``    ``application/x-nrrd``        NRRD with voxel size and place, uncompressed
``zarr``    ``application/zip``           OME-Zarr 0.5 of one level, in a zip file
``chunks``  ``…/vnd.microtome.chunks``    the stored chunks as they are: see `encoded`
==========  ============================  ==========================================================

IANA knows no type for .npy; ``application/x-npy`` is what others use, too. Shape,
dtype and axes stand in the headers ``X-Microtome-*`` of every answer.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from math import prod
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError, TooLarge
from microtome_service import images
from microtome_service.errors import NotAcceptable
from microtome_service.negotiate import choose
from microtome_service.nrrd import nrrd_header
from microtome_service.tiff import encode_tiff
from microtome_service.zipped import encode_zipped

# Order is what is preferred where the caller likes several equally.
FORMATS: Mapping[str, str] = {
    "npy": "application/x-npy",
    "raw": "application/octet-stream",
    "blosc": "application/blosc",
    "zstd": "application/zstd",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "nrrd": "application/x-nrrd",
    "zarr": "application/zip",
    "chunks": "application/vnd.microtome.chunks",
}
ALIASES: Mapping[str, str] = {"jpg": "jpeg", "tif": "tiff"}
PLAIN = (FORMATS["npy"], FORMATS["raw"])
# Blosc 1 holds sizes in a signed 32-bit integer, its own header included.
_BLOSC_LIMIT = 2**31 - 1 - 16


# Parts of a body are sent one after another and never joined.
Parts = tuple[bytes | memoryview, ...]


def choose_media_type(name: str | None, accept: str | None) -> str:
    """Return the media type for ``format=name``, or else for an Accept header, or else npy.

    Raises
    ------
    InputError
        An unknown format.
    NotAcceptable
        An Accept header that leaves nothing.
    """
    if name is not None:
        word = ALIASES.get(name.lower(), name.lower())
        if word not in FORMATS:
            raise InputError(f"format {name[:40]!r}: expected one of {', '.join(FORMATS)}")
        return FORMATS[word]
    if accept in (None, "", "*/*"):
        return FORMATS["npy"]
    chosen = choose(accept, list(FORMATS.values()))
    if chosen is None:
        raise NotAcceptable(
            f"none of {accept[:200]!r} is served: expected one of "
            f"{', '.join(FORMATS.values())}, or format= with {', '.join(FORMATS)}"
        )
    return chosen


def describe(shape: Sequence[int], dtype: DTypeLike, axes: str) -> dict[str, str]:
    """Return the headers that tell what the body holds."""
    return {
        "X-Microtome-Shape": ",".join(map(str, shape)),
        "X-Microtome-Dtype": np.dtype(dtype).name,
        "X-Microtome-Axes": axes,
    }


def length(shape: Sequence[int], dtype: DTypeLike, media_type: str) -> int | None:
    """Return the length of a body before its voxels are read; None where they decide it."""
    if media_type not in PLAIN:
        return None
    header = npy_header(shape, dtype) if media_type == FORMATS["npy"] else b""
    return len(header) + prod(shape) * np.dtype(dtype).itemsize


def check_encodable(shape: Sequence[int], dtype: DTypeLike, axes: str, media_type: str) -> None:
    """Refuse, before anything is read, what a format cannot hold.

    Raises
    ------
    InputError
        With the reason and what to do.
    TooLarge
        More than fits the format.
    """
    if media_type in (FORMATS["png"], FORMATS["jpeg"]):
        images.check_plane(shape, dtype, axes, media_type)
    nbytes = prod(shape) * np.dtype(dtype).itemsize
    if media_type == FORMATS["blosc"] and nbytes > _BLOSC_LIMIT:
        raise TooLarge(f"{nbytes} bytes: blosc holds {_BLOSC_LIMIT}: ask for format=zstd or raw")


def encode(block: NDArray[Any], axes: str, media_type: str, metadata: Mapping[str, Any]) -> Parts:
    """Encode a block that `check_encodable` has let pass.

    Parameters
    ----------
    block : ndarray
        Voxels in C order.
    axes : str
        One letter for each of its axes.
    media_type : str
        One of `FORMATS`.
    metadata : dict
        ``name``; ``uuid``; ``kind``; ``scale``, ``origin`` and ``unit`` by axis letter;
        ``channels`` by name, ``looks`` as they are. TIFF, NRRD and OME-Zarr keep them, no other
        format does.
    """
    block = np.ascontiguousarray(block, little_endian(block.dtype)).reshape(block.shape)
    makers: Mapping[str, Callable[[], Parts]] = {
        FORMATS["npy"]: lambda: (npy_header(block.shape, block.dtype), flat(block)),
        FORMATS["raw"]: lambda: (flat(block),),
        FORMATS["tiff"]: lambda: (encode_tiff(block, axes, metadata),),
        FORMATS["nrrd"]: lambda: (
            nrrd_header(block.shape, block.dtype, axes, metadata),
            flat(block),
        ),
        FORMATS["zarr"]: lambda: (encode_zipped(block, axes, metadata),),
    }
    if media_type in makers:
        return makers[media_type]()
    if media_type in (FORMATS["png"], FORMATS["jpeg"]):
        return (images.encode_plane(block, axes, media_type),)
    return (_compressor(media_type).encode(block.reshape(-1)),)


def flat(block: NDArray[Any]) -> memoryview:
    """Return the bytes of `raw`: a view of the voxels, which are sent from where they were read."""
    block = np.ascontiguousarray(block, little_endian(block.dtype))
    return block.reshape(-1).view(np.uint8).data


def _compressor(media_type: str) -> Any:  # noqa: ANN401 - numcodecs has no types
    # Fast ones: the wire is mostly faster than a compressor that tries hard.
    if media_type == FORMATS["zstd"]:
        return numcodecs.Zstd(level=1)
    return numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)


def npy_header(shape: Sequence[int], dtype: DTypeLike) -> bytes:
    """Return what an .npy file of C order begins with."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {"descr": little_endian(dtype).str, "fortran_order": False, "shape": tuple(shape)},
    )
    return header.getvalue()
