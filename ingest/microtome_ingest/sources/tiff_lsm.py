"""Zeiss's LSM: a TIFF whose private tag says what was scanned, with a thumbnail after each page.

Source of the names: Carl Zeiss, "LSM 5, LSM 7, LSM 8 File Format": lengths in meters, times in
seconds, wavelengths in meters, dates in days since 30 December 1899.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import prod
from typing import Any

import numpy as np
from tifffile import TiffFile

from microtome_core.errors import SourceError
from microtome_core.units import convert
from microtome_ingest.source import Scene, SourceChannel
from microtome_ingest.sources.lengths import plausible
from microtome_ingest.sources.letters import unique
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_layout import Layout, series_layout
from microtome_ingest.sources.tiff_tags import plain
from microtome_ingest.sources.times import uneven

# Positions of the stage and tiles: each is a scene.
_PLACES = "mp"
_DEPTH = 1
_DAY_ZERO = datetime(1899, 12, 30)
# Lookup tables for the screen, and where in the file the parts of the tag are.
_LEFT_OUT = ("InputLut", "OutputLut")
_BITS = {1: 8, 2: 12}


def lsm_scenes(tif: TiffFile, path: str) -> tuple[Scene, ...]:
    """List the positions; thumbnails are no images."""
    layout = _whole(tif, path)
    axes, shape = _without_places(layout)
    dtype = layout.dtype.name
    return tuple(Scene(i, _name(layout, i), axes, shape, dtype) for i in range(_count(layout)))


def lsm_layout(tif: TiffFile, path: str, scene: int) -> Layout:
    """Return the layout of one position.

    Raises
    ------
    SourceError
        Fewer pages than the tag says, or a scan without an axis x.
    """
    layout = _whole(tif, path)
    axes, shape = _without_places(layout)
    count = len(layout.planes) // _count(layout)
    planes = layout.planes[scene * count : (scene + 1) * count]
    return replace(layout, axes=axes, shape=shape, planes=planes)


def _whole(tif: TiffFile, path: str) -> Layout:
    """Return the layout of all pages; where no y was scanned, rows are z or t, and y is added."""
    series = tif.series[0]
    axes = unique(series.axes)
    if "x" not in axes:
        raise SourceError(path, f"a scan of axes {axes} without x is not supported")
    if "y" in axes:
        return series_layout(series, path)
    row = axes.index("x") - 1
    if row < 0 or axes[row] not in "zt":
        raise SourceError(path, f"a scan of axes {axes} without y is not supported")
    layout = series_layout(series, path, axes.replace(axes[row], "y"))
    place = len(layout.within) - (len(axes) - row) + 1
    return replace(
        layout,
        axes=f"{axes[: row + 1]}y{axes[row + 1 :]}",
        shape=(*layout.shape[: row + 1], 1, *layout.shape[row + 1 :]),
        within=(*layout.within[:place], _DEPTH, *layout.within[place:]),
    )


def _count(layout: Layout) -> int:
    return prod(n for a, n in zip(layout.axes, layout.shape, strict=True) if a in _PLACES)


def _without_places(layout: Layout) -> tuple[str, tuple[int, ...]]:
    pairs = [(a, n) for a, n in zip(layout.axes, layout.shape, strict=True) if a not in _PLACES]
    return "".join(a for a, _ in pairs), tuple(n for _, n in pairs)


def _name(layout: Layout, scene: int) -> str:
    return f"position {scene}" if _count(layout) > 1 else ""


def lsm_facts(tif: TiffFile, layout: Layout, scene: int, count: int) -> Facts:
    """Return what the tag says of one of `count` positions."""
    meta: Mapping[str, Any] = tif.lsm_metadata or {}
    scan = meta.get("ScanInformation") or {}
    times = _times(meta, layout)
    said = _odd(layout, meta, times)
    if count > 1:
        said.append(f"one of {count} positions, each of which is a scene: they are not stitched")
    return Facts(
        format="Zeiss LSM",
        voxel_size={axis: _size(meta, axis) for axis in "zyx"},
        time_step=_time_step(meta, layout, times),
        channels=_channels(meta, scan, layout),
        metadata=_metadata(meta, scan, times, scene),
        notes=tuple(said),
    )


def _size(meta: Mapping[str, Any], axis: str) -> tuple[float, str]:
    """Return a voxel size; 1e-19 m and 0 mean that it is not known, and stay implausible."""
    size = abs(float(meta.get(f"VoxelSize{axis.upper()}", 0)))
    return convert(size, "meter", "micrometer"), "micrometer"


def _times(meta: Mapping[str, Any], layout: Layout) -> tuple[float, ...]:
    """Return seconds from the first time point, if there is a time stamp for each."""
    stamps = np.asarray(meta.get("TimeStamps", ()), "float64")
    count = dict(zip(layout.axes, layout.shape, strict=True)).get("t", 1)
    if count < 2 or len(stamps) != count:
        return ()
    return tuple((stamps - stamps[0]).tolist())


def _time_step(meta: Mapping[str, Any], layout: Layout, times: Sequence[float]) -> float | None:
    if "t" not in layout.axes:
        return None
    interval = float(meta.get("TimeIntervall", 0))
    measured = times[-1] / (len(times) - 1) if times and not uneven(times) else 0.0
    return next((step for step in (measured, interval) if plausible(step, None)), None)


def _channels(
    meta: Mapping[str, Any], scan: Mapping[str, Any], layout: Layout
) -> tuple[SourceChannel, ...]:
    """Return names, colours and bands, if there are as many as the image has channels."""
    count = dict(zip(layout.axes, layout.shape, strict=True)).get("c", 1)
    colors = meta.get("ChannelColors") or {}
    names, rgbs = colors.get("ColorNames", []), colors.get("Colors", [])
    if len(names) != count or len(rgbs) != count:
        return ()
    bands = np.asarray(meta.get("ChannelWavelength", np.zeros((0, 2))), "float64").tolist()
    bands = bands if len(bands) == count else [(0.0, 0.0)] * count
    scanned = _scanned(scan, names)
    return tuple(
        SourceChannel(
            name=str(name) or None,
            color="".join(f"{value:02X}" for value in rgb[:3]) if any(rgb[:3]) else None,
            metadata=facts | _band(band),
        )
        for name, rgb, band, facts in zip(names, rgbs, bands, scanned, strict=True)
    )


def _band(band: Sequence[float]) -> dict[str, Any]:
    low, high = (convert(float(end), "meter", "nanometer") for end in band)
    return {"emission_range_in_nm": [low, high]} if 0 < low < high else {}


def _scanned(scan: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return dye and laser of each channel, where its name is that of one detector in use.

    Names are those of the detectors, as ``Ch2``, or with the number of the track, as ``Ch2-T1``.
    """
    tracks = [track for track in scan.get("Tracks", ()) if track.get("Acquire")]
    used = [
        (one, track)
        for track in tracks
        for one in track.get("DetectionChannels", ())
        if one.get("Acquire")
    ]
    found = [str(one.get("ChannelName", "")) for one, _ in used]
    if found != [str(name).partition("-")[0] for name in names] and found != list(names):
        return [{} for _ in names]
    return [_detection(one, track) for one, track in used]


def _detection(one: Mapping[str, Any], track: Mapping[str, Any]) -> dict[str, Any]:
    lights = [c for c in track.get("IlluminationChannels", ()) if c.get("Aquire")]
    lasers = [float(light.get("Wavelength", 0)) for light in lights]
    facts = {
        "indicator": one.get("DyeName"),
        "detector": one.get("PointDetectorName"),
        "excitation_wavelength_in_nm": lasers[0] if len(lasers) == 1 else None,
    }
    return {key: value for key, value in facts.items() if value}


def _metadata(
    meta: Mapping[str, Any], scan: Mapping[str, Any], times: Sequence[float], scene: int
) -> dict[str, Any]:
    kept = {k: v for k, v in meta.items() if k not in _LEFT_OUT and not k.startswith("Offset")}
    facts = {
        "name": scan.get("Name"),
        "description": scan.get("Description") or scan.get("Notes"),
        "acquisition_date": _date(scan.get("Sample0time")),
        "significant_bits": _BITS.get(int(meta.get("DataType", 0))),
        "instrument": {"Manufacturer": "Carl Zeiss"},
        "objective": {"Model": scan["Objective"]} if scan.get("Objective") else None,
        "stage_position": _position(meta, scene),
        "time_points": list(times) if uneven(times) else None,
        "LSM": plain(kept),
    }
    return {key: value for key, value in facts.items() if value}


def _date(days: object) -> str | None:
    """Return a date and time of day, of a clock whose zone is not known."""
    if not isinstance(days, float) or not 1 < days < 1e5:
        return None
    return (_DAY_ZERO + timedelta(days=days)).isoformat(timespec="seconds")


def _position(meta: Mapping[str, Any], scene: int) -> dict[str, Any] | None:
    """Return where the stage was; all zeros mean that nobody knows."""
    for key in ("TilePositions", "Positions"):
        places = np.asarray(meta.get(key, np.zeros((0, 3))), "float64")
        if places.any() and scene < len(places):
            values = [convert(float(v), "meter", "micrometer") for v in places[scene]]
            return dict(zip("xyz", values, strict=True)) | {"unit": "micrometer"}
    return None


def _odd(layout: Layout, meta: Mapping[str, Any], times: Sequence[float]) -> list[str]:
    found = []
    if layout.within[layout.axes.index("y") - len(layout.leading)] == _DEPTH:
        found.append("the scan has no axis y: it is stored with one voxel")
    if uneven(times):
        found.append("time points are not even: metadata lists them")
    if meta.get("SpectralScan"):
        found.append("a spectral scan: each channel is a band of wavelengths")
    return found
