"""TIFF in all its flavours, read lazily: only the strips and tiles that a region touches."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPageSeries

from microtome_core.errors import RegionError, SourceError
from microtome_core.region import Region, check_inside
from microtome_ingest.source import Description, Scene, SourceChannel
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.lengths import common_unit
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.tiff_chain import open_tiff
from microtome_ingest.sources.tiff_codec import Plane
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_imagej import imagej_facts, imagej_layout
from microtome_ingest.sources.tiff_layout import Layout, scene_of, series_layout
from microtome_ingest.sources.tiff_metamorph import stk_facts, svs_facts
from microtome_ingest.sources.tiff_ome import (
    OmeDocument,
    is_ome,
    ome_facts,
    ome_layout,
    read_document,
)
from microtome_ingest.sources.tiff_scanimage import (
    is_scanimage,
    scanimage_facts,
    scanimage_layout,
)
from microtome_ingest.sources.tiff_tags import notes, pixel_sizes, verbatim

_NAMES = {"shaped": "TIFF (tifffile)", "uniform": "TIFF", "generic": "TIFF"}


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A file as it was when it was opened."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: str) -> "_Stamp":
        stat = Path(path).stat()
        return cls(stat.st_size, stat.st_mtime_ns)


class TiffSource:
    """One image of a TIFF file or of several. Holds no file open between reads.

    Parameters
    ----------
    description : Description
    layout : Layout
        Which page is which plane.
    """

    def __init__(self, description: Description, layout: Layout) -> None:
        self._description = description
        self._layout = layout
        self._stamps = {path: _Stamp.of(path) for path in layout.paths}

    @property
    def description(self) -> Description:
        """What the file says of itself."""
        return self._description

    def close(self) -> None:
        """Do nothing: each read opens and closes its own files."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in the axes of the description.

        Raises
        ------
        RegionError
            Another set of axes, or out of bounds.
        SourceError
            Damage, or a file that changed since it was opened.
        """
        if region.axes != self._layout.axes:
            raise RegionError(f"region {region}: expected axes {self._layout.axes!r}")
        check_inside(region, self._layout.shape)
        result = np.empty(region.shape, self._layout.dtype)
        with self._mapped() as memory:
            jobs = list(self._jobs(region, result, memory))
            run(jobs)
        return result

    @contextmanager
    def _mapped(self) -> Iterator[Callable[[str], mmap.mmap]]:
        """Hand out each file mapped into memory; close all that were opened."""
        opened: dict[str, mmap.mmap] = {}

        def mapped(path: str) -> mmap.mmap:
            if path not in opened:
                opened[path] = self._map(path)
            return opened[path]

        try:
            yield mapped
        finally:
            for memory in opened.values():
                with suppress(BufferError):  # a view is still alive; the last one closes the map
                    memory.close()

    def _map(self, path: str) -> mmap.mmap:
        with strict(path), Path(path).open("rb") as file:
            # A map that reaches beyond a file cut short would end the process.
            if _Stamp.of(path) != self._stamps[path]:
                raise SourceError(path, "changed since it was opened")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _jobs(
        self, region: Region, result: NDArray[Any], memory: Callable[[str], mmap.mmap]
    ) -> Iterator[Callable[[], None]]:
        leading = self._layout.leading
        box, samples = self._page_box(region)
        shape = (*box.shape, samples.stop - samples.start)
        for at in np.ndindex(*region.shape[: len(leading)]):
            index = [low + i for low, i in zip(region.start, at, strict=False)]
            plane = self._layout.planes[int(np.ravel_multi_index(index, leading)) if leading else 0]
            target = result[at].reshape(shape)
            if plane.whole:
                yield partial(_copy_raw, plane, memory(plane.path), box, samples, target)
                continue
            for number, cell in plane.touched(box):
                cut = partial(_copy_segment, plane, memory(plane.path), number, cell)
                yield partial(cut, box, samples, target)

    def _page_box(self, region: Region) -> tuple[Region, slice]:
        """Return the part of a page: planes, depth, rows, columns, and its samples."""
        shape = self._layout.planes[0].codec.shape
        ranges = [(0, extent) for extent in shape]
        inner = len(self._layout.leading)
        for place, low, high in zip(
            self._layout.within, region.start[inner:], region.stop[inner:], strict=True
        ):
            ranges[place] = low, high
        *box, samples = ranges
        return Region("pzyx", tuple(r[0] for r in box), tuple(r[1] for r in box)), slice(*samples)


def _copy_raw(
    plane: Plane, memory: mmap.mmap, box: Region, samples: slice, target: NDArray[Any]
) -> None:
    with strict(plane.path, f"page {plane.page}, {box}"):
        np.copyto(target, plane.mapped(memory)[(*box.slices, samples)])


def _copy_segment(
    plane: Plane,
    memory: mmap.mmap,
    number: int,
    cell: Region,
    box: Region,
    samples: slice,
    target: NDArray[Any],
) -> None:
    common = box & cell
    if common is None:
        return
    with strict(plane.path, f"page {plane.page}, segment {number}"):
        voxels = plane.decode(memory, number, cell)
        inside = common.relative_to(cell.start).slices[1:]
        target[common.relative_to(box.start).slices] = voxels[(*inside, samples)]


def scenes(path: str) -> tuple[Scene, ...]:
    """List the images of a TIFF file, or of the OME companion; levels of a pyramid are no images.

    Raises
    ------
    SourceError
        Damage.
    """
    if _is_companion(path):
        with strict(path):
            return read_document(path).scenes()
    with strict(path), open_tiff(path) as tif:
        if is_ome(tif.pages.first):
            return read_document(path, tif.pages.first.description).scenes()
        return tuple(scene_of(i, series) for i, series in enumerate(_series(tif)))


def open_image(path: str, scene: int | None = None) -> TiffSource:
    """Open one image of a TIFF file or of an OME companion.

    Parameters
    ----------
    path : str
    scene : int, optional
        Which one, from `scenes`; not needed where there is only one.

    Raises
    ------
    SourceError
        Damage, missing member files, a scene that does not exist, or several and none chosen.
    """
    path = os.path.abspath(path)  # tifffile names files so, and each file is listed once
    if _is_companion(path):
        with strict(path):
            return _ome_source(read_document(path), scene)
    with strict(path), open_tiff(path) as tif:
        if is_ome(tif.pages.first):
            return _ome_source(read_document(path, tif.pages.first.description), scene)
        return _series_source(tif, path, scene)


def _is_companion(path: str) -> bool:
    return path.lower().endswith(".companion.ome")


def _ome_source(document: OmeDocument, scene: int | None) -> TiffSource:
    index = choose(document.path, document.scenes(), scene)
    layout = ome_layout(document, index)
    files = (document.path, *layout.paths)
    return _source(layout, ome_facts(document, index, layout), files, index)


def _series_source(tif: TiffFile, path: str, scene: int | None) -> TiffSource:
    series = _series(tif)
    found = tuple(scene_of(i, one) for i, one in enumerate(series))
    index = choose(path, found, scene)
    layout = _layout(tif, series[index], path)
    return _source(layout, _facts(tif, series[index], index, layout), (path,), index)


def choose(path: str, found: tuple[Scene, ...], scene: int | None) -> int:
    """Return the number of the scene to open.

    Raises
    ------
    SourceError
        None chosen of several, or one that does not exist; the message lists them.
    """
    listing = "; ".join(map(str, found))
    if not found:
        raise SourceError(path, "holds no image")
    if scene is None and len(found) > 1:
        raise SourceError(path, f"holds {len(found)} images, choose one with --scene N: {listing}")
    if scene is not None and not 0 <= scene < len(found):
        raise SourceError(path, f"has no scene {scene}; it holds {listing}")
    return scene or 0


def _series(tif: TiffFile) -> list[TiffPageSeries]:
    """Return what is one array each; smaller images that no flag calls reduced stand alone."""
    result: list[TiffPageSeries] = []
    for series in tif.series:
        alone = [level for level in series.levels[1:] if not _is_level(level)]
        result += [series, *alone]
    return result


def _is_level(series: TiffPageSeries) -> bool:
    return bool(series.keyframe.is_reduced or series.keyframe.is_subifd)


def _layout(tif: TiffFile, series: TiffPageSeries, path: str) -> Layout:
    if series.kind == "imagej":
        return imagej_layout(tif, path)
    if is_scanimage(tif.pages.first):
        return scanimage_layout(tif, series, path)
    return series_layout(series, path)


def _facts(tif: TiffFile, series: TiffPageSeries, scene: int, layout: Layout) -> Facts:
    if series.kind == "imagej":
        return imagej_facts(tif, layout)
    if is_scanimage(tif.pages.first):
        return scanimage_facts(tif, layout)
    if series.kind == "stk":
        return stk_facts(tif)
    if series.kind == "svs":
        return svs_facts(tif, scene)
    page = series.keyframe
    name = _NAMES.get(series.kind, f"TIFF ({series.kind})")
    return Facts(
        format=f"Big{name}" if tif.is_bigtiff else name,
        voxel_size=pixel_sizes(page, None),
        metadata={"TIFF": verbatim(page)},
        notes=notes(page),
    )


def _source(layout: Layout, facts: Facts, files: tuple[str, ...], scene: int) -> TiffSource:
    voxel_size, unit = common_unit(facts.voxel_size)
    description = Description(
        format=facts.format,
        axes=layout.axes,
        shape=layout.shape,
        dtype=layout.dtype.name,
        block=layout.block,
        files=tuple(dict.fromkeys(files)),
        image=f"scene {scene}",
        voxel_size=voxel_size,
        unit=unit,
        time_step=facts.time_step,
        channels=_fitting(facts.channels, layout),
        metadata=facts.metadata,
        notes=facts.notes,
    )
    return TiffSource(description, layout)


def _fitting(channels: tuple[SourceChannel, ...], layout: Layout) -> tuple[SourceChannel, ...]:
    """Return the channels if there are as many as the image has."""
    extents = dict(zip(layout.axes, layout.shape, strict=True))
    return channels if len(channels) == extents.get("c", 1) else ()
