"""ScanImage's TIFF files: int16 frames whose order is written as MATLAB assignments.

Source of the keys and of the order of frames (channel fastest, then frames of a slice, slices,
volumes): ScanImage documentation, "ScanImage BigTiff Specification".
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, prod
from typing import Any

from tifffile import TiffFile, TiffPage, TiffPageSeries, matlabstr2py, read_scanimage_metadata

from microtome_core.errors import SourceError
from microtome_ingest.sources.lengths import plausible
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_layout import Layout, series_layout
from microtome_ingest.sources.tiff_tags import plain, verbatim

_CHANNELS = "SI.hChannels.channelSave", "channelsSave"
_SLICES = "SI.hStackManager.actualNumSlices", "SI.hStackManager.numSlices"


def is_scanimage(page: TiffPage) -> bool:
    """Tell whether ScanImage's assignments are in a page's tags."""
    old = page.description.startswith("state.") or "scanimage.SI" in page.description[-256:]
    return old or page.software.startswith("SI.")


def scanimage_layout(tif: TiffFile, series: TiffPageSeries, path: str) -> Layout:
    """Return the layout of a ScanImage file.

    Channels that are interleaved become axis c, slices and volumes z and t. Where the counts do
    not say how frames make up slices, that axis stays open.

    Raises
    ------
    SourceError
        Frames that the saved channels do not divide: cut off.
    """
    layout = series_layout(series, path)
    if len(layout.leading) != 1:
        return layout
    keys, frames = _keys(tif), layout.shape[0]
    channels = _count(_first(keys, _CHANNELS))
    if frames % channels:
        raise SourceError(path, f"{frames} frames of {channels} channels: cut off")
    axes, shape = _order(keys, frames // channels)
    if channels > 1:
        axes, shape = axes + "c", (*shape, channels)
    return replace(layout, axes=axes + layout.axes[1:], shape=shape + layout.shape[1:])


def _order(keys: Mapping[str, Any], frames: int) -> tuple[str, tuple[int, ...]]:
    """Return axes and extents that `frames` of one channel make up."""
    slices, each = _first(keys, _SLICES), keys.get("SI.hStackManager.framesPerSlice", 1)
    if keys.get("SI.hFastZ.numDiscardFlybackFrames") or not isinstance(slices, int) or slices < 1:
        return "i", (frames,)
    if slices == 1:
        return "t", (frames,)
    known = (("z", (slices,)), ("zt", (slices, each)), ("tz", (frames // slices, slices)))
    for axes, shape in known:
        fits = all(isinstance(extent, int) and extent > 0 for extent in shape)
        if fits and prod(shape) == frames and (axes != "tz" or each == 1):
            return axes, shape
    return "i", (frames,)


def scanimage_facts(tif: TiffFile, layout: Layout) -> Facts:
    """Return what ScanImage measured."""
    keys = _keys(tif)
    sizes: dict[str, tuple[float, str | None]] = _field(keys, layout)
    step = keys.get("SI.hStackManager.stackZStepSize")
    if isinstance(step, int | float):
        sizes["z"] = abs(float(step)), "micrometer"
    return Facts(
        format="ScanImage TIFF",
        voxel_size=sizes,
        time_step=_time_step(keys, layout),
        metadata={
            "ScanImage": plain(tif.scanimage_metadata or {}),
            "TIFF": verbatim(tif.pages.first),
        },
    )


def _field(keys: Mapping[str, Any], layout: Layout) -> dict[str, tuple[float, str | None]]:
    """Return pixel sizes from the corners of the field of view, in micrometers."""
    corners = keys.get("SI.hRoiManager.imagingFovUm", ())
    try:
        spans = [max(c[i] for c in corners) - min(c[i] for c in corners) for i in (0, 1)]
    except (TypeError, ValueError, IndexError):
        return {}
    extents = dict(zip(layout.axes, layout.shape, strict=True))
    return {
        axis: (span / extents[axis], "micrometer") for axis, span in zip("xy", spans, strict=True)
    }


def _time_step(keys: Mapping[str, Any], layout: Layout) -> float | None:
    if "t" not in layout.axes:
        return None
    key = "scanVolumeRate" if "z" in layout.axes else "scanFrameRate"
    rate = keys.get(f"SI.hRoiManager.{key}", inf)
    return 1 / float(rate) if plausible(rate, None) else None


def _keys(tif: TiffFile) -> dict[str, Any]:
    """Return what does not vary: from ScanImage's own header, else from the first page's tags."""
    page = tif.pages.first
    keys = _header(tif) or _assignments(page.software)
    for name, value in _assignments(page.description).items():
        keys.setdefault(name.removeprefix("scanimage.SI4.").removeprefix("scanimage.SI5."), value)
    return keys


def _header(tif: TiffFile) -> dict[str, Any]:
    tif.filehandle.seek(0)
    try:
        return dict(read_scanimage_metadata(tif.filehandle)[0])
    except ValueError:  # an older version, which has none
        return {}


def _assignments(text: str) -> dict[str, Any]:
    """Read ``name = value`` lines in MATLAB's spelling."""
    lines = [line.partition(" = ") for line in text.splitlines()]
    keys = {name: value for name, _, value in lines if value and "." in name}
    return {name: _value(value) for name, value in keys.items()}


def _value(text: str) -> Any:  # noqa: ANN401 - MATLAB's types
    try:
        return matlabstr2py(text)
    except (ValueError, TypeError, LookupError):  # an object's name or a function: text is enough
        return text


def _first(keys: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401 - MATLAB's types
    return next((keys[name] for name in names if name in keys), None)


def _count(value: object) -> int:
    return len(value) if isinstance(value, list | tuple) else 1
