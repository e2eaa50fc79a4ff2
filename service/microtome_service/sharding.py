"""How a stored shard is made up of chunks. Source: Zarr 3 codec ``sharding_indexed``."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from microtome_core.store.shards import index_size

# The only codecs of an index whose chunks are given out one by one; all known writers use them.
_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


@dataclass(frozen=True, slots=True)
class Sharding:
    """One array's shards.

    Parameters
    ----------
    shard, chunk : tuple of int
        Extents in voxels.
    codecs : tuple of dict
        Of a chunk.
    at_end : bool
        Where in the object its index lies; else at its start.
    """

    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    codecs: tuple[Mapping[str, Any], ...]
    at_end: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "Sharding | None":
        """Read an array's metadata; None where it has no shards, or an index of another form."""
        outer = metadata["codecs"]
        if len(outer) != 1 or outer[0]["name"] != "sharding_indexed":
            return None
        given = outer[0]["configuration"]
        if [_plain(codec) for codec in given["index_codecs"]] != _INDEX_CODECS:
            return None
        return cls(
            tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
            tuple(given["chunk_shape"]),
            tuple(given["codecs"]),
            given.get("index_location", "end") == "end",
        )

    @property
    def room(self) -> tuple[int, ...]:
        """Chunks along each axis of a shard."""
        return tuple(n // m for n, m in zip(self.shard, self.chunk, strict=True))

    @property
    def index_bytes(self) -> int:
        """Bytes of the index of a shard."""
        return index_size(prod(self.room))


def _plain(codec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in codec.items() if value}
