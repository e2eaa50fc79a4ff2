"""What the XML of a CZI file says beside its voxels.

Source of names and units: ZEISS, CZI metadata schema: lengths in the scaling are in metres, stage
positions in micrometers, exposure times in nanoseconds, wavelengths in nanometers.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np

from microtome_core.errors import SourceError
from microtome_core.units import convert
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import plausible

_IMAGE = "Metadata/Information/Image"
_INSTRUMENT = "Metadata/Information/Instrument"
_DIMENSIONS = f"{_IMAGE}/Dimensions"
# .NET writes it where no time was set.
_NO_YEAR = "0001-"


class Facts:
    """The metadata of a file.

    Parameters
    ----------
    xml : str
        May be empty.
    path : str
        Of the file.

    Raises
    ------
    SourceError
        Not well formed, or with entities of its own, which CZI never has.
    """

    def __init__(self, xml: str, path: str) -> None:
        self._root = parse(xml, path) if xml else Element("ImageDocument")
        every = self._root.iterfind(f"{_DIMENSIONS}/S/Scenes/Scene")
        self._scenes = {scene.get("Index", "0"): scene for scene in every}

    def voxel_size(self) -> dict[str, float]:
        """Return micrometers by axis; 0 stands for "unknown"."""
        sizes: dict[str, float] = {}
        for item in self._root.iterfind("Metadata/Scaling/Items/Distance"):
            axis, size = (item.get("Id") or "").lower(), _number(_text(item, "Value"))
            if axis in ("x", "y", "z") and plausible(size, "meter"):
                sizes[axis] = convert(size, "meter", "micrometer")
        return sizes

    def size(self, dimension: str) -> int:
        """Return how long the XML says a dimension is; 0 where it does not."""
        return int(_number(_text(self._root, f"{_IMAGE}/Size{dimension}")))

    def time_step(self) -> float | None:
        """Return the seconds between time points as they were asked for."""
        step = _number(_text(self._root, f"{_DIMENSIONS}/T/Positions/Interval/Increment"))
        return step or None

    def scenes(self) -> dict[int, str]:
        """Return the names of scenes by their numbers."""
        return {
            int(index): scene.get("Name") or ""
            for index, scene in self._scenes.items()
            if index.isdecimal()
        }

    def stage(self, scene: int | None) -> dict[str, Any]:
        """Return where the stage stood for a scene, in micrometers."""
        found = self._scenes.get(str(scene or 0))
        return {} if found is None else _position(found)

    def channels(self, numbers: Sequence[int], dtype: np.dtype[Any]) -> tuple[SourceChannel, ...]:
        """Return the channels of those numbers, or none where the XML lists fewer."""
        listed = self._root.findall(f"{_DIMENSIONS}/Channels/Channel")
        shown = self._root.findall("Metadata/DisplaySetting/Channels/Channel")
        if not numbers or max(numbers) >= len(listed):
            return ()
        by_id = {one.get("Id"): one for one in shown}
        return tuple(
            _channel(listed[n], by_id.get(listed[n].get("Id"), Element("Channel")), dtype)
            for n in numbers
        )

    def metadata(self) -> dict[str, Any]:
        """Return what all formats have a name for."""
        document = "Metadata/Information/Document"
        when = [f"{_IMAGE}/AcquisitionDateAndTime", f"{_DIMENSIONS}/T/StartTime"]
        dates = [_text(self._root, path) for path in when]
        facts = {
            "name": _text(self._root, f"{document}/Title") or _text(self._root, f"{document}/Name"),
            "description": _text(self._root, f"{document}/Description"),
            "acquisition_date": next((d for d in dates if d and not d.startswith(_NO_YEAR)), None),
            "significant_bits": int(_number(_text(self._root, f"{_IMAGE}/ComponentBitCount"))),
            "instrument": self._instrument(),
            "objective": self._objective(),
            "software": self._software(),
        }
        return {key: value for key, value in facts.items() if value}

    def _software(self) -> dict[str, str]:
        """Return ZEISS's own program; others that write CZI files ran no microscope."""
        found = self._root.find("Metadata/Information/Application")
        name = "" if found is None else _text(found, "Name")
        if found is None or not name.startswith(("ZEN", "AIM")):
            return {}
        version = _text(found, "Version")
        return {"name": name, **({"version": version} if version else {})}

    def _instrument(self) -> dict[str, str]:
        found = self._referred("MicroscopeRef", "Microscopes/Microscope")
        if found is None:
            return {}
        model = found.get("Name") or _text(found, "System")
        facts = {"Model": model, "Type": _text(found, "Type")}
        return {key: value for key, value in facts.items() if value}

    def _objective(self) -> dict[str, Any]:
        """Return the objective under the names of OME-XML."""
        found = self._referred("ObjectiveSettings/ObjectiveRef", "Objectives/Objective")
        if found is None:
            name = _text(self._root, "Metadata/Scaling/AutoScaling/ObjectiveName")
            return {"Model": name} if name else {}
        facts: dict[str, Any] = {
            "Model": _text(found, "Manufacturer/Model") or found.get("Name"),
            "Immersion": _text(found, "Immersion"),
        }
        for name in ("NominalMagnification", "LensNA", "WorkingDistance"):
            facts[name] = _number(_text(found, name))
        facts["RefractiveIndex"] = _number(
            _text(self._root, f"{_IMAGE}/ObjectiveSettings/RefractiveIndex")
        )
        return {key: value for key, value in facts.items() if value}

    def _referred(self, reference: str, kind: str) -> Element | None:
        found = self._root.find(f"{_IMAGE}/{reference}")
        wanted = None if found is None else found.get("Id")
        every = self._root.iterfind(f"{_INSTRUMENT}/{kind}")
        return next((one for one in every if wanted and one.get("Id") == wanted), None)


def parse(xml: str, path: str) -> Element:
    """Return the root of an XML document without entities."""
    if "<!ENTITY" in xml or "<!DOCTYPE" in xml:
        raise SourceError(path, "its XML declares entities: refused")
    try:
        return fromstring(xml)  # noqa: S314 - documents with entities are refused above
    except ParseError as error:
        raise SourceError(path, f"its XML is not well formed: {error}") from error


def tags(xml: str, path: str) -> dict[str, str]:
    """Return what a subblock's own XML says."""
    if not xml.strip("\0 \r\n"):
        return {}
    found = parse(xml, path).find("Tags")
    return {} if found is None else {one.tag: (one.text or "").strip() for one in found}


def stage_of_tags(found: dict[str, str]) -> dict[str, Any]:
    """Return where the stage stood when a subblock was taken, in micrometers."""
    names = {"x": "StageXPosition", "y": "StageYPosition", "z": "FocusPosition"}
    numbers = {axis: float(found[name]) for axis, name in names.items() if found.get(name)}
    return {**numbers, "unit": "micrometer"} if numbers else {}


def _position(scene: Element) -> dict[str, Any]:
    place = scene.find("Positions/Position")
    if place is not None:
        found = {axis: place.get(axis.upper()) for axis in "xyz"}
    else:
        parts = _text(scene, "CenterPosition").split(",")
        found = dict(zip("xy", parts, strict=False)) if len(parts) == 2 else {}
    numbers = {axis: _number(text) for axis, text in found.items() if text}
    return {**numbers, "unit": "micrometer"} if numbers else {}


def _channel(element: Element, shown: Element, dtype: np.dtype[Any]) -> SourceChannel:
    facts: dict[str, Any] = {
        "excitation_wavelength_in_nm": _number(_text(element, "ExcitationWavelength"))
        or _number(_text(element, "IlluminationWavelength/SinglePeak")),
        "emission_wavelength_in_nm": _number(_text(element, "EmissionWavelength")),
        "indicator": _text(element, "Fluor") or _text(shown, "DyeName"),
        "contrast_method": _text(element, "ContrastMethod"),
        "acquisition_mode": _text(element, "AcquisitionMode"),
        "exposure_time_in_s": _number(_text(element, "ExposureTime")) / 1e9,
    }
    return SourceChannel(
        name=element.get("Name") or shown.get("Name") or None,
        color=_color(_text(element, "Color") or _text(shown, "Color")),
        window=_window(shown, dtype),
        metadata={key: value for key, value in facts.items() if value},
    )


def _window(shown: Element, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return the display range, which is stored as parts of all that a type can hold."""
    low, high = _text(shown, "Low"), _text(shown, "High")
    if not low or not high or dtype.kind != "u":
        return None
    most = float(np.iinfo(dtype).max)
    window = abs(_number(low)) * most, _number(high) * most
    return window if window[0] < window[1] else None


def _color(text: str) -> str | None:
    """Return RRGGBB of ``#AARRGGBB`` or ``#RRGGBB``."""
    digits = text.removeprefix("#")[-6:].upper()
    good = len(text) in (7, 9) and len(digits) == 6 and set(digits) <= set("0123456789ABCDEF")
    return digits if good else None


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(text: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if isfinite(value) else 0.0
