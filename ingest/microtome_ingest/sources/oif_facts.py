"""What the settings of an Olympus image say beside its voxels.

Source of the names: Olympus FluoView FV1000 and FV1200, as their settings files spell them.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np

from microtome_core.errors import InputError, SourceError
from microtome_core.units import convert
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit, plausible
from microtome_ingest.sources.oif_grid import OifGrid, prefix_of
from microtome_ingest.sources.oif_members import Members, Settings, settings
from microtome_ingest.sources.tiff_tags import plain
from microtome_ingest.sources.times import uneven

_CODES = 9
_REFERENCE = "Reference Image Parameter"
_ACQUISITION = "Acquisition Parameters Common"
# Files of settings that are read for the times of planes.
_MOST_TIMES = 20_000
_MEANINGS = {"l": "emission wavelength", "a": "angle", "p": "points", "q": "unknown to its writer"}


def axis_table(main: Settings, axis: str) -> Settings:
    """Return the section of an axis, empty if there is none."""
    for i in range(_CODES + 1):
        table: Settings = main.get(f"Axis {i} Parameters Common", {})
        if str(table.get("AxisCode", "")).lower() == axis:
            return table
    return {}


def voxel_size(main: Settings, grid: OifGrid) -> dict[str, tuple[float, str | None]]:
    """Return (size, unit) by axis: of a plane from the reference image, else of the axis."""
    reference: Settings = main.get(_REFERENCE, {})
    sizes = {"x": _size(reference, "Width"), grid.rows: _size(reference, "Height")}
    for axis in "zyx":
        if axis in grid.axes and not plausible(*sizes.get(axis, (0.0, None))):
            sizes[axis] = _step(main, grid, axis)
    return {axis: pair for axis, pair in sizes.items() if axis in "zyx" and pair[1]}


def _size(reference: Settings, side: str) -> tuple[float, str | None]:
    unit = length_unit(reference.get(f"{side}Unit"))
    return _number(reference.get(f"{side}ConvertValue")), unit


def _step(main: Settings, grid: OifGrid, axis: str) -> tuple[float, str | None]:
    table = axis_table(main, axis)
    return _distance(table, grid, axis), length_unit(table.get("UnitName"))


def _distance(table: Settings, grid: OifGrid, axis: str) -> float:
    """Return what lies between the ends of an axis divided by the steps, or its interval."""
    count = grid.shape[grid.axes.index(axis)]
    ends = _number(table.get("EndPosition")) - _number(table.get("StartPosition"))
    if ends and count > 1:
        return abs(ends) / (count - 1)
    return abs(_number(table.get("Interval")))


def _number(value: object) -> float:
    number = float(value) if isinstance(value, int | float) else 0.0
    return number if isfinite(number) else 0.0


def time_step(main: Settings, grid: OifGrid, times: Sequence[float]) -> float | None:
    """Return seconds between time points: as measured if they are even, else as intended."""
    if "t" not in grid.axes:
        return None
    measured = times[-1] / (len(times) - 1) if len(times) > 1 and not uneven(times) else 0.0
    table = axis_table(main, "t")
    reference: Settings = main.get(_REFERENCE, {})
    line = _number(reference.get("HeightConvertValue")) if grid.rows == "t" else 0.0
    steps = (
        measured,
        _seconds(line, reference.get("HeightUnit")),
        _seconds(_distance(table, grid, "t"), table.get("UnitName")),
    )
    return next((step for step in steps if plausible(step, None)), None)


def _seconds(value: float, unit: object) -> float:
    try:
        return convert(value, str(unit), "second")
    except InputError:
        return 0.0


def time_points(source: Members, main: Settings, grid: OifGrid) -> tuple[float, ...]:
    """Return seconds from the first plane of each time point, from the settings of planes."""
    count = dict(zip(grid.axes, grid.shape, strict=True)).get("t", 1)
    if grid.rows == "t" or not 1 < count <= _MOST_TIMES:
        return ()
    number = next(i for i in range(_CODES + 1) if _code(main, i) == "t")
    stamps = []
    for index in range(count):
        name = _settings_of(grid.first("t", index))
        if name not in source.sizes:
            return ()
        table = settings(source, name).get(f"Axis {number} Parameters", {})
        unit = table.get("AbsPositionUnitName")
        stamps.append(_seconds(_number(table.get("AbsPositionValue")), unit))
    if any(later <= stamp for stamp, later in pairwise(stamps)):
        return ()
    return tuple(stamp - stamps[0] for stamp in stamps)


def _code(main: Settings, index: int) -> str:
    return str(main.get(f"Axis {index} Parameters Common", {}).get("AxisCode", "")).lower()


def _settings_of(plane: str) -> str:
    return plane.removesuffix(".tif") + ".pty"


def plane_settings(source: Members, plane: str) -> Settings:
    """Return the settings beside a plane, empty if there are none."""
    name = _settings_of(plane)
    return settings(source, name) if name in source.sizes else {}


def channels(source: Members, main: Settings, grid: OifGrid) -> tuple[SourceChannel, ...]:
    """Return what is known of each channel."""
    count = dict(zip(grid.axes, grid.shape, strict=True)).get("c", 1)
    tables = [main.get(f"Channel {i + 1} Parameters") for i in range(count)]
    if not all(tables):
        return ()
    return tuple(_channel(table or {}, _color(source, grid, i)) for i, table in enumerate(tables))


def _channel(table: Settings, color: str | None) -> SourceChannel:
    dye = str(table.get("DyeName", ""))
    facts = {
        "indicator": dye if dye != "None" else None,
        "excitation_wavelength_in_nm": _number(table.get("ExcitationWavelength")),
        "emission_wavelength_in_nm": _number(table.get("EmissionWavelength")),
        "contrast_method": table.get("LightType"),
        "emission_filter": table.get("BF Name"),
    }
    known = {key: value for key, value in facts.items() if value}
    return SourceChannel(name=str(table.get("CH Name", "")) or None, color=color, metadata=known)


def _color(source: Members, grid: OifGrid, channel: int) -> str | None:
    """Return the brightest colour of a channel's lookup table, if it is a ramp from black."""
    plane = grid.first("c", channel)
    table = plane_settings(source, plane).get("LUT Parameter", {}).get("LUTFileName", "")
    name = f"{prefix_of(plane)}{table}.lut"
    if not table or name not in source.sizes:
        return None
    try:
        found = settings(source, name).get("ColorLUTData")
    except SourceError:  # no voxel depends on it
        return None
    return None if found is None else _ramp(np.asarray(found, "int64"))


def _ramp(table: Any) -> str | None:  # noqa: ANN401 - an array
    """Return the last colour of a table of blue, green, red, nothing."""
    if table.ndim != 2 or len(table) < 2:
        return None
    last = table[-1, :3]
    line = np.outer(np.linspace(0, 1, len(table)), last)
    if np.abs(table[:, :3] - line).max() > 1.5 or not last.any():
        return None
    return "".join(f"{value:02X}" for value in last[::-1])


def metadata(
    source: Members, main: Settings, grid: OifGrid, times: Sequence[float]
) -> dict[str, Any]:
    """Return what has no other place; the main settings, and those of the first plane."""
    first = plane_settings(source, grid.names[0])
    common, lens = main.get(_ACQUISITION, {}), first.get(_ACQUISITION, {})
    info, version = main.get("File Info", {}), main.get("Version Info", {})
    facts = {
        "name": info.get("DataName") or source.main,
        "description": str(info.get("UserComment", "")).strip(),
        "acquisition_date": _date(common),
        "significant_bits": int(_number(main.get(_REFERENCE, {}).get("ValidBitCounts"))),
        "instrument": _named(
            {"Manufacturer": "Olympus", "Model": common.get("Acquisition Device"),
             "System": version.get("SystemName"), "Version": version.get("SystemVersion")}
        ),
        "objective": _named(
            {"Model": lens.get("ObjectiveLens Name"), "LensNA": lens.get("ObjectiveLens NAValue"),
             "NominalMagnification": lens.get("Magnification"),
             "WorkingDistance": lens.get("ObjectiveLens WDValue")}
        ),
        "lasers": _lasers(main),
        "time_points": list(times) if uneven(times) else None,
        source.kind: plain({"main": dict(main), "first plane": dict(first)}),
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value}


def _named(values: dict[str, Any]) -> dict[str, str]:
    # 9999 is what FluoView writes where it does not know.
    known = {k: v for k, v in values.items() if v not in (None, "", 0, 9999, 9999.0)}
    return {key: str(value) for key, value in known.items()}


def _lasers(main: Settings) -> list[dict[str, Any]]:
    """Return wavelength and transmission of the lasers that were on."""
    tables = (main.get(f"Laser {i} Parameters", {}) for i in range(16))
    on = [table for table in tables if table.get("Laser Enable") == 1]
    return [
        {
            "wavelength_in_nm": _number(table.get("LaserWavelength")),
            "transmission": _number(table.get("LaserTransmissivity")),
        }
        for table in on
    ]


def _date(common: Settings) -> str | None:
    """Return a date and time of day, of a clock whose zone is not known."""
    text = str(common.get("ImageCaputreDate", "")).strip()  # so spelt
    if len(text) != len("2012-07-26 15:13:35"):
        return None
    fraction = common.get("ImageCaputreDate+MilliSec")
    milliseconds = f".{fraction:03d}" if isinstance(fraction, int) and 0 < fraction < 1000 else ""
    return text.replace(" ", "T") + milliseconds


def notes(main: Settings, grid: OifGrid, times: Sequence[float]) -> tuple[str, ...]:
    """Say what is odd."""
    found = [_axis_note(main, axis) for axis in grid.axes if axis in _MEANINGS]
    if grid.rows != "y":
        found.append("the scan has no axis y: it is stored with one voxel")
    if "z" in grid.axes and grid.rows != "z":
        found += _steps_note(axis_table(main, "z"), grid)
    if uneven(times):
        found.append("time points are not even: metadata lists them")
    return tuple(found)


def _axis_note(main: Settings, axis: str) -> str:
    table = axis_table(main, axis)
    first, last = _number(table.get("StartPosition")), _number(table.get("EndPosition"))
    unit = table.get("UnitName", "")
    return f"axis {axis} is {_MEANINGS[axis]}: {first:g} to {last:g} {unit}".strip()


def _steps_note(table: Settings, grid: OifGrid) -> list[str]:
    """Say where the distance of planes is not the one that was asked for."""
    interval, measured = abs(_number(table.get("Interval"))), _distance(table, grid, "z")
    if not interval or abs(measured - interval) <= 0.01 * interval:
        return []
    unit = table.get("UnitName", "")
    said = (
        f"planes lie {measured:g} {unit} apart by the ends of z, but {interval:g} by its interval"
    )
    return [said]
