"""Groups and arrays of a Zarr store, version 2 or 3, as their metadata describes them.

Source: Zarr storage specification v2; Zarr core specification v3.1, codec ``sharding_indexed``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.grid import Grid
from microtome_ingest.sources.chunk_folder import Folder, joined
from microtome_ingest.sources.chunked import MOST_AXES, ChunkFiles
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.shards import shards_of

_MOST_VOXELS = 1 << 60
_COMPRESSORS = ("blosc", "zlib", "gzip", "bz2", "zstd")
_CODECS = ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed")


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array.

    Parameters
    ----------
    inside : str
        Its path in the store; empty for the root.
    version : int
        Of Zarr.
    array : dict, optional
        The metadata of an array, None for a group.
    attributes : dict
    files : tuple of str
        Names of its metadata files within the store.
    """

    inside: str
    version: int
    array: Mapping[str, Any] | None
    attributes: Mapping[str, Any]
    files: tuple[str, ...]

    @property
    def ome(self) -> Mapping[str, Any]:
        """The attributes of OME-Zarr, wherever its version keeps them."""
        nested = self.attributes.get("ome")
        return nested if isinstance(nested, Mapping) else self.attributes


def read_node(folder: Folder, inside: str) -> Node | None:
    """Return what lies at a path of the store, None where that is nothing of Zarr's.

    Raises
    ------
    SourceError
        Damaged metadata.
    """
    name = joined(inside, "zarr.json")
    document = folder.document(name)
    if document is not None:
        kind, attributes = document.get("node_type"), document.get("attributes")
        if document.get("zarr_format") != 3 or kind not in ("array", "group"):
            raise ValueError(f"{name}: neither an array nor a group of Zarr 3")
        array = document if kind == "array" else None
        return Node(inside, 3, array, attributes if isinstance(attributes, dict) else {}, (name,))
    return _second(folder, inside)


def _second(folder: Folder, inside: str) -> Node | None:
    names = [joined(inside, name) for name in (".zarray", ".zgroup", ".zattrs")]
    array = folder.document(names[0])
    group = None if array is not None else folder.document(names[1])
    attributes = folder.document(names[2])
    documents = (array, group, attributes)
    files = tuple(name for name, one in zip(names, documents, strict=True) if one is not None)
    return Node(inside, 2, array, attributes or {}, files) if files else None


@dataclass(frozen=True, slots=True)
class Stored:
    """An array as it lies in a store.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        NumPy's name, native byte order.
    names : tuple of str
        What its metadata calls each axis, empty where it is silent.
    fill : object
        What chunks read as that were never written.
    driver : str
        TensorStore's.
    """

    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...]
    fill: object
    driver: str


def stored(node: Node) -> Stored:
    """Return what the metadata of an array says.

    Raises
    ------
    InputError
        Voxels or a shape that are no image's, or a codec that is not available.
    """
    meta = node.array or {}
    dtype = _third_dtype(meta) if node.version == 3 else _second_dtype(meta)
    shape = _extents(meta["shape"])
    if not 2 <= len(shape) <= MOST_AXES or 0 in shape:
        raise InputError(f"shape {shape}: expected 2 to {MOST_AXES} axes, and voxels")
    if prod(shape) > _MOST_VOXELS:
        raise InputError(f"shape {shape}: no more than {_MOST_VOXELS} voxels can be stored")
    _check_codecs(node)
    return Stored(
        shape=shape,
        dtype=check_dtype(dtype).name,
        names=_names(node, len(shape)),
        fill=meta.get("fill_value") or 0,
        driver="zarr3" if node.version == 3 else "zarr",
    )


def chunk_files(node: Node, axes: str, shape: tuple[int, ...]) -> ChunkFiles:
    """Return in which files the voxels of an array lie."""
    meta = node.array or {}
    if node.version == 2:
        grid = Grid(axes, shape, _extents(meta["chunks"]))
        separator = meta.get("dimension_separator", ".")
        return ChunkFiles(node.inside, grid, partial(_key, separator, ()))
    cell = _extents(meta["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = meta["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    name = partial(_key, separator, ("c",) if default else ())
    named = [{"name": one} if isinstance(one, str) else one for one in meta["codecs"]]
    return ChunkFiles(node.inside, Grid(axes, shape, cell), name, shards_of(named))


def letters(names: tuple[str, ...], count: int) -> str:
    """Return a letter an axis: t, c, z, y or x where it is named so in any case, else an open one.

    >>> letters(("T", "channel", "Y", "X"), 4)
    'tqyx'
    """
    known = [n.lower() if n.lower() in tuple("tczyx") else None for n in names] or [None] * count
    found = [letter for letter in known if letter]
    if len(set(found)) < len(found):
        return open_letters(count)
    spare = iter(open_letters(count))
    return "".join(letter or next(spare) for letter in known)


def _key(separator: str, start: tuple[str, ...], index: tuple[int, ...]) -> str:
    return separator.join((*start, *map(str, index)))


def _extents(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - JSON
    if not isinstance(value, list) or any(type(n) is not int or n < 0 for n in value):
        raise InputError(f"extents {str(value)[:80]}: expected a list of whole numbers")
    return tuple(value)


def _third_dtype(meta: Mapping[str, Any]) -> np.dtype[Any]:
    name = meta.get("data_type")
    try:
        return np.dtype(name) if isinstance(name, str) else _refused(name)
    except TypeError:
        return _refused(name)


def _second_dtype(meta: Mapping[str, Any]) -> np.dtype[Any]:
    name = meta.get("dtype")
    if not isinstance(name, str):
        return _refused(f"structured {name}")
    if name.startswith("|O"):
        return _refused(f"object {name}, for which a codec would have to run")
    try:
        return np.dtype(name)
    except TypeError:
        return _refused(name)


def _refused(name: object) -> np.dtype[Any]:
    raise InputError(f"dtype {str(name)[:80]}: expected whole or real numbers")


def _check_codecs(node: Node) -> None:
    meta = node.array or {}
    if node.version == 3:
        names = [str(codec["name"]) for codec in _codecs(meta)]
        unknown = [name for name in names if name not in _CODECS]
    else:
        packed = [meta.get("compressor"), *(meta.get("filters") or [])]
        names = [str(one.get("id")) for one in packed if isinstance(one, Mapping)]
        known = _COMPRESSORS if not meta.get("filters") else ()
        unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"codec {', '.join(unknown)[:80]} is not available")


def _codecs(meta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all codecs, those within shards included."""
    found: list[Mapping[str, Any]] = []
    open_ones = list(meta["codecs"])
    while open_ones:
        one = open_ones.pop()
        codec: Mapping[str, Any] = {"name": one} if isinstance(one, str) else one
        found.append(codec)
        inner = codec.get("configuration", {})
        open_ones += [*inner.get("codecs", []), *inner.get("index_codecs", [])]
    return found


def _names(node: Node, count: int) -> tuple[str, ...]:
    """Return the names of axes: ``dimension_names``, or what xarray writes for version 2."""
    third = (node.array or {}).get("dimension_names")
    found = third if third is not None else node.attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(found, list) or len(found) != count:
        return ()
    return tuple(name if isinstance(name, str) else "" for name in found)
