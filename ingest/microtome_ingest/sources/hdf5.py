"""Arrays in HDF5 files: ``file.h5::/path/to/dataset``, read by chunk.

Source of the format: The HDF Group, HDF5 File Format Specification. A chunk that was never written
holds the fill value by definition; storage that lies in another file is refused.
"""

from functools import partial
from typing import Any

from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import hdf5_facts as facts
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.hdf5_file import Hdf5Files
from microtome_ingest.sources.hdf5_source import Hdf5Source
from microtome_ingest.sources.hdf5_storage import Piece
from microtome_ingest.sources.members import choose, split


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the arrays of numbers with two axes or more, or the one that ``::`` names."""
    files = files or Files()
    name, inside = split(path, files)
    with Hdf5Files(files) as books:
        paths = [inside] if inside else books[name].call(partial(_images, name))
        found = [_described(books, name, one)[0] for one in paths]
    return tuple(Scene(i, d.image, d.axes, d.shape, d.dtype) for i, d in enumerate(found))


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Hdf5Source:
    """Open the dataset that ``file.h5::/path`` or `scene` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, several arrays and none chosen, a path that is not there, links and storage that
        lead out of the file, or a filter that is not available.
    """
    files = files or Files()
    name, inside = split(path, files)
    books = Hdf5Files(files)
    with books.closing_on_error():
        chosen = inside or _chosen(books, name, scene)
        description, found = _described(books, name, chosen)
    return Hdf5Source(description, books, {(): found})


def _chosen(books: Hdf5Files, name: str, scene: int | None) -> str:
    paths = books[name].call(partial(_images, name))
    return paths[choose(name, paths, scene)]


def _images(name: str, file: Any) -> list[str]:  # noqa: ANN401 - h5py has no types
    found = find.images(file)
    if not found:
        raise find.nothing(file, name)
    return found


def _described(books: Hdf5Files, name: str, path: str) -> tuple[Description, Piece]:
    found = books.piece(name, path)
    return books[name].call(partial(_describe, found), path), found


def _describe(found: Piece, file: Any) -> Description:  # noqa: ANN401
    dataset = file[found.path]
    return Description(
        format="HDF5",
        axes=facts.axes(dataset),
        shape=found.shape,
        dtype=found.dtype,
        block=found.block,
        files=(found.file,),
        image=found.path,
        metadata={"HDF5": {"path": found.path, "attributes": facts.attributes(file, dataset)}},
        notes=(*facts.notes(file), *found.notes),
    )
