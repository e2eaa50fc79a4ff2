"""The frame of an NWB file: session, subject, microscope and what else stands once in it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ndx_microscopy import (
    Indicator,
    Microscope,
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
_DEVICE = ("description", "manufacturer", "serial_number", "technique")


def make_file(facts: Facts, name: str, versions: Sequence[str]) -> NWBFile:
    """Return a file with everything but images.

    Parameters
    ----------
    facts : Facts
    name : str
        What it is an export of.
    versions : sequence of str
        Of the layers: an export of other voxels is another file.
    """
    start = start_time(facts)
    contributors = [_contributor(one) for one in facts.contributors]
    notes = [
        *([] if start else [_NO_START]),
        *facts.texts("notes"),
        *[f"Licence: {word}" for word in facts.texts("license")],
        *[f"DOI: {word}" for word in facts.texts("doi")],
        *([f"Contributors: {'; '.join(contributors)}"] if contributors else []),
    ]
    texts = {key: facts.text(key) for key in _TEXTS}
    return NWBFile(
        session_description=facts.text("session_description") or f"Images of {name}.",
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
    device = facts.device
    technique = device.get("technique") or facts.text("technique")
    told = {key: str(device[key]) for key in _DEVICE if device.get(key)}
    described = told.pop("description", None) or _without(device, (*_DEVICE, "name"))
    microscope = Microscope(
        name=_plain(str(device.get("name") or "microscope")),
        **{**told, **({"technique": str(technique)} if technique else {})},
        description=described or "Nothing more is known of the microscope.",
    )
    nwb.add_device(microscope)
    rig = MicroscopyRig(
        name="rig", description="The rig as far as its parts are known.", microscope=microscope
    )
    indicators = _indicators(facts, labels)
    nwb.add_lab_meta_data(
        MicroscopyExperimentMetadata(
            microscopy_rigs=[rig], indicators=list(indicators.values()) or None
        )
    )
    return rig, indicators


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
    told = {str(one.get("label") or one.get("name")): one for one in facts.indicators}
    found: dict[str, Any] = {}
    for label in dict.fromkeys(labels):
        one = told.get(label, {})
        found[label] = Indicator(
            name=plain_name(f"indicator {label}", [i.name for i in found.values()]),
            label=label,
            description=str(one.get("description") or _indicated(label)),
            **({"manufacturer": str(one["manufacturer"])} if one.get("manufacturer") else {}),
        )
    return found


def _indicated(label: str) -> str:
    return "The source of contrast is not known." if label == UNKNOWN else f"{label}."


def _contributor(one: dict[str, Any]) -> str:
    more = ", ".join(str(one[key]) for key in ("orcid", "role") if one.get(key))
    return f"{one.get('name', UNKNOWN)} ({more})" if more else str(one.get("name", UNKNOWN))


def _without(told: dict[str, Any], used: Sequence[str]) -> str:
    """Return in words what has no field of its own."""
    rest = {k: v for k, v in told.items() if k not in used and k != "neurodata_type" and v}
    return ", ".join(f"{key}: {value}" for key, value in rest.items())
