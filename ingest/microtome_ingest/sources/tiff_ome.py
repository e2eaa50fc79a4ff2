"""OME-TIFF: planes looked up through OME-XML, in one file or many, with or without a companion."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import cast
from xml.etree.ElementTree import Element

import numpy as np
from tifffile import TiffFile, TiffPage

from microtome_core.errors import SourceError
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


def read_document(path: str, xml: str | None = None) -> OmeDocument:
    """Read a companion, or the XML of a TIFF file and, where it only refers to one, its companion.

    Raises
    ------
    SourceError
        A companion that is missing, refers to another, or describes no image.
    """
    text = xml if xml is not None else _text(path)
    root = parse(text, path)
    companion = companion_of(root)
    if companion is not None:
        if xml is None:
            raise SourceError(path, "a companion file that is BinaryOnly itself")
        return read_document(_beside(path, companion, "companion"))
    found = images(root, path)
    if not found:
        raise SourceError(path, "its OME-XML describes no image with planes in TIFF files")
    return OmeDocument(path, text, _uuid(root), found)


def _text(path: str) -> str:
    if os.path.getsize(path) > _LARGEST_XML:
        raise SourceError(path, f"a companion of more than {_LARGEST_XML} bytes")
    return Path(path).read_text(encoding="utf-8-sig")


def _uuid(root: Element) -> str | None:
    return root.get("UUID")


def _beside(path: str, name: str, role: str) -> str:
    """Return the file `name` in the folder of `path`; it must exist and lie no higher."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
        raise SourceError(path, f"its OME-XML names the {role} {name!r} outside of its folder")
    found = Path(path).parent / relative
    if not found.is_file():
        raise SourceError(found, f"missing: it is a {role} of the OME-TIFF {path}")
    return str(found)


def ome_layout(document: OmeDocument, index: int) -> Layout:
    """Return the layout of one image.

    Raises
    ------
    SourceError
        A member file or a plane that is missing, or pages that contradict the XML.
    """
    image = document.images[index]
    counted = image.axes.index("y")
    table = np.full((prod(image.shape[:counted]), 2), -1, "int64")
    files: list[str] = []
    with ExitStack() as stack:
        members: dict[str, TiffFile] = {}
        for run in image.data:
            path = _member(document, image, run)
            if path not in members:
                members[path] = stack.enter_context(open_tiff(path))
                files.append(path)
            _enter(table, image, run, files.index(path), members[path], path)
        _check_complete(table, image, document.path)
        planes = list(_planes(table, [members[path] for path in files]))
        page = _keyframe(members[files[table[0, 0]]], int(table[0, 1]))
        axes, shape = _with_samples(image, page, document.path)
        return make_layout("ome", *_squeezed(axes, shape), page, planes)


def _member(document: OmeDocument, image: OmeImage, run: TiffData) -> str:
    is_companion = document.path.lower().endswith(".ome")
    if not is_companion:
        own = Path(document.path).name.lower()
        renamed = document.uuid is None and len({d.file for d in image.data}) == 1
        if run.file is None or run.file.lower() == own or run.uuid == document.uuid:
            return document.path
        if renamed and not (Path(document.path).parent / run.file).exists():
            return document.path
    if run.file is None:
        raise SourceError(document.path, "its OME-XML does not name the file of a plane")
    return _beside(document.path, run.file, "member")


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
