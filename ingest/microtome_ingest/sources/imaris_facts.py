"""What the attributes of an Imaris file mean: size, voxels, channels, time, instrument.

Source of the format: Bitplane, Imaris 5.5 file format. Axis 0 is x, 1 is y, 2 is z; every
attribute is an array of single characters.
"""

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any

from numpy.typing import NDArray

from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit, plausible
from microtome_ingest.sources.times import Times, times_of

Words = Mapping[str, Any]
_UNSAID = ("", "(name not specified)", "(description not specified)")


def joined(characters: NDArray[Any]) -> str:
    """Return an array of single characters as text, which old versions wrote in Latin-1."""
    data = characters.tobytes().rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def text(words: Words, name: str) -> str | None:
    """Return an attribute as text, None where it says nothing."""
    value = words.get(name)
    found = "" if value is None or isinstance(value, list) else str(value).strip()
    return None if found in _UNSAID else found


def numbers(words: Words, name: str) -> tuple[float, ...]:
    """Return the finite numbers of an attribute; none where one is no number."""
    try:
        found = tuple(float(part) for part in (text(words, name) or "").split())
    except ValueError:
        return ()
    return found if all(map(isfinite, found)) else ()


def count(words: Words, name: str) -> int | None:
    """Return an attribute as a number of voxels or time points."""
    found = numbers(words, name)
    return int(found[0]) if len(found) == 1 and found[0] > 0 and found[0] % 1 == 0 else None


def size(words: Words, names: tuple[str, str, str]) -> tuple[int, ...] | None:
    """Return the extents of three attributes, None where one is missing."""
    found = [count(words, name) for name in names]
    return None if None in found else tuple(n for n in found if n is not None)


def voxel_size(image: Words, extents: Mapping[str, int]) -> tuple[dict[str, float], str | None]:
    """Return the size by axis and its unit: what ExtMin and ExtMax span, divided by the extent."""
    unit = length_unit(text(image, "Unit"))
    sizes: dict[str, float] = {}
    for axis, extent in extents.items():
        place = "xyz".index(axis)
        low, high = numbers(image, f"ExtMin{place}"), numbers(image, f"ExtMax{place}")
        step = (high[0] - low[0]) / extent if len(low) == len(high) == 1 else 0.0
        if plausible(step, unit):
            sizes[axis] = step
    return sizes, unit if sizes else None


def channel(words: Words) -> SourceChannel:
    """Return what is said of a channel."""
    window = numbers(words, "ColorRange")
    facts = {
        "emission_wavelength_in_nm": numbers(words, "LSMEmissionWavelength"),
        "excitation_wavelength_in_nm": numbers(words, "LSMExcitationWavelength"),
    }
    return SourceChannel(
        name=text(words, "Name"),
        color=_color(words),
        window=(window[0], window[1]) if len(window) == 2 and window[0] < window[1] else None,
        metadata={
            **({"description": said} if (said := text(words, "Description")) else {}),
            **{k: v[0] for k, v in facts.items() if len(v) == 1 and plausible(v[0], None)},
        },
    )


def _color(words: Words) -> str | None:
    """Return the base colour, or the brightest end of the table of colours."""
    table = text(words, "ColorMode") == "TableColor" and numbers(words, "ColorTable")
    parts = (table or numbers(words, "Color"))[-3:]
    if len(parts) != 3:
        return None
    return "".join(f"{round(min(max(part, 0.0), 1.0) * 255):02X}" for part in parts)


def times(info: Words, length: int) -> Times:
    """Return what the moments of time points tell."""
    moments = [moment(text(info, f"TimePoint{i + 1}")) for i in range(length)]
    known = [m for m in moments if m is not None]
    if not known or len(known) < length:
        return Times()
    return times_of([(m - known[0]).total_seconds() for m in known])


def moment(value: str | None) -> datetime | None:
    """Return a date and time such as ``2018-12-10 23:23:19.000``."""
    try:
        return datetime.fromisoformat(value or "").replace(tzinfo=None)
    except ValueError:
        return None


def metadata(image: Words) -> dict[str, Any]:
    """Return what has a place of its own in the record."""
    recorded = moment(text(image, "RecordingDate"))
    power, aperture = numbers(image, "LensPower"), numbers(image, "NumericalAperture")
    objective = {"NominalMagnification": power[:1], "LensNA": aperture[:1]}
    modality = text(image, "MicroscopeModality")
    facts = {
        "name": text(image, "Name"),
        "description": text(image, "Description"),
        "acquisition_date": recorded.isoformat() if recorded else None,
        "instrument": {"Modality": modality} if modality else {},
        "objective": {key: f"{value[0]:g}" for key, value in objective.items() if value},
    }
    return {key: value for key, value in facts.items() if value}
