"""From the pages of a TIFF file to one array: which page is which plane."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tifffile import TiffFile, TiffPage, TiffPageSeries

from microtome_core.errors import SourceError
from microtome_ingest.source import Scene
from microtome_ingest.sources.letters import unique
from microtome_ingest.sources.tiff_codec import PageCodec, Plane


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """An array made of planes.

    Parameters
    ----------
    kind : str
        tifffile's name of the flavour: ``ome``, ``imagej``, ``shaped`` ...
    axes : str
        Lower-case letters: those that count planes, then those within a page.
    shape : tuple of int
    within : tuple of int
        For each axis within a page, its place among planes, depth, rows, columns, samples.
    planes : tuple of Plane
        In C order of the axes that count planes.
    """

    kind: str
    axes: str
    shape: tuple[int, ...]
    within: tuple[int, ...]
    planes: tuple[Plane, ...]

    @property
    def leading(self) -> tuple[int, ...]:
        """Extents of the axes that count planes."""
        return self.shape[: len(self.shape) - len(self.within)]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels, native byte order."""
        return self.planes[0].codec.dtype.newbyteorder("=")

    @property
    def block(self) -> tuple[int, ...]:
        """Extents of what is decoded at once; a page where it lies raw in one piece."""
        plane = self.planes[0]
        cell = plane.codec.shape if plane.whole else (*plane.codec.cell, plane.codec.shape[4])
        inner = (min(cell[i], plane.codec.shape[i]) for i in self.within)
        return (1,) * len(self.leading) + tuple(inner)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that holds a plane, in order."""
        return tuple(dict.fromkeys(plane.path for plane in self.planes))


def axes_within(axes: str, shape: Sequence[int], page: TiffPage) -> tuple[int, ...]:
    """Return the place of each of an array's last axes among a page's five.

    Raises
    ------
    SourceError
        The array's last axes are not those of a page.
    """
    samples, depth, *_ = page.shaped
    before = [i for i, extent in enumerate((samples, depth)) if extent > 1]
    after = [4] if len(axes) > axes.index("x") + 1 else []
    within = (*before, 2, 3, *after)
    tail = tuple(shape)[len(shape) - len(within) :]
    if tail != tuple(page.shaped[i] for i in within) or "y" not in axes:
        path = page.parent.filehandle.path
        raise SourceError(path, f"pages of {page.shape} do not make up {axes} {tuple(shape)}")
    return within


def make_layout(
    kind: str,
    axes: str,
    shape: Sequence[int],
    page: TiffPage,
    planes: Iterable[Plane],
    sizes: Mapping[str, int],
) -> Layout:
    """Put planes in order, after checking that they are all there; `sizes` are those of files.

    Raises
    ------
    SourceError
        Fewer or more planes than the shape says, or a file that ends before its voxels do.
    """
    planes, shape = tuple(planes), tuple(shape)
    layout = Layout(kind, axes, shape, axes_within(axes, shape, page), planes)
    if prod(layout.leading) != len(planes) or not planes:
        path = page.parent.filehandle.path
        raise SourceError(
            path, f"{axes} {shape} needs {prod(layout.leading)} planes, not {len(planes)}"
        )
    for path in layout.paths:
        size = sizes[path]
        end = max(plane.end() for plane in planes if plane.path == path)
        if end > size:
            raise SourceError(
                path, f"ends at byte {size}, but its voxels reach to {end}: truncated"
            )
    return layout


def series_layout(series: TiffPageSeries, path: str, axes: str = "") -> Layout:
    """Return the layout of what tifffile found to be one array; its file must be open.

    `axes` may name the axes instead of tifffile.
    """
    if series.transform is not None:
        raise SourceError(path, f"{series.kind} images that need a transform are not supported")
    page, axes = series.keyframe, axes or unique(series.axes)
    planes = _planes(series, path)
    return make_layout(series.kind, axes, series.shape, page, planes, _sizes(page))


def virtual_stack(tif: TiffFile, kind: str, axes: str, shape: Sequence[int]) -> Layout:
    """Return the layout of planes that follow each other after a file's only page."""
    page = tif.pages.first
    planes = _following(page, prod(shape) // max(prod(page.shape), 1), page.dataoffsets[0])
    return make_layout(kind, axes, shape, page, planes, _sizes(page))


def _sizes(page: TiffPage) -> dict[str, int]:
    file = page.parent.filehandle
    return {file.path: file.size}


def _planes(series: TiffPageSeries, path: str) -> list[Plane]:
    page, codec = series.keyframe, PageCodec.of(series.keyframe)
    count = prod(series.shape) // prod(page.shaped)
    if series.dataoffset is not None:
        return _following(page, count, series.dataoffset)
    pages = list(series)
    if len(pages) != count or None in pages:
        raise SourceError(
            path, f"declares {count} planes, but has {len(pages) - pages.count(None)}"
        )
    return [Plane.of(page, codec) for page in pages if page is not None]


def _following(page: TiffPage, count: int, offset: int) -> list[Plane]:
    codec, path = PageCodec.of(page), page.parent.filehandle.path
    end, size = offset + count * codec.nbytes, page.parent.filehandle.size
    if end > size:
        raise SourceError(
            path,
            f"declares {count} planes of {page.shape} {page.dtype}, which end at byte {end}, "
            f"but the file has {size}: truncated, or the count is false",
        )
    return [Plane.raw(path, i, codec, offset + i * codec.nbytes) for i in range(count)]


def scene_of(index: int, series: TiffPageSeries) -> Scene:
    """Describe an array for the list of scenes."""
    return Scene(index, series.name, unique(series.axes), tuple(series.shape), str(series.dtype))
