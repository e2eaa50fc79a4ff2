"""ImageJ's TIFF files: hyperstacks behind a single page, calibration, lookup tables.

Source of the keys: ImageJ, ij/io/FileSaver and ij/io/TiffDecoder: ``images``, ``channels``,
``slices``, ``frames``, ``unit``, ``spacing``, ``finterval``, ``min``, ``max``.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from tifffile import TiffFile

from microtome_core.errors import SourceError
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit, plausible
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_layout import Layout, series_layout, virtual_stack
from microtome_ingest.sources.tiff_tags import notes, pixel_sizes, plain

_AXES = {"channels": "c", "slices": "z", "frames": "t"}


def imagej_layout(tif: TiffFile, path: str) -> Layout:
    """Return the layout of an ImageJ file, its number of planes checked against ``images=``.

    Raises
    ------
    SourceError
        ``images=`` is not the number of planes that the file has room for.
    """
    meta = tif.imagej_metadata or {}
    declared = meta.get("images", 1)
    if not isinstance(declared, int) or declared < 1:
        raise SourceError(path, f"ImageJ declares images={declared!r}: expected a count")
    if declared > 1 and not tif.pages.is_multipage and not _AXES.keys() & meta.keys():
        page = tif.pages.first
        if not page.is_final:
            raise SourceError(path, f"ImageJ declares images={declared}, but the file has one page")
        return virtual_stack(tif, "imagej", "q" + page.axes.lower(), (declared, *page.shape))
    layout = series_layout(tif.series[0], path)
    _check(path, declared, layout, prod(tif.pages.first.shape) // prod(tif.pages.first.shape[-2:]))
    return layout


def _check(path: str, declared: int, layout: Layout, samples: int) -> None:
    planes = len(layout.planes)
    # Bio-Formats counts the samples of a pixel as images of their own.
    if declared in (1, planes, planes * layout.planes[0].codec.shape[0], planes * samples):
        return
    raise SourceError(path, f"ImageJ declares images={declared}, but the file has {planes} planes")


def imagej_facts(tif: TiffFile, layout: Layout) -> Facts:
    """Return calibration, channels and tags of an ImageJ file."""
    meta = tif.imagej_metadata or {}
    page = tif.pages.first
    sizes = {} if _says_pixel(meta) else _sizes(tif, meta)
    step = meta.get("finterval")
    return Facts(
        format="ImageJ TIFF",
        voxel_size=sizes,
        time_step=float(step) if step is not None and plausible(step, None) else None,
        channels=_channels(meta, layout),
        metadata={"ImageJ": plain(meta)},
        notes=notes(page),
    )


def _says_pixel(meta: Mapping[str, Any]) -> bool:
    return str(meta.get("unit", "")).strip().lower() in ("pixel", "pixels")


def _sizes(tif: TiffFile, meta: Mapping[str, Any]) -> dict[str, tuple[float, str | None]]:
    unit = length_unit(meta.get("unit"))
    sizes = pixel_sizes(tif.pages.first, unit)
    if "yunit" in meta and "y" in sizes:
        sizes["y"] = sizes["y"][0], length_unit(meta["yunit"])
    depth = meta.get("spacing")
    if isinstance(depth, int | float):
        # Some plugins count slices downwards, which ImageJ stores as a negative spacing.
        sizes["z"] = abs(depth), length_unit(meta["zunit"]) if "zunit" in meta else unit
    return {axis: pair for axis, pair in sizes.items() if plausible(*pair)}


def _channels(meta: Mapping[str, Any], layout: Layout) -> tuple[SourceChannel, ...]:
    count = dict(zip(layout.axes, layout.shape, strict=True)).get("c", 1)
    windows = _windows(meta, count)
    tables = list(meta.get("LUTs", ()))
    colors = [_color(table) for table in tables] if len(tables) == count else [None] * count
    if not any(windows) and not any(colors):
        return ()
    return tuple(SourceChannel(color=c, window=w) for c, w in zip(colors, windows, strict=True))


def _windows(meta: Mapping[str, Any], count: int) -> list[tuple[float, float] | None]:
    bounds = list(meta.get("Ranges", ()))
    if not bounds and count == 1:
        bounds = [meta.get("min"), meta.get("max")]
    numbers = all(isinstance(bound, int | float) for bound in bounds)
    if len(bounds) != 2 * count or not numbers:
        return [None] * count
    pairs = list(pairwise(map(float, bounds)))[::2]
    return [(low, high) if low < high else None for low, high in pairs]


def _color(table: object) -> str | None:
    """Return the brightest colour of a lookup table if the table is a ramp from black to it."""
    lut = np.asarray(table, "int64")
    if lut.shape != (3, 256):
        return None
    ramp = np.outer(lut[:, -1], np.arange(256)) / 255
    if np.abs(lut - ramp).max() > 1.5 or not lut[:, -1].any():
        return None
    return "".join(f"{value:02X}" for value in lut[:, -1])
