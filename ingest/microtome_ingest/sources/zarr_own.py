"""Layers of microtome itself as sources: which shards are absent on purpose, and their record."""

import zlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.grid import Grid
from microtome_core.store.record import SCHEMAS
from microtome_ingest.sources.chunk_folder import Folder, joined
from microtome_ingest.sources.zarr_tree import Image

_LIST = "0/ledger/empty.json"


def record_of(image: Image) -> Mapping[str, Any]:
    """Return the record of one of microtome's own layers; empty in stores of others."""
    found = image.group.attributes.get("nwb") if image.group is not None else None
    own = isinstance(found, Mapping) and found.get("schema_id") in SCHEMAS
    return cast(Mapping[str, Any], found) if own else {}


def is_complete(image: Image) -> bool:
    """Tell whether all chunks were written, but for those in shards that are listed as empty."""
    return bool(record_of(image))


def empty_shards(folder: Folder, image: Image, shards: Grid) -> NDArray[np.bool_] | None:
    """Return which shards are absent because all their voxels are 0; None where none are.

    Raises
    ------
    SourceError
        The list is missing or damaged.
    """
    if image.group is None or not is_complete(image):
        return None
    kept = image.group.attributes.get("microtome") or {}
    if not int(kept.get("empty_shards", 0)):
        return None
    name = joined(image.group.inside, str(kept.get("version") or ""), _LIST)
    document = folder.document(name)
    if document is None:
        raise SourceError(folder.path, f"{name}: the list of empty shards is missing")
    size = -(-shards.size // 8)
    inflater = zlib.decompressobj()
    packed = inflater.decompress(b64decode(document["levels"][image.level]), size + 1)
    if len(packed) != size or not inflater.eof:
        raise SourceError(folder.path, f"{name}: its list does not fit {shards.size} shards")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=shards.size)
    return bits.astype(bool).reshape(shards.counts)
