"""Voxels as they come over a slow link: stored chunks as they are, or compressed by Zstandard.

What decodes them is used where it is installed (the extra ``fast``): numcodecs or zstandard, and
google-crc32c or crc32c. Without, voxels come as they are. The form of ``format=chunks`` is told in
docs/http.md, that of codecs in the Zarr 3 specification.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.body import Body
from microtome.errors import BrokenConnection, LayerChanged, WrongAnswer
from microtome.link import LEAST
from microtome_core.region import Region

_HEADER_LIMIT = 64 << 20
# More chunk than voxel is decoded for nothing.
_WASTE = 1.5
_CRC_BYTES = 4


class Unfit(Exception):
    """Chunks of a form that is not decoded here: ask for another."""


@cache
def has_zstd() -> bool:
    """Tell whether a stream of Zstandard can be decoded."""
    return find_spec("zstandard") is not None


@cache
def has_chunks() -> bool:
    """Tell whether stored chunks can be decoded and their checksums checked."""
    checks = find_spec("google_crc32c") or find_spec("crc32c")
    return checks is not None and find_spec("numcodecs") is not None


def choose(
    transfer: str, region: Region, chunk: Sequence[int], shape: Sequence[int], itemsize: int
) -> str:
    """Return the form in which to ask for a region over a slow link.

    Parameters
    ----------
    transfer : str
        ``auto``, or the form that the caller insists on.
    region : Region
    chunk, shape : sequence of int
        Extents of a chunk and of the level.
    itemsize : int
        Bytes of a voxel.
    """
    if transfer in ("zstd", "chunks"):
        return transfer
    nbytes = region.size * itemsize
    if nbytes < LEAST:
        return "raw"
    if has_chunks() and _covered(region, chunk, shape) <= _WASTE * region.size:
        return "chunks"
    return "zstd" if has_zstd() else "raw"


def _covered(region: Region, chunk: Sequence[int], shape: Sequence[int]) -> int:
    """Return the voxels of all chunks that a region touches, within the level."""
    edges = zip(region.start, region.stop, chunk, shape, strict=True)
    return prod(min(-(-high // n) * n, extent) - low // n * n for low, high, n, extent in edges)


class Inflated:
    """A body of one Zstandard frame, read as what it holds.

    Parameters
    ----------
    body : Body
    """

    def __init__(self, body: Body) -> None:
        zstandard = import_module("zstandard")
        self.url = body.url
        self._reader = zstandard.ZstdDecompressor().stream_reader(_Reader(body))
        self._fault = zstandard.ZstdError

    def fill(self, view: memoryview) -> None:
        """Read exactly ``len(view)`` bytes into `view`; raises as `Body.fill`."""
        done = 0
        while done < len(view):
            count = self._into(view[done:])
            if not count:
                raise BrokenConnection(f"{self.url}: {len(view) - done} bytes short of its end")
            done += count

    def end(self) -> None:
        """Make sure that the frame ends here, and was whole."""
        if self._into(memoryview(bytearray(1))):
            raise WrongAnswer(f"{self.url}: the answer holds more than was asked for")

    def _into(self, view: memoryview) -> int:
        try:
            return int(self._reader.readinto(view))
        except self._fault as error:
            raise WrongAnswer(f"{self.url}: {error}") from error


class _Reader:
    """What zstandard reads from."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def read(self, count: int) -> bytes:
        return self._body.read_some(count)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The answer to ``format=chunks``.

    Parameters
    ----------
    header : dict
    data : bytes
    """

    header: Mapping[str, Any]
    data: memoryview

    @classmethod
    def receive(cls, body: Body, limit: int) -> "Chunks":
        """Read a whole answer of no more than `limit` bytes."""
        prefix = bytearray(8)
        body.fill(memoryview(prefix))
        length = int.from_bytes(prefix, "little")
        if length > _HEADER_LIMIT:
            raise WrongAnswer(f"{body.url}: a header of {length} bytes")
        text = bytearray(length)
        body.fill(memoryview(text))
        try:
            header = json.loads(text)
            known = header["format"] == "microtome-chunks/1"
        except (ValueError, KeyError, TypeError) as error:
            raise WrongAnswer(f"{body.url}: no header of chunks: {error!r}") from error
        if not known:
            raise WrongAnswer(f"{body.url}: format {header['format']!r:.80}")
        return cls(header, memoryview(body.read(limit)))


def unpack(
    answer: Chunks, region: Region, version: str, dtype: np.dtype[Any], url: str
) -> NDArray[Any]:
    """Return the voxels of a region, little-endian.

    Raises
    ------
    WrongAnswer
        Another region or type, a chunk that is missing, or one that does not match its checksum.
    LayerChanged
        Another version.
    Unfit
        Codecs that are not known here.
    """
    try:
        return _unpack(answer, region, version, dtype, url)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise WrongAnswer(f"{url}: chunks that cannot be decoded: {error!r:.300}") from error


def _unpack(
    answer: Chunks, region: Region, version: str, dtype: np.dtype[Any], url: str
) -> NDArray[Any]:
    header = answer.header
    if header["layer_version"] != version:
        raise LayerChanged(f"{url}: the layer has changed since it was opened: open it again")
    told = (tuple(header["start"]), tuple(header["stop"]), header["axes"], header["dtype"])
    if told != (region.start, region.stop, region.axes, dtype.name):
        raise WrongAnswer(f"{url}: chunks of {told}, asked for {region}")
    extents = tuple(map(int, header["chunk_shape"]))
    decode = _decoder(header["codecs"], dtype, extents)
    places = header["chunks"]
    out = np.full(region.shape, header["fill_value"], dtype.newbyteorder("<"))
    left = _grid(region, extents)
    for index, offset, length in zip(
        places["index"], places["offset"], places["length"], strict=True
    ):
        cell = tuple(map(int, index))
        left.remove(cell)
        if offset >= 0:
            data = answer.data[offset : offset + length]
            if len(data) != length:
                raise WrongAnswer(f"{url}: chunk {cell} lies beyond the end of the data")
            _place(out, region, cell, extents, decode(data))
    if left:
        raise WrongAnswer(f"{url}: {len(left)} chunks are missing")
    return out


def _grid(region: Region, extents: Sequence[int]) -> set[tuple[int, ...]]:
    edges = zip(region.start, region.stop, extents, strict=True)
    counts = [range(low // n, -(-high // n)) for low, high, n in edges]
    found: set[tuple[int, ...]] = {()}
    for positions in counts:
        found = {(*cell, i) for cell in found for i in positions}
    return found


def _place(
    out: NDArray[Any],
    region: Region,
    cell: Sequence[int],
    extents: Sequence[int],
    chunk: NDArray[Any],
) -> None:
    origin = [i * n for i, n in zip(cell, extents, strict=True)]
    edges = list(zip(origin, extents, region.start, region.stop, strict=True))
    lows = [max(at, low) for at, _, low, _ in edges]
    highs = [min(at + n, high) for at, n, _, high in edges]
    pairs = list(zip(lows, highs, strict=True))
    target = tuple(slice(a - s, b - s) for (a, b), s in zip(pairs, region.start, strict=True))
    source = tuple(slice(a - o, b - o) for (a, b), o in zip(pairs, origin, strict=True))
    out[target] = chunk[source]


Decode = Callable[[memoryview], NDArray[Any]]
Step = Callable[[Any], Any]


def _decoder(
    codecs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], extents: tuple[int, ...]
) -> Decode:
    steps = [_STEPS.get(codec["name"]) for codec in codecs[1:]]
    first = codecs[0]
    if first["name"] != "bytes" or None in steps:
        raise Unfit([codec["name"] for codec in codecs])
    big = first.get("configuration", {}).get("endian") == "big"
    stored = dtype.newbyteorder(">" if big else "<")

    def decode(data: memoryview) -> NDArray[Any]:
        value: Any = data
        for step in reversed(steps):
            value = step(value)  # type: ignore[misc]  # none is None
        return np.frombuffer(value, stored).reshape(extents)

    return decode


def _checked(data: memoryview) -> memoryview:
    body, told = data[:-_CRC_BYTES], int.from_bytes(data[-_CRC_BYTES:], "little")
    if _crc32c(bytes(body)) != told:
        raise ValueError("a chunk does not match its checksum")
    return body


def _crc32c(data: bytes) -> int:
    if find_spec("google_crc32c"):
        return int(import_module("google_crc32c").value(data))
    return int(import_module("crc32c").crc32c(data))


def _numcodecs(name: str) -> Step:
    return lambda data: getattr(import_module("numcodecs"), name)().decode(bytes(data))


_STEPS: Mapping[str, Step] = {
    "crc32c": _checked,
    "zstd": _numcodecs("Zstd"),
    "blosc": _numcodecs("Blosc"),
    "gzip": lambda data: zlib.decompress(data, wbits=31),
}
