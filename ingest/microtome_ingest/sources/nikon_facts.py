"""What an ND2 file says beside its voxels."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from microtome_core.errors import SourceError
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import plausible
from microtome_ingest.sources.tiff_tags import plain

_UNIX_EPOCH = 2440587.5  # as a Julian day
VERBATIM = (b"ImageAttributes", b"ImageMetadata", b"ImageTextInfo", b"ImageCalibration")
_COMPRESSED = b"L"
_COMPRESSED_HEAD = 12
# No description of a recording is as large.
_MOST = 64 << 20


def voxel_size(channels: Sequence[Any]) -> dict[str, float]:
    """Return micrometers by axis, of those axes that the microscope was calibrated for."""
    if not channels:
        return {}
    volume = channels[0].volume
    axes = zip("xyz", volume.axesCalibrated, volume.axesCalibration, strict=True)
    return {axis: float(size) for axis, known, size in axes if known and plausible(size, None)}


def channel(found: Any) -> SourceChannel:  # noqa: ANN401 - nd2.structures.Channel
    """Return what the file says of a channel."""
    meta, microscope = found.channel, found.microscope
    facts = {
        "excitation_wavelength_in_nm": meta.excitationLambdaNm,
        "emission_wavelength_in_nm": meta.emissionLambdaNm,
        "pinhole_diameter_in_um": microscope.pinholeDiameterUm,
        "modality": list(microscope.modalityFlags),
    }
    color = f"{meta.color.r:02X}{meta.color.g:02X}{meta.color.b:02X}"
    return SourceChannel(
        name=meta.name or None,
        color=None if color == "000000" else color,
        metadata={key: value for key, value in facts.items() if value},
    )


def metadata(
    attributes: Any,  # noqa: ANN401 - nd2.structures.Attributes
    texts: Mapping[str, str],
    raw: Mapping[str, Any],
    channels: Sequence[Any],
) -> dict[str, Any]:
    """Return name-independent facts under the keys that all formats share."""
    facts = {
        "description": texts.get("description"),
        "acquisition_date": date(raw.get("dTimeAbsolute")),
        "significant_bits": attributes.bitsPerComponentSignificant,
        "instrument": _instrument(raw),
        "objective": _objective(channels),
    }
    return {key: value for key, value in facts.items() if value}


def stage(x: object, y: object, z: object) -> dict[str, Any]:
    """Return a position of the stage; nothing where all numbers are zero or none."""
    numbers = {"x": x, "y": y, "z": z}
    found = {k: float(v) for k, v in numbers.items() if isinstance(v, int | float) and isfinite(v)}
    return {**found, "unit": "micrometer"} if any(found.values()) else {}


def date(day: object) -> str | None:
    """Return a Julian day as ISO 8601 in UTC.

    >>> date(2456827.080131852)
    '2014-06-18T13:55:23+00:00'
    """
    if not isinstance(day, int | float) or not _UNIX_EPOCH < day < _UNIX_EPOCH + 1e6:
        return None
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day - _UNIX_EPOCH)
    return when.isoformat(timespec="seconds")


def check_chunk(path: str, name: bytes, data: bytes) -> None:
    """Refuse metadata that would grow when they are read.

    Raises
    ------
    SourceError
        XML with entities of its own, which NIS-Elements never writes, or a zlib bomb.
    """
    if data.startswith(b"<"):
        text = data.replace(b"\0", b"")
        if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
            raise SourceError(path, f"its XML in {name!r} declares entities: refused")
    if data.startswith(_COMPRESSED):
        inflater = zlib.decompressobj()
        if len(inflater.decompress(data[_COMPRESSED_HEAD:], _MOST + 1)) > _MOST:
            raise SourceError(path, f"{name!r} inflates to more than {_MOST} bytes: refused")


def verbatim(file: Any, names: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401 - nd2.ND2File
    """Return all that the file says of its first frame and of the whole, as it says it."""
    kinds = tuple(kind.decode() for kind in VERBATIM)
    wanted = {n for n in names if n.startswith(kinds) and ("|" not in n or n.endswith("|0"))}
    found: dict[str, Any] = plain(file.unstructured_metadata(strip_prefix=False, include=wanted))
    return {
        "attributes": plain(file.attributes._asdict()),
        "experiment": [plain(asdict(loop)) for loop in file.experiment],
        "text_info": plain(file.text_info),
        "chunks": found,
    }


def _instrument(raw: Mapping[str, Any]) -> dict[str, str]:
    settings = raw.get("sPicturePlanes", {}).get("sSampleSetting", {}).get("a0", {})
    device, camera = settings.get("pDeviceSetting") or {}, settings.get("pCameraSetting") or {}
    found = {
        "Model": device.get("m_sMicroscopeFullName") or device.get("m_sMicroscopeShortName"),
        "Detector": camera.get("CameraUserName"),
    }
    return {key: str(value) for key, value in found.items() if value}


def _objective(channels: Sequence[Any]) -> dict[str, Any]:
    """Return the objective under the names of OME-XML."""
    if not channels:
        return {}
    microscope = channels[0].microscope
    found = {
        "Model": microscope.objectiveName,
        "NominalMagnification": microscope.objectiveMagnification,
        "LensNA": microscope.objectiveNumericalAperture,
        "RefractiveIndex": microscope.immersionRefractiveIndex,
    }
    return {key: value for key, value in found.items() if value}
