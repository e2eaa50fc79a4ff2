"""What a source says of itself, under the names of the record.

Only what a source says in so many words is taken. What cannot be as it is told, such as a
wavelength of 0.5 nm, is left out of its place and kept with what has none.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from pydantic import ValidationError

from microtome_core.errors import InputError
from microtome_core.names import numbered_channel
from microtome_core.store.record import SCHEMAS, WRITING, Record
from microtome_core.store.record_given import DERIVED, OF_LAYER, merge
from microtome_core.store.record_objects import (
    ImagingPlane,
    Microscope,
    OpticalChannel,
    RecordModel,
    Subject,
)
from microtome_ingest.source import SourceChannel

LEFT_OUT = "left out"
# What OME-XML, and after it all readers, call the parts of an objective.
_OBJECTIVE = {
    "Model": "model_name", "Manufacturer": "manufacturer", "SerialNumber": "serial_number",
    "LensNA": "numerical_aperture", "NominalMagnification": "magnification",
    "Immersion": "immersion", "RefractiveIndex": "refractive_index",
}  # fmt: skip
_MICROSCOPE = {
    "Model": "model_name", "Manufacturer": "manufacturer", "SerialNumber": "serial_number",
    "Type": "description", "Modality": "technique",
}  # fmt: skip
_GENERAL = (
    "experimenter", "institution", "lab", "keywords", "session_id", "related_publications",
    "experiment_description", "notes", "protocol", "surgery", "virus", "pharmacology", "slices",
    "data_collection",
)  # fmt: skip
_SESSION = ("identifier", "session_description", "session_start_time")
_MOST_TRIES = 20


def told_by(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a source says beside its channels, in the form of a record; unchecked.

    Parameters
    ----------
    metadata : dict
        Of its description.
    """
    told = _common(metadata)
    for more in (_nwb(metadata), _bossdb(metadata), _own(metadata)):
        told = merge(told, more)
    return told


def channels_of(channels: Sequence[SourceChannel]) -> list[dict[str, Any]]:
    """Return channels in the form of a record; those without a name are numbered."""
    return [
        {**channel.metadata, "name": channel.name or numbered_channel(number)}
        for number, channel in enumerate(channels)
    ]


def without_faults(told: dict[str, Any]) -> dict[str, Any]:
    """Return a record of which every value may be written; others are kept as ``left out``.

    Parameters
    ----------
    told : dict
        A whole record, of which no part that the ingest itself knows is at fault.
    """
    left: dict[str, Any] = {}
    for _ in range(_MOST_TRIES):
        try:
            checked = Record.model_validate(told, context=WRITING)
        except ValidationError as error:
            places = {_place(told, fault["loc"]) for fault in error.errors(include_url=False)}
            for place in sorted(places, key=len):
                left |= _removed(told, place)
        else:
            kept = {**checked.original_metadata, LEFT_OUT: left} if left else None
            return {**checked.to_json(), **({"original_metadata": kept} if kept else {})}
    raise InputError("what the source says of itself makes no record")


def _common(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all formats have one word for."""
    when = metadata.get("acquisition_date")
    instrument = _dict(metadata.get("instrument"))
    known = {
        "session_description": metadata.get("description"),
        "acquisition_date": when,
        "session_start_time": when if _has_zone(when) else None,
        "significant_bits": metadata.get("significant_bits"),
        "experimenter": metadata.get("experimenter"),
        "institution": metadata.get("institution"),
        "acquisition_software": _software(metadata, instrument),
        "microscopy_rig": _known(
            {
                "microscope": _renamed(instrument, _MICROSCOPE),
                "objective_lens": _renamed(_dict(metadata.get("objective")), _OBJECTIVE),
                "photodetector": _known({"model_name": instrument.get("Detector")}),
            }
        ),
    }
    return _known(known)


def _has_zone(when: object) -> bool:
    try:
        return isinstance(when, str) and datetime.fromisoformat(when).tzinfo is not None
    except ValueError:
        return False


def _software(metadata: Mapping[str, Any], instrument: Mapping[str, Any]) -> dict[str, Any]:
    """Return the program that ran the microscope, where a reader knows it as that."""
    told = _dict(metadata.get("software"))
    name = told.get("name") or instrument.get("Software") or instrument.get("System")
    version = told.get("version") or instrument.get("Version")
    return _known({"name": name, "version": version}) if name else {}


def _nwb(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an NWB file says of session, subject, device and plane, under its own names."""
    found = _dict(metadata.get("NWB"))
    if not found:
        return {}
    general, session = _dict(found.get("general")), _dict(found.get("session"))
    plane = _plane(_dict(found.get("imaging_plane")))
    device = _fields(Microscope, _dict(metadata.get("instrument")))
    target = plane.get("location")
    return _known(
        {
            **{name: _value(session.get(name)) for name in _SESSION},
            **{name: _value(general.get(name)) for name in _GENERAL},
            "subject": _fields(Subject, _dict(found.get("subject"))),
            "imaging_plane": plane,
            "imaging_space": {"anatomical_target": target} if target else {},
            "microscopy_rig": {"microscope": device} if device else {},
        }
    )


def _plane(found: Mapping[str, Any]) -> dict[str, Any]:
    below = {k: v for k, v in found.items() if _dict(v).get("neurodata_type") == "OpticalChannel"}
    optical = [{"name": name, **_fields(OpticalChannel, v)} for name, v in below.items()]
    units = {
        f"{name}_unit": _dict(found.get(name)).get("unit")
        for name in ("grid_spacing", "origin_coords")
    }
    return _known({**_fields(ImagingPlane, found), **units, "optical_channel": optical})


def _bossdb(metadata: Mapping[str, Any]) -> dict[str, Any]:
    experiment = _dict(_dict(metadata.get("BossDB")).get("experiment"))
    return _known({"experiment_description": experiment.get("description")})


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a layer of microtome that is ingested again."""
    record = _dict(_dict(_dict(metadata.get("OME-Zarr")).get("attributes")).get("nwb"))
    if record.get("schema_id") not in SCHEMAS:
        return {}
    space = _dict(record.get("imaging_space"))
    about = ("anatomical_target", "description", "illumination_pattern", "fov_center_coordinates")
    kept = {k: v for k, v in record.items() if k not in (*DERIVED, *OF_LAYER)}
    more = {k: record[k] for k in ("imaging_plane", "significant_bits") if k in record}
    return _known({**kept, **more, "imaging_space": {k: space[k] for k in about if k in space}})


def _fields(model: type[RecordModel], found: Mapping[str, Any]) -> dict[str, Any]:
    names = (name for name in model.model_fields if name not in ("neurodata_type", "name"))
    return _known({name: _value(found.get(name)) for name in names} | {"name": found.get("name")})


def _value(found: object) -> object:
    """Return a value, of one with attributes the value alone."""
    return found["value"] if isinstance(found, Mapping) and "value" in found else found


def _renamed(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return _known({ours: found.get(theirs) for theirs, ours in names.items()})


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says something: neither empty nor a number that is none."""
    return {key: value for key, value in values.items() if _says(value)}


def _says(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return value is not None and value not in ("", [], {}, ())


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place(told: object, loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the part of a location that is there, up to the list of which an entry is at fault."""
    place: list[int | str] = []
    for step in loc:
        try:
            told = told[step]  # type: ignore[index]
        except (LookupError, TypeError):
            break
        place.append(step)
    while place and isinstance(place[-1], int):
        place.pop()
    return tuple(place)


def _removed(told: Any, place: Sequence[int | str]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Take a value out, if what it lies in is still there; return it by its path."""
    try:
        for step in place[:-1]:
            told = told[step]
        return {".".join(map(str, place)): told.pop(place[-1])}
    except LookupError:
        return {}
