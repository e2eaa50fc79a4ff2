"""TIFF in all its flavours, read lazily: only the strips and tiles that a region touches."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPageSeries

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp, is_remote
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene, SourceChannel
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.lengths import common_unit
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.tiff_chain import open_tiff
from microtome_ingest.sources.tiff_codec import Plane
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_imagej import imagej_facts, imagej_layout
from microtome_ingest.sources.tiff_layout import Layout, scene_of, series_layout
from microtome_ingest.sources.tiff_lsm import lsm_facts, lsm_layout, lsm_scenes
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
class _Piece:
    """Voxels of a region that come from one page or segment."""

    data: Bytes
    ranges: Sequence[tuple[int, int]]
    put: Callable[[Sequence[memoryview]], None]


class TiffSource:
    """One image of a TIFF file or of several. Holds no file open between reads.

    Parameters
    ----------
    description : Description
    layout : Layout
        Which page is which plane.
    files : Files
    meter : Meter
        Is told what is decoded.
    """

    def __init__(
        self, description: Description, layout: Layout, files: Files, meter: Meter
    ) -> None:
        self._description, self._layout = description, layout
        self._files, self._meter = files, meter

    @property
    def description(self) -> Description:
        """What the file says of itself."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels: of whole segments where they had to be decoded."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Every file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    @property
    def planes(self) -> int:
        """Pages of the image."""
        return len(self._layout.planes)

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
        check_region(region, self._layout.axes, self._layout.shape)
        result = np.empty(region.shape, self._layout.dtype)
        with ExitStack() as stack:
            opened: dict[str, Bytes] = {}
            for plane, _ in self._planes(region):
                if plane.path not in opened:
                    opened[plane.path] = stack.enter_context(self._files.open(plane.path))
            pieces = list(self._pieces(region, result, opened))
            wanted = [(piece.data, *one) for piece in pieces for one in piece.ranges]
            views = iter(self._files.fetch(wanted))
            run([partial(p.put, [next(views) for _ in p.ranges]) for p in pieces])
        return result

    def _planes(self, region: Region) -> Iterator[tuple[Plane, tuple[int, ...]]]:
        """Yield every plane that a region touches, and its place in the result."""
        leading = self._layout.leading
        for at in np.ndindex(*region.shape[: len(leading)]):
            index = [low + i for low, i in zip(region.start, at, strict=False)]
            number = int(np.ravel_multi_index(index, leading)) if leading else 0
            yield self._layout.planes[number], at

    def _pieces(
        self, region: Region, result: NDArray[Any], opened: Mapping[str, Bytes]
    ) -> Iterator[_Piece]:
        box, samples = self._page_box(region)
        shape = (*box.shape, samples.stop - samples.start)
        for plane, at in self._planes(region):
            target, data = result[at].reshape(shape), opened[plane.path]
            if plane.whole:
                slices = (*box.slices, samples)
                put = partial(self._copy, plane, data, slices, target)
                yield _Piece(data, plane.array.ranges(data, slices), put)
                continue
            for number, cell in plane.touched(box):
                put = partial(self._decode, plane, (number, cell), box, samples, target)
                yield _Piece(data, [plane.range(number)], put)

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

    def _copy(
        self,
        plane: Plane,
        data: Bytes,
        box: Sequence[slice],
        target: NDArray[Any],
        views: Sequence[memoryview],
    ) -> None:
        with strict(plane.path, f"page {plane.page}"):
            np.copyto(target, plane.array.take(data, box, views))
        self._meter.add(target.nbytes)

    def _decode(
        self,
        plane: Plane,
        segment: tuple[int, Region],
        box: Region,
        samples: slice,
        target: NDArray[Any],
        views: Sequence[memoryview],
    ) -> None:
        number, cell = segment
        common = box & cell
        if common is None:
            return
        with strict(plane.path, f"page {plane.page}, segment {number}"):
            voxels = plane.decode(views[0], number, cell)
            inside = common.relative_to(cell.start).slices[1:]
            target[common.relative_to(box.start).slices] = voxels[(*inside, samples)]
        self._meter.add(voxels.nbytes)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images of a TIFF file, or of the OME companion; levels of a pyramid are no images.

    Raises
    ------
    SourceError
        Damage.
    """
    files = files or Files()
    if _is_companion(path):
        with strict(path):
            return read_document(path, files).scenes()
    with strict(path), open_tiff(path, files) as tif:
        if is_ome(tif.pages.first):
            return read_document(path, files, tif.pages.first.description).scenes()
        if tif.is_lsm:
            return lsm_scenes(tif, path)
        return tuple(scene_of(i, series) for i, series in enumerate(_series(tif)))


def open_image(
    path: str, scene: int | None = None, files: Files | None = None, meter: Meter | None = None
) -> TiffSource:
    """Open one image of a TIFF file or of an OME companion.

    Parameters
    ----------
    path : str
    scene : int, optional
        Which one, from `scenes`; not needed where there is only one.
    files : Files, optional
        How files are reached.
    meter : Meter, optional
        One that others share.

    Raises
    ------
    SourceError
        Damage, missing member files, a scene that does not exist, or several and none chosen.
    """
    files, meter = files or Files(), meter or Meter()
    path = path if is_remote(path) else os.path.abspath(path)
    if _is_companion(path):
        with strict(path):
            opened = _ome_source(read_document(path, files), scene, files, {})
    else:
        with strict(path), open_tiff(path, files) as tif:
            if is_ome(tif.pages.first):
                document = read_document(path, files, tif.pages.first.description)
                opened = _ome_source(document, scene, files, {path: tif})
            else:
                opened = (_lsm_source if tif.is_lsm else _series_source)(tif, path, scene)
    return TiffSource(*opened, files, meter)


def _is_companion(path: str) -> bool:
    return path.lower().endswith(".companion.ome")


def _ome_source(
    document: OmeDocument, scene: int | None, files: Files, opened: Mapping[str, TiffFile]
) -> tuple[Description, Layout]:
    index = choose(document.path, document.scenes(), scene)
    layout = ome_layout(document, index, files, opened)
    paths = (document.path, *layout.paths)
    return _describe(layout, ome_facts(document, index, layout), paths, index), layout


def _series_source(tif: TiffFile, path: str, scene: int | None) -> tuple[Description, Layout]:
    series = _series(tif)
    found = tuple(scene_of(i, one) for i, one in enumerate(series))
    index = choose(path, found, scene)
    layout = _layout(tif, series[index], path)
    return _describe(layout, _facts(tif, series[index], index, layout), (path,), index), layout


def _lsm_source(tif: TiffFile, path: str, scene: int | None) -> tuple[Description, Layout]:
    found = lsm_scenes(tif, path)
    index = choose(path, found, scene)
    layout = lsm_layout(tif, path, index)
    return _describe(layout, lsm_facts(tif, layout, index, len(found)), (path,), index), layout


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


def _describe(layout: Layout, facts: Facts, files: tuple[str, ...], scene: int) -> Description:
    voxel_size, unit = common_unit(facts.voxel_size)
    return Description(
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


def _fitting(channels: tuple[SourceChannel, ...], layout: Layout) -> tuple[SourceChannel, ...]:
    """Return the channels if there are as many as the image has."""
    extents = dict(zip(layout.axes, layout.shape, strict=True))
    return channels if len(channels) == extents.get("c", 1) else ()
