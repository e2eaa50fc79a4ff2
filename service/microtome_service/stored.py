"""What a layer has in storage: documents and shards, and what each is called."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.store.layer import Layer
from microtome_core.store.ledger import shard_key
from microtome_core.store.location import Store
from microtome_service.sharding import Sharding

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63})*")
ZARR_3 = "zarr.json"
_ZARR_2 = (".zarray", ".zattrs")


@dataclass(frozen=True, slots=True)
class ArrayFiles:
    """What a level's folder holds.

    Parameters
    ----------
    folder : str
        Below its layer's.
    documents : dict
        The stored metadata, by name of file.
    grid : Grid
        Of stored objects.
    prefix : str
        How the name of a shard begins: ``c/``, ``c.`` or nothing.
    separator : str
        Between the numbers that follow.
    sharding : Sharding, optional
        How a stored object is made up of chunks, where it is a shard.
    """

    folder: str
    documents: Mapping[str, bytes]
    grid: Grid
    prefix: str
    separator: str
    sharding: Sharding | None

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What ``zarr.json`` says; None for Zarr 2."""
        return json.loads(self.documents[ZARR_3]) if ZARR_3 in self.documents else None

    def parse(self, key: str) -> tuple[int, ...] | None:
        """Return which shard a key names, None if it names none."""
        if not key.startswith(self.prefix):
            return None
        words = key[len(self.prefix) :].split(self.separator)
        counts = self.grid.counts
        if len(words) != len(counts) or not all(map(_NUMBER.fullmatch, words)):
            return None
        index = tuple(map(int, words))
        return index if all(i < n for i, n in zip(index, counts, strict=True)) else None

    def key(self, index: tuple[int, ...]) -> str:
        """Return the name of a shard below its layer's folder."""
        return f"{self.folder}/{self.prefix}{self.separator.join(map(str, index))}"


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """What a layer's folder holds: its own document, and its arrays, finest first."""

    layer: Layer
    arrays: tuple[ArrayFiles, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What is small and known whole: metadata, or the coordinates of an axis."""

    body: bytes
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Shard:
    """A stored object.

    Parameters
    ----------
    layer : Layer
    level : int
    index : tuple of int
        In the grid of the level's shards.
    array : ArrayFiles
        The level.
    """

    layer: Layer
    level: int
    index: tuple[int, ...]
    array: ArrayFiles

    def __str__(self) -> str:
        return f"layer {self.layer.info.id}, shard {shard_key(self.level, self.index)}"

    @property
    def path(self) -> str:
        """Where it lies below the root."""
        return f"{self.layer.path}/{self.array.key(self.index)}"

    @property
    def smallest(self) -> int:
        """Bytes that it has at least."""
        return 1 if self.array.sharding is None else self.array.sharding.index_bytes


def load_files(store: Store, layer: Layer) -> LayerFiles:
    """Read the metadata of a layer's arrays. Blocks."""
    levels = attributes(layer.document)["ome"]["multiscales"][0]["datasets"]
    arrays = [
        load_array(store, layer.path, str(described["path"]), voxels.shards)
        for described, voxels in zip(levels, layer.voxels, strict=True)
    ]
    return LayerFiles(layer, tuple(arrays))


def load_array(store: Store, home: str, folder: str, grid: Grid) -> ArrayFiles:
    """Read the metadata of the array in a folder below `home`. Blocks.

    Raises
    ------
    StorageError
        Storage failed, or holds no array there.
    """
    if not _FOLDER.fullmatch(folder):
        raise StorageError(f"{home}: an array at {folder!r}, which is no plain folder")
    path = f"{home}/{folder}"
    stored = {name: store.read(f"{path}/{name}") for name in (ZARR_3, *_ZARR_2)}
    documents = {name: body for name, body in stored.items() if body is not None}
    try:
        return ArrayFiles(folder, documents, grid, *_naming(documents), _sharding(documents))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(f"{store.url}/{path}: not Zarr metadata: {error}") from error


def _naming(documents: Mapping[str, bytes]) -> tuple[str, str]:
    """Return how names of chunks begin and what stands between their numbers.

    Source: Zarr 3 core, "chunk key encoding"; Zarr 2, ``dimension_separator``.
    """
    if ZARR_3 not in documents:
        return "", json.loads(documents[".zarray"]).get("dimension_separator", ".")
    encoding = json.loads(documents[ZARR_3])["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    if separator not in ("/", "."):
        raise ValueError(f"separator {separator!r}")
    return (f"c{separator}", separator) if default else ("", separator)


def _sharding(documents: Mapping[str, bytes]) -> Sharding | None:
    return Sharding.of(json.loads(documents[ZARR_3])) if ZARR_3 in documents else None


def attributes(document: bytes) -> Any:  # noqa: ANN401 - a JSON value
    """Return the attributes that a group's ``zarr.json`` holds."""
    return json.loads(document).get("attributes", {})
