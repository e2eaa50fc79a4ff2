"""Which shards of a layer are not stored because all their voxels are 0.

They are listed in ``layer/0/ledger/empty.json``, so that a reader can tell a shard that is empty
on purpose from one that was lost: one bit a shard, packed and deflated, in C order of each grid.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.store.location import Store

Empty = NDArray[np.bool_]
NAME = "0/ledger/empty.json"


def write_empty(store: Store, folder: str, empty: Sequence[Empty]) -> None:
    """Write the list of a layer's version; one array a level, in the shape of its grid."""
    store.write(f"{folder}/{NAME}", pack_empty(empty))


def read_empty(store: Store, folder: str, shards: Sequence[Grid]) -> list[Empty]:
    """Return one array a level.

    Raises
    ------
    StorageError
        The list is missing, damaged, or of other levels.
    """
    path = f"{folder}/{NAME}"
    data = store.read(path)
    if data is None:
        raise StorageError(f"{store.url}/{path}: the list of empty shards is missing")
    return unpack_empty(data, shards, f"{store.url}/{path}")


def pack_empty(empty: Sequence[Empty]) -> bytes:
    """Return the list as it is stored."""
    bits = [b64encode(zlib.compress(np.packbits(level).tobytes())).decode() for level in empty]
    return json.dumps({"levels": bits}).encode()


def unpack_empty(data: bytes, shards: Sequence[Grid], where: str) -> list[Empty]:
    """Read what `pack_empty` returns; raises as `read_empty`."""
    try:
        levels = json.loads(data)["levels"]
        return [_unpacked(bits, grid) for bits, grid in zip(levels, shards, strict=True)]
    except (ValueError, LookupError, TypeError, zlib.error) as error:
        raise StorageError(f"{where}: damaged: {error}") from error


def _unpacked(bits: str, grid: Grid) -> Empty:
    packed = np.frombuffer(zlib.decompress(b64decode(bits)), np.uint8)
    return np.unpackbits(packed, count=grid.size).astype(bool).reshape(grid.counts)
