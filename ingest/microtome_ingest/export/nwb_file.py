"""The frame of an NWB file: session, subject, microscope and what else stands once in it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import ndx_ophys_devices
from hdmf.utils import get_docval
from ndx_microscopy import (
    Indicator,
    Microscope,
    MicroscopeModel,
    MicroscopyExperimentMetadata,
    MicroscopyRig,
)
from pynwb import NWBFile
from pynwb.file import Subject

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_ingest.export.facts import Facts, start_time

UNKNOWN = "unknown"
_NO_START = (
    "The session_start_time is not known: 1970-01-01T00:00:00+00:00 stands for it and is no date."
)
# Fields of a file that are one text.
_TEXTS = (
    "experiment_description", "session_id", "institution", "lab", "protocol", "pharmacology",
    "surgery", "virus", "slices", "stimulus_notes", "data_collection",
)  # fmt: skip
_SUBJECT = (
    "subject_id", "species", "sex", "age", "age__reference", "description", "genotype", "strain",
    "weight",
)  # fmt: skip
_DEVICE = ("description", "serial_number")
_PARTS = (
    "objective_lens", "excitation_source", "excitation_filter", "dichroic_mirror", "photodetector",
    "emission_filter",
)  # fmt: skip

_NUMBERS = ("power_in_W", "exposure_time_in_s", "gain", "gain_unit")
_KINDS = {
    "objective_lens": ndx_ophys_devices.ObjectiveLens,
    "excitation_source": ndx_ophys_devices.ExcitationSource,
    "excitation_filter": ndx_ophys_devices.OpticalFilter,
    "dichroic_mirror": ndx_ophys_devices.DichroicMirror,
    "photodetector": ndx_ophys_devices.Photodetector,
    "emission_filter": ndx_ophys_devices.OpticalFilter,
}


def make_file(
    facts: Facts, name: str, versions: Sequence[str], what: str, more: Sequence[str] = ()
) -> NWBFile:
    """Return a file with everything but images and series.

    Parameters
    ----------
    facts : Facts
    name : str
        What it is an export of.
    versions : sequence of str
        Of the layers: an export of other voxels is another file.
    what : str
        Such as ``Images``, for a session that nobody has described.
    more : sequence of str
        Further notes.
    """
    start = start_time(facts)
    notes = [*([] if start else [_NO_START]), *more, *facts.texts("notes"), *_lines(facts)]
    texts = {key: facts.text(key) for key in _TEXTS}
    return NWBFile(
        session_description=facts.text("session_description") or f"{what} of {name}.",
        identifier=facts.text("identifier") or str(uuid5(NAMESPACE_URL, f"{name} {versions}")),
        session_start_time=start or datetime.fromtimestamp(0, UTC),
        experimenter=facts.experimenters or None,
        keywords=facts.texts("keywords") or None,
        related_publications=facts.texts("related_publications") or None,
        notes="\n".join(notes) or None,
        was_generated_by=[["microtome", __version__]],
        subject=_subject(facts.subject),
        **{key: text for key, text in texts.items() if text},
    )


def add_rig(
    nwb: NWBFile, facts: Facts, labels: Sequence[str]
) -> tuple[MicroscopyRig, dict[str, Any]]:
    """Add the microscope and the indicators of channels; return the rig and these by label."""
    told = facts.mapping("microscopy_rig")
    microscope = _microscope(facts.microscope)
    if microscope.model is not None:
        nwb.add_device_model(microscope.model)
    nwb.add_device(microscope)
    parts = {name: _part(nwb, name, told[name]) for name in _PARTS if told.get(name)}
    rig = MicroscopyRig(
        name=_plain(str(told.get("name") or "rig")),
        description=str(told.get("description") or "The rig as far as its parts are known."),
        microscope=microscope,
        **parts,
    )
    indicators = _indicators(facts, labels)
    nwb.add_lab_meta_data(
        MicroscopyExperimentMetadata(
            microscopy_rigs=[rig], indicators=list(indicators.values()) or None
        )
    )
    return rig, indicators


def _microscope(told: dict[str, Any]) -> Microscope:
    known = {key: str(told[key]) for key in ("serial_number", "technique") if told.get(key)}
    modelled = any(told.get(key) for key in ("manufacturer", "model_name", "model_number"))
    return Microscope(
        name=_plain(str(told.get("name") or "microscope")),
        description=str(told.get("description") or "Nothing more is known of the microscope."),
        **{**known, **({"model": _model(told)} if modelled else {})},
    )


def _model(told: dict[str, Any]) -> MicroscopeModel:
    """Return the model, which alone tells its maker: a device's own field is deprecated."""
    number = told.get("model_number")
    return MicroscopeModel(
        name=_plain(str(told.get("model_name") or number or "microscope model")),
        manufacturer=str(told.get("manufacturer") or UNKNOWN),
        **({"model_number": str(number)} if number else {}),
    )


def _part(nwb: NWBFile, name: str, told: dict[str, Any]) -> Any:  # noqa: ANN401 - an untyped library
    """Add a part of the rig; what NWB has no field for stands in its description."""
    kind = getattr(ndx_ophys_devices, str(told.get("neurodata_type")), None)
    if kind is None or kind is ndx_ophys_devices.PulsedExcitationSource:
        # A pulsed one must tell its rate, which no record does.
        kind = _KINDS[name]
    known = (*_DEVICE, *(_NUMBERS if name in {"excitation_source", "photodetector"} else ()))
    fields = {key: told[key] for key in known if told.get(key) is not None and _has(kind, key)}
    more = _without(told, ("name", "description", *fields))
    words = ". ".join(filter(None, [str(told.get("description") or ""), more]))
    part = kind(
        name=plain_name(str(told.get("name") or name), list(nwb.devices)),
        **{**fields, "description": words or f"Nothing more is known of the {name}."},
    )
    nwb.add_device(part)
    return part


def _has(kind: Any, name: str) -> bool:  # noqa: ANN401 - a class of an untyped library
    return any(one["name"] == name for one in get_docval(kind.__init__))


def plain_name(text: str, taken: Sequence[str] = ()) -> str:
    """Return a name that NWB allows, and that is not taken."""
    name, number = _plain(text), 1
    while name in taken:
        number += 1
        name = f"{_plain(text)}-{number}"
    return name


def _plain(text: str) -> str:
    return text.replace("/", "-").replace(":", "-").strip() or UNKNOWN


def _subject(told: dict[str, Any]) -> Subject | None:
    if not told:
        return None
    known: dict[str, Any] = {key: str(told[key]) for key in _SUBJECT if told.get(key)}
    born = told.get("date_of_birth")
    if born:
        known["date_of_birth"] = _date(str(born))
    if "description" not in known:
        known["description"] = _without(told, (*_SUBJECT, "date_of_birth")) or (
            f"Subject {known.get('subject_id', UNKNOWN)}."
        )
    return Subject(**known)


def _date(text: str) -> datetime:
    try:
        born = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"subject.date_of_birth {text[:80]!r}: expected ISO 8601 such as 2024-05-01"
        ) from error
    return born if born.tzinfo else born.replace(tzinfo=UTC)


def _indicators(facts: Facts, labels: Sequence[str]) -> dict[str, Any]:
    """Return an object for each label that channels name."""
    told = {str(one.get("name")): one for one in facts.mappings("indicators")}
    found: dict[str, Any] = {}
    for label in dict.fromkeys(labels):
        one = told.get(label, {})
        found[label] = Indicator(
            name=plain_name(f"indicator {label}", [i.name for i in found.values()]),
            label=str(one.get("label") or label),
            description=str(one.get("description") or _indicated(label)),
            **({"manufacturer": str(one["manufacturer"])} if one.get("manufacturer") else {}),
        )
    return found


def _indicated(label: str) -> str:
    return "The source of contrast is not known." if label == UNKNOWN else f"{label}."


def _lines(facts: Facts) -> Iterator[str]:
    """Yield what NWB has no field for, as lines of the notes."""
    for name, word in (
        ("acquisition_date", "Acquired, as the source tells it"), ("license", "Licence"),
        ("doi", "DOI"), ("significant_bits", "Significant bits of a voxel"),
    ):  # fmt: skip
        if (text := facts.text(name)) is not None:
            yield f"{word}: {text}"
    software = facts.mapping("acquisition_software")
    if software:
        words = (str(software[key]) for key in ("name", "version") if software.get(key))
        yield f"Acquisition software: {' '.join(words)}"
    for one in facts.mappings("contributors"):
        more = [str(one[key]) for key in ("orcid", "affiliation") if one.get(key)]
        yield f"Contributor: {', '.join([str(one.get('name')), *more, *one.get('roles', [])])}"


def _without(told: dict[str, Any], used: Sequence[str]) -> str:
    """Return in words what has no field of its own."""
    rest = {k: v for k, v in told.items() if k not in used and k != "neurodata_type" and v}
    return ", ".join(f"{key}: {value}" for key, value in rest.items())
