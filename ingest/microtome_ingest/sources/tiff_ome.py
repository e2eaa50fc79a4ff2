"""OME-TIFF: planes looked up through OME-XML, in one file or many, with or without a companion."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from pathlib import PurePosixPath
from typing import cast
from xml.etree.ElementTree import Element

import numpy as np
from tifffile import TiffFile, TiffPage

from microtome_core.errors import SourceError
from microtome_ingest.files import Files, name_of
from microtome_ingest.source import Scene
from microtome_ingest.sources.ome_xml import OmeImage, TiffData, companion_of, images, parse
from microtome_ingest.sources.tiff_chain import open_tiff
from microtome_ingest.sources.tiff_codec import PageCodec, Plane
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_layout import Layout, make_layout

_LARGEST_XML = 512 << 20


@dataclass(frozen=True, slots=True)
class OmeDocument:
    """An OME-XML document and the file it was found in.

    Parameters
    ----------
    path : str
        The TIFF file, or the companion.
    xml : str
    uuid : str, optional
        Of the file itself.
    images : tuple of OmeImage
    """

    path: str
    xml: str
    uuid: str | None
    images: tuple[OmeImage, ...]

    def scenes(self) -> tuple[Scene, ...]:
        """List the images, axes of one element left out."""
        return tuple(
            Scene(i, image.name, *_squeezed(image.axes, image.shape), image.dtype)
            for i, image in enumerate(self.images)
        )


def is_ome(page: TiffPage) -> bool:
    """Tell whether the description is OME-XML, also where it has been cut off."""
    text = page.description[:4096].lstrip("\ufeff \r\n\t")
    return text.startswith("<") and ("<OME" in text or ":OME" in text)


def read_document(path: str, files: Files, xml: str | None = None) -> OmeDocument:
    """Read a companion, or the XML of a TIFF file and, where it only refers to one, its companion.

    Raises
    ------
    SourceError
        A companion that is missing, refers to another, or describes no image.
    """
    text = xml if xml is not None else _text(path, files)
    root = parse(text, path)
    companion = companion_of(root)
    if companion is not None:
        if xml is None:
            raise SourceError(path, "a companion file that is BinaryOnly itself")
        return read_document(_existing(path, companion, "companion", files), files)
    found = images(root, path)
    if not found:
        raise SourceError(path, "its OME-XML describes no image with planes in TIFF files")
    return OmeDocument(path, text, _uuid(root), found)


def _text(path: str, files: Files) -> str:
    with files.open(path) as data:
        size = data.stamp.size
        if size > _LARGEST_XML:
            raise SourceError(path, f"a companion of more than {_LARGEST_XML} bytes")
        return str(data.read(0, size), "utf-8-sig")


def _uuid(root: Element) -> str | None:
    return root.get("UUID")


def _existing(path: str, name: str, role: str, files: Files) -> str:
    """Return the file `name` in the folder of `path`; it must exist and lie no higher."""
    found = _beside(path, name)
    if found is None:
        raise SourceError(path, f"its OME-XML names the {role} {name!r} outside of its folder")
    if files.kind(found) != "file":
        raise SourceError(found, f"missing: it is a {role} of the OME-TIFF {path}")
    return found


def _beside(path: str, name: str) -> str | None:
    """Return where the file `name` lies if that is in the folder of `path` or below."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
        return None
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{relative}"


def ome_layout(
    document: OmeDocument, index: int, files: Files, opened: Mapping[str, TiffFile]
) -> Layout:
    """Return the layout of one image.

    Parameters
    ----------
    document : OmeDocument
    index : int
        Of the image.
    files : Files
    opened : dict
        Files that are open already, by path; all others are opened and closed.

    Raises
    ------
    SourceError
        A member file or a plane that is missing, or pages that contradict the XML.
    """
    image = document.images[index]
    counted = image.axes.index("y")
    table = np.full((prod(image.shape[:counted]), 2), -1, "int64")
    with ExitStack() as stack:
        members: dict[str, TiffFile] = {}
        numbers: dict[str, int] = {}
        member = cache(partial(_member, document, image, files))
        for run in image.data:
            path = member(run.file, run.uuid)
            if path not in members:
                tif = opened.get(path)
                members[path] = tif or stack.enter_context(open_tiff(path, files))
                numbers[path] = len(numbers)
            _enter(table, image, run, numbers[path], members[path], path)
        _check_complete(table, image, document.path)
        tifs = list(members.values())
        planes = list(_planes(table, tifs))
        page = _keyframe(tifs[table[0, 0]], int(table[0, 1]))
        axes, shape = _with_samples(image, page, document.path)
        sizes = {path: tif.filehandle.size for path, tif in members.items()}
        return make_layout("ome", *_squeezed(axes, shape), page, planes, sizes)


def _member(
    document: OmeDocument, image: OmeImage, files: Files, name: str | None, uuid: str | None
) -> str:
    """Return the file that a run of planes lies in, from the name and UUID that the XML gives."""
    if not document.path.lower().endswith(".ome"):
        own = name_of(document.path).lower()
        if name is None or name.lower() == own or uuid == document.uuid:
            return document.path
        renamed = document.uuid is None and len({d.file for d in image.data}) == 1
        named = _beside(document.path, name)
        if renamed and (named is None or files.kind(named) == "absent"):
            return document.path
    if name is None:
        raise SourceError(document.path, "its OME-XML does not name the file of a plane")
    return _existing(document.path, name, "member", files)


def _enter(
    table: np.ndarray, image: OmeImage, run: TiffData, file: int, tif: TiffFile, path: str
) -> None:
    """Write a run of planes into the table of (file, page) by plane."""
    counted = image.axes.index("y")
    index = [run.first[axis] for axis in image.axes[:counted]]
    try:
        start = int(np.ravel_multi_index(index, image.shape[:counted]))
    except ValueError as error:
        raise SourceError(
            path, f"OME-XML places a plane at {run.first}, outside of the image"
        ) from error
    count = min(len(tif.pages), len(table) - start) if run.count is None else run.count
    if start + count > len(table) or run.ifd + count > len(tif.pages):
        raise SourceError(
            path,
            f"OME-XML puts {count} planes at page {run.ifd} on, but the file has "
            f"{len(tif.pages)} pages and the image {len(table)} planes",
        )
    table[start : start + count, 0] = file
    table[start : start + count, 1] = np.arange(run.ifd, run.ifd + count)


def _check_complete(table: np.ndarray, image: OmeImage, path: str) -> None:
    missing = np.flatnonzero(table[:, 0] < 0)
    if len(missing):
        axes, extents = image.axes[: image.axes.index("y")], image.shape
        at = np.unravel_index(int(missing[0]), extents[: len(axes)])
        where = ",".join(f"{axis}={int(i)}" for axis, i in zip(axes, at, strict=True))
        raise SourceError(
            path, f"{len(missing)} of {len(table)} planes are in no file, first {where}"
        )


def _planes(table: np.ndarray, members: list[TiffFile]) -> Iterator[Plane]:
    codecs: dict[int, PageCodec] = {}
    for file, number in table.tolist():
        tif = members[file]
        if file not in codecs:
            codecs[file] = PageCodec.of(_keyframe(tif, number))
        yield Plane.of(tif.pages[number], codecs[file])


def _keyframe(tif: TiffFile, number: int) -> TiffPage:
    """Read a page in full; later pages of the file take all but their offsets from it."""
    tif.pages.useframes = True
    tif.pages.set_keyframe(number)
    return cast(TiffPage, tif.pages.keyframe)


def _with_samples(image: OmeImage, page: TiffPage, path: str) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape with the samples where the pages have them."""
    axes, shape = image.axes, image.shape
    if axes.endswith("s") and page.shaped[0] > 1:  # samples in planes of their own
        at = axes.index("y")
        axes = axes[:at] + "s" + axes[at:-1]
        shape = (*shape[:at], shape[-1], *shape[at:-1])
    extents = dict(zip(axes, shape, strict=True))
    if (extents["y"], extents["x"]) != page.shaped[2:4]:
        raise SourceError(path, f"OME-XML says {extents}, but a page is {page.shape}")
    return axes, shape


def _squeezed(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    kept = [i for i, axis in enumerate(axes) if axis in "yx" or shape[i] > 1]
    return "".join(axes[i] for i in kept), tuple(shape[i] for i in kept)


def ome_facts(document: OmeDocument, index: int, layout: Layout) -> Facts:
    """Return what the XML says of one image."""
    image = document.images[index]
    notes = list(image.notes)
    if image.dtype != layout.dtype.name:
        notes.append(
            f"OME-XML says {image.dtype}, the pages hold {layout.dtype.name}: kept as stored"
        )
    return Facts(
        format="OME-TIFF",
        voxel_size=image.voxel_size,
        time_step=image.time_step,
        channels=image.channels,
        metadata={**image.metadata, "OME": document.xml},
        notes=tuple(notes),
    )
