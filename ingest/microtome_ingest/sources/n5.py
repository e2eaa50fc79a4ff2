"""N5: datasets and pyramids, ``store.n5``, ``store.n5::path/inside``; x comes first, so axes turn.

Source of the format: https://github.com/saalfeldlab/n5, "File-system specification"; of pyramids:
https://github.com/saalfeldlab/n5-viewer, https://github.com/janelia-cosem/schemas and
https://github.com/bigdataviewer/bigdataviewer-core/blob/master/BDV%20N5%20format.md. A block that
was never written holds zeros by definition; how many there are is noted.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, SourceError
from microtome_core.grid import Grid
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import n5_facts
from microtome_ingest.sources.chunk_folder import Folder, joined
from microtome_ingest.sources.chunked import (
    MOST_AXES,
    ChunkedSource,
    ChunkFiles,
    chunk_of,
    open_array,
)
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.json_values import plain_json
from microtome_ingest.sources.members import choose, split

_META = "attributes.json"
_CODECS = ("raw", "gzip", "bzip2", "xz", "blosc", "zstd")
_LEVEL = re.compile(r"s\d+")
_MOST_NODES, _MOST_DEPTH = 20_000, 12


@dataclass(frozen=True, slots=True)
class Image:
    """A dataset, and what the groups above it say, the nearest first, by their paths."""

    inside: str
    attributes: Mapping[str, Any]
    above: tuple[tuple[str, Mapping[str, Any]], ...]


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the datasets, of pyramids the finest, or those at the path that ``::`` names."""
    folder, found = _found(path, files or Files())
    with _told(folder):
        kept = [(image, *_stored(image)) for image in found]
        return tuple(
            Scene(i, image.inside, _geometry(image, len(shape)).axes, shape, dtype)
            for i, (image, shape, dtype) in enumerate(kept)
        )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> ChunkedSource:
    """Open the dataset that ``::`` or `scene` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, several images and none chosen, voxels or a compression that are not read.
    """
    files = files or Files()
    folder, found = _found(path, files)
    image = found[choose(folder.path, [one.inside for one in found], scene)]
    with _told(folder):
        return _opened(folder, files, image)


def _found(path: str, files: Files) -> tuple[Folder, list[Image]]:
    name, inside = split(path, files)
    folder = Folder(name, files)
    with _told(folder):
        return folder, _Tree(folder).images(joined(inside or ""))


@contextmanager
def _told(folder: Folder) -> Iterator[None]:
    """Turn what wrong metadata makes Python raise into an error that names the store."""
    with strict(folder.path, log="tensorstore"):
        try:
            yield
        except SourceError:
            raise
        except InputError as error:
            raise SourceError(folder.path, str(error)) from error


class _Tree:
    """The images of a container."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen = 0

    def images(self, inside: str) -> list[Image]:
        above: list[tuple[str, Mapping[str, Any]]] = []
        parts = inside.split("/") if inside else []
        for depth in range(len(parts)):
            group = "/".join(parts[:depth])
            above.insert(0, (group, self._attributes(group) or {}))
        found = list(self._below(inside, tuple(above), 0))
        if not found:
            what = f"{inside} is no dataset and holds none" if inside else "holds no datasets"
            raise SourceError(self._folder.path, what)
        return found

    def _attributes(self, inside: str) -> Mapping[str, Any] | None:
        self._seen += 1
        if self._seen > _MOST_NODES:
            reason = f"holds more than {_MOST_NODES} groups: name one with ::path"
            raise SourceError(self._folder.path, reason)
        return self._folder.document(joined(inside, _META))

    def _below(
        self, inside: str, above: tuple[tuple[str, Mapping[str, Any]], ...], depth: int
    ) -> Iterator[Image]:
        found = self._attributes(inside) or {}
        if "dimensions" in found:
            yield Image(inside, found, above)
            return
        if depth > _MOST_DEPTH:
            raise SourceError(self._folder.path, f"{inside}: lies more than {_MOST_DEPTH} deep")
        path = ((inside, found), *above)
        for name in self._members(inside, found):
            yield from self._below(joined(inside, name), path, depth + 1)

    def _members(self, inside: str, found: Mapping[str, Any]) -> list[str]:
        """Return the names of what a group is made of; of a pyramid, its finest level."""
        if named := n5_facts.finest(found):
            return [named]
        if (self._attributes(joined(inside, "s0")) or {}).get("dimensions"):
            return ["s0"]
        names = self._folder.children(inside)
        return sorted(names, key=lambda name: (*_number(name), name))


def _number(name: str) -> tuple[str, int]:
    """Return what sorts ``setup10`` after ``setup9``.

    >>> _number("setup10"), _number("raw")
    (('setup', 10), ('raw', -1))
    """
    digits = re.search(r"\d{1,15}$", name)
    return (name[: digits.start()], int(digits[0])) if digits else (name, -1)


def _stored(image: Image) -> tuple[tuple[int, ...], str]:
    """Return shape, slowest axis first, and dtype of a dataset."""
    found, where = image.attributes, image.inside or "the dataset"
    shape = n5_facts.extents(found["dimensions"])[::-1]
    if not 2 <= len(shape) <= MOST_AXES or 0 in shape:
        raise InputError(f"{where} has shape {shape}: expected 2 to {MOST_AXES} axes, and voxels")
    try:
        dtype = check_dtype(str(found.get("dataType"))).name
    except (InputError, TypeError) as error:
        raise InputError(f"{where} has dtype {found.get('dataType')!r}: no numbers") from error
    packed = found.get("compression")
    codec = packed.get("type") if isinstance(packed, Mapping) else found.get("compressionType")
    if codec not in _CODECS:
        raise InputError(f"{where}: compression {str(codec)[:40]!r} is not available")
    return shape, dtype


def _geometry(image: Image, count: int) -> n5_facts.Geometry:
    return n5_facts.geometry(image.inside, image.attributes, image.above, count)


def _opened(folder: Folder, files: Files, image: Image) -> ChunkedSource:
    shape, dtype = _stored(image)
    geometry = _geometry(image, len(shape))
    cell = n5_facts.extents(image.attributes["blockSize"])[::-1]
    chunks = ChunkFiles(image.inside, Grid(geometry.axes, shape, cell), _key)
    spec = {
        "driver": "n5",
        "kvstore": folder.spec(image.inside),
        "recheck_cached_data": "open",
        "fill_missing_data_reads": True,
    }
    block = chunk_of(open_array(folder, spec, image.inside), folder, image.inside)[::-1]
    groups = [(path, found) for path, found in image.above if found]
    names = [path for path, _ in reversed(groups)] + [image.inside]
    described = {path: dict(found) for path, found in reversed(groups)}
    described[image.inside] = dict(image.attributes)
    origin = {"origin": geometry.origin} if geometry.origin else {}
    description = Description(
        format="N5",
        axes=geometry.axes,
        shape=shape,
        dtype=dtype,
        block=tuple(map(min, block, shape)),
        files=tuple(folder.file(joined(name, _META)) for name in names),
        image=image.inside,
        voxel_size=geometry.voxel_size,
        unit=geometry.unit,
        time_step=geometry.time_step,
        metadata={
            **origin,
            "N5": plain_json({"path": image.inside, "attributes": described}),
        },
        notes=(*geometry.notes, *chunks.note(folder, 0)),
    )
    return ChunkedSource(description, files, folder, spec, chunks, reverse=True)


def _key(index: tuple[int, ...]) -> str:
    return "/".join(map(str, reversed(index)))
