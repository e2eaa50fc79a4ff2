"""What the XML of an image in a LIF file says beside its voxels.

Source of the names: Leica Microsystems, "LIF File Format", and what LAS AF and LAS X write into
``Attachment`` elements. Lengths are in meters, times in seconds or as FILETIME.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from math import prod
from typing import Any
from xml.etree.ElementTree import Element, tostring

from microtome_core.errors import InputError
from microtome_core.units import convert
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit, plausible
from microtome_ingest.sources.lif_layout import MEANINGS, Channel, Dimension, Layout
from microtome_ingest.sources.times import uneven

_COLORS = {
    "red": "FF0000", "green": "00FF00", "blue": "0000FF", "cyan": "00FFFF", "magenta": "FF00FF",
    "yellow": "FFFF00", "gray": "FFFFFF", "grey": "FFFFFF"
}  # fmt: skip
_ATTACHMENT = "./Data/Image/Attachment"
_HARDWARE = f"{_ATTACHMENT}[@Name='HardwareSetting']"
_SETTINGS = ("ATLConfocalSettingDefinition", "ATLCameraSettingDefinition")
# By the names that OME-XML gives them.
_OBJECTIVE = {
    "Model": "ObjectiveName", "NominalMagnification": "Magnification",
    "LensNA": "NumericalAperture", "Immersion": "Immersion", "RefractiveIndex": "RefractionIndex"
}  # fmt: skip
_FILETIME = datetime(1601, 1, 1, tzinfo=UTC)
# Either describes every plane, or lies beside the image.
_LEFT_OUT = ("TimeStampList", "RelTimeStampList")


def voxel_size(layout: Layout) -> dict[str, tuple[float, str | None]]:
    """Return (size, unit) by axis: from the first voxel to the last, divided by the steps."""
    sizes: dict[str, tuple[float, str | None]] = {}
    for one in layout.dimensions:
        unit = length_unit(one.unit)
        if one.axis in "zyx" and one.extent > 1 and unit:
            size = convert(abs(one.length) / (one.extent - 1), unit, "micrometer")
            sizes[one.axis] = size, "micrometer"
    return sizes


def time_step(layout: Layout, times: Sequence[float]) -> float | None:
    """Return seconds between time points as the axis says, else as the time stamps do."""
    for one in layout.dimensions:
        if one.axis == "t" and one.extent > 1:
            step = _seconds(abs(one.length) / (one.extent - 1), one.unit)
            if plausible(step, None):
                return step
            return times[-1] / (len(times) - 1) if times and not uneven(times) else None
    return None


def _seconds(value: float, unit: str) -> float:
    try:
        return convert(value, unit, "second")
    except InputError:
        return 0.0


def time_points(element: Element, layout: Layout) -> tuple[float, ...]:
    """Return seconds from the first time point of each, from the time stamps of all planes."""
    count = layout.extents.get("t", 1)
    stamps = _stamps(element)
    planes = prod(n for axis, n in layout.extents.items() if axis not in "yxs")
    if layout.axes[0] != "t" or len(stamps) not in (count, planes):
        return ()
    first = stamps[:: len(stamps) // count]
    return tuple((stamp - first[0]) / 1e7 for stamp in first)


def _stamps(element: Element) -> list[int]:
    """Return the FILETIME of each plane."""
    stamps = element.find("./Data/Image/TimeStampList")
    if stamps is None:
        return []
    pairs = [(s.attrib["HighInteger"], s.attrib["LowInteger"]) for s in stamps.iter("TimeStamp")]
    if pairs:
        return [(int(high) << 32) + int(low) for high, low in pairs]
    return [int(text, 16) for text in (stamps.text or "").split()]


def channels(element: Element, layout: Layout) -> tuple[SourceChannel, ...]:
    """Return what the XML says of each channel; nothing of the samples of a pixel."""
    if "s" in layout.axes:
        return ()
    windows, detected = _windows(element, layout.channels), _detected(element, layout.channels)
    triples = zip(layout.channels, windows, detected, strict=True)
    return tuple(_channel(channel, window, facts) for channel, window, facts in triples)


def _channel(
    channel: Channel, window: tuple[float, float] | None, detected: Mapping[str, Any]
) -> SourceChannel:
    texts = {e.findtext("Key", ""): e.findtext("Value", "") for e in channel.element}
    dye = texts.get("DyeName") or detected.get("indicator")
    found = {"indicator": dye, "detector": texts.get("DetectorName"), **detected}
    metadata = {key: value for key, value in found.items() if value}
    measured = channel.element.get("NameOfMeasuredQuantity")
    return SourceChannel(
        name=dye or metadata.get("detector") or measured or None,
        color=_COLORS.get(channel.element.get("LUTName", "").strip().lower()),
        window=window,
        metadata=metadata,
    )


def _windows(element: Element, channels: Sequence[Channel]) -> Sequence[tuple[float, float] | None]:
    """Return display ranges, which are stored as fractions of what the bits can hold."""
    found = element.findall(f"{_ATTACHMENT}[@Name='ViewerScaling']/ChannelScalingInfo")
    if len(found) != len(channels):
        return [None] * len(channels)
    return [_window(one, channel) for one, channel in zip(found, channels, strict=True)]


def _window(scaling: Element, channel: Channel) -> tuple[float, float] | None:
    low, high = (float(scaling.get(name, 0)) for name in ("BlackValue", "WhiteValue"))
    whole = channel.dtype.kind == "u" and channel.bits == 8 * channel.dtype.itemsize
    if not whole or not 0 <= low < high <= 1:
        return None
    most = float(2**channel.bits - 1)
    return low * most, high * most


def _detected(element: Element, channels: Sequence[Channel]) -> Sequence[Mapping[str, Any]]:
    """Return detector, dye and band of each channel, where the settings leave no doubt.

    Channels are listed without a word of their detector; they are taken to be the active ones in
    order if there are as many, with the same lookup tables, and one setting for all.
    """
    unknown: list[Mapping[str, Any]] = [{} for _ in channels]
    hardware = element.find(_HARDWARE)
    if hardware is None or len(hardware.findall(".//DetectorList")) != 1:
        return unknown
    active = [d for d in hardware.iter("Detector") if d.get("IsActive") == "1"]
    tables = {e.get("Channel"): e.get("LutName") for e in hardware.iter("LUT")}
    bands = {e.get("Channel"): e for e in hardware.iter("MultiBand")}
    used = [tables.get(d.get("Channel")) for d in active]
    if used != [channel.element.get("LUTName") for channel in channels]:
        return unknown
    return [_detector(d, bands.get(d.get("Channel"))) for d in active]


def _detector(detector: Element, band: Element | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"detector": detector.get("Name")}
    if band is not None:
        facts["indicator"] = band.get("DyeName")
        ends = [float(band.get(f"TargetWaveLength{end}", 0)) for end in ("Begin", "End")]
        if 0 < ends[0] < ends[1]:
            facts["emission_range_in_nm"] = ends
    return {key: value for key, value in facts.items() if value}


def metadata(
    element: Element, name: str, kind: str, layout: Layout, tile: int | None
) -> dict[str, Any]:
    """Return what has no other place; the XML of the image as it is, less the time stamps."""
    settings = next(
        (e for tag in _SETTINGS if (e := element.find(f"{_HARDWARE}/{tag}")) is not None), None
    )
    stamps, times = _stamps(element), time_points(element, layout)
    bits = {channel.bits for channel in layout.channels}
    facts = {
        "name": name,
        "acquisition_date": _date(stamps),
        "significant_bits": bits.pop() if len(bits) == 1 else None,
        "instrument": _instrument(element, settings),
        "objective": _texts(settings, _OBJECTIVE),
        "stage_position": _position(element, settings, tile),
        "time_points": list(times) if uneven(times) else None,
        kind: {"path": name, "tile": tile, "xml": _xml(element)},
    }
    return {key: value for key, value in facts.items() if value}


def _date(stamps: Sequence[int]) -> str | None:
    if not stamps or not stamps[0]:
        return None
    return (_FILETIME + timedelta(microseconds=stamps[0] // 10)).isoformat(timespec="milliseconds")


def _texts(element: Element | None, names: Mapping[str, str]) -> dict[str, str]:
    found = {} if element is None else {key: element.get(of) for key, of in names.items()}
    return {key: text.strip() for key, text in found.items() if text}


def _instrument(element: Element, settings: Element | None) -> dict[str, str]:
    names = {"Model": "MicroscopeModel", "SerialNumber": "SystemSerialNumber"}
    found = _texts(settings, names) | _texts(
        element.find(_HARDWARE), {"System": "SystemTypeName", "Software": "Software"}
    )
    return {"Manufacturer": "Leica Microsystems"} | found if found else {}


def _position(
    element: Element, settings: Element | None, tile: int | None
) -> dict[str, Any] | None:
    """Return where the stage was, in micrometers, for this tile if there are several."""
    if tile is not None:
        tiles = element.findall(f"{_ATTACHMENT}[@Name='TileScanInfo']/Tile")
        source, keys = (tiles[tile] if tile < len(tiles) else None), ("PosX", "PosY", "PosZ")
    else:
        source, keys = settings, ("StagePosX", "StagePosY", "ZPosition")
    if source is None or any(key not in source.attrib for key in keys[:2]):
        return None
    values = [convert(float(source.get(key, 0)), "meter", "micrometer") for key in keys]
    return dict(zip("xyz", values, strict=True)) | {"unit": "micrometer"}


def _xml(element: Element) -> str:
    image = deepcopy(element.find("./Data/Image"))
    if image is None:
        return ""
    for child in [child for child in image if child.tag in _LEFT_OUT]:
        image.remove(child)
    return tostring(image, encoding="unicode")


def notes(
    layout: Layout, element: Element, spare: int, tiles: int, photons: int
) -> tuple[str, ...]:
    """Say what is odd; `spare` bytes of the memory block are not read, nor `photons` sets."""
    found = [f"the scan has no axis {axis}: it is stored with one voxel" for axis in layout.added]
    found += [_axis_note(d) for d in layout.dimensions if d.axis in MEANINGS and d.extent > 1]
    found += [
        f"{d.axis} runs from {d.origin:g} to {d.origin + d.length:g} {d.unit}, downwards: planes "
        "are in the file's order"
        for d in layout.dimensions
        if d.axis in "zyx" and d.length < 0 and d.extent > 1
    ]
    if tiles > 1:
        found.append(f"one of {tiles} tiles, each of which is a scene: they are not stitched")
    if uneven(time_points(element, layout)):
        found.append("time points are not even: metadata lists them")
    if photons:
        found.append(
            f"the file also holds {photons} sets of photon counts (FLIM): they are not read"
        )
    if spare > 0:
        found.append(f"its memory block holds {spare} bytes more, which are not read")
    return tuple(found)


def _axis_note(one: Dimension) -> str:
    last = one.origin + one.length
    return f"axis {one.axis} is {MEANINGS[one.axis]}: {one.origin:g} to {last:g} {one.unit}".strip()
