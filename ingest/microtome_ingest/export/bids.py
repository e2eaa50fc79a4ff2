"""BIDS: the images of a dataset as a folder for microscopy, with OME-Zarr images.

Source: https://bids-specification.readthedocs.io, "Microscopy". Labels that belong to an image lie
within it, where OME-Zarr has them.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import Facts, how_to_tell
from microtome_ingest.export.ome_zarr import write_image, write_labels
from microtome_ingest.export.output import whole_folder

MARK = "dataset_description.json"
VERSION = "1.10.0"
# BIDS's word for a way of imaging, and what is said of it elsewhere.
SUFFIXES = {
    "SPIM": ("light sheet", "light-sheet", "lightsheet", "spim", "selective plane"),
    "2PE": ("two-photon", "two photon", "2-photon", "2pe"),
    "MPE": ("multiphoton", "multi-photon", "three-photon", "three photon"),
    "CONF": ("confocal",),
    "TEM": ("transmission electron", "sstem", "tem"),
    "SEM": ("scanning electron", "sbem", "sbf-sem", "fib-sem", "sem"),
    "uCT": ("micro-ct", "microct", "µct", "x-ray"),
    "SR": ("super-resolution", "super resolution", "sted", "palm", "storm"),
    "OCT": ("optical coherence",),
    "FLUO": ("fluorescence", "widefield", "wide-field", "epifluorescence"),
    "DIC": ("differential interference",),
    "PC": ("phase contrast",),
    "DF": ("dark field", "darkfield", "dark-field"),
    "BF": ("bright field", "brightfield", "bright-field", "transmitted"),
    "NLO": (), "PLI": (), "CARS": (), "XPCT": (),
}  # fmt: skip
_SEXES = {"M": "M", "F": "F", "O": "O"}


def export_bids(
    cuts: Sequence[Cut], path: Path, *, overwrite: bool = False, suffix: str | None = None
) -> list[Path]:
    """Write a folder.

    Raises
    ------
    InputError
        No image, labels of none of them, no subject, a voxel size that nobody knows, or a way of
        imaging that is not told.
    """
    facts = Facts([cut.record for cut in cuts])
    images = [cut for cut in cuts if cut.info.kind == "image"]
    if not images:
        raise InputError("BIDS has images: expected one at least, with its labels")
    _check_labels(cuts, images)
    subject = _label(_told(facts.subject.get("subject_id"), "subject.subject_id", images[0]))
    named = [(cut, _suffix(cut, suffix), _sidecar(cut)) for cut in images]
    with whole_folder(path, MARK, overwrite=overwrite) as part:
        _write_tables(part, facts, images, subject)
        for cut, word, told in named:
            stem = _stem(cut, facts, subject, word, several=len(images) > 1)
            folder = (part / stem).parent
            folder.mkdir(parents=True, exist_ok=True)
            image = folder / f"{Path(stem).name}.ome.zarr"
            write_image(cut, image)
            write_labels(image, [one for one in cuts if _belongs(one, cut)])
            _write_json(folder / f"{Path(stem).name}.json", told)
    return [path]


def _check_labels(cuts: Sequence[Cut], images: Sequence[Cut]) -> None:
    """Refuse what would have no place in the folder, rather than leave it out."""
    for cut in cuts:
        if cut.info.kind == "labels" and not any(_belongs(cut, image) for image in images):
            raise InputError(
                f"{cut.info.id}: labels that lie below no image have no place in BIDS: export the "
                "images one by one, as collection/dataset/layer"
            )


def _belongs(labels: Cut, image: Cut) -> bool:
    return labels.layer.path.startswith(f"{image.layer.path}/labels/")


def _stem(cut: Cut, facts: Facts, subject: str, suffix: str, *, several: bool) -> str:
    """Return the path of an image without its endings."""
    words = [f"sub-{subject}"]
    session = facts.text("session_id")
    if session:
        words.append(f"ses-{_label(session)}")
    folder = "/".join([*words, "micr"])
    words.append(f"sample-{_label(cut.info.layer_id.dataset)}")
    if several:
        words.append(f"acq-{_label(cut.name)}")
    return f"{folder}/{'_'.join([*words, suffix])}"


def _suffix(cut: Cut, chosen: str | None) -> str:
    if chosen is not None:
        if chosen not in SUFFIXES:
            raise InputError(f"--suffix {chosen[:40]!r}: expected one of {', '.join(SUFFIXES)}")
        return chosen
    facts = Facts([cut.record])
    channels = facts.mappings("channels")
    told = [facts.microscope.get("technique")]
    told += [c.get(key) for c in channels for key in ("acquisition_mode", "contrast_method")]
    for text in filter(None, told):
        # OME's LaserScanningConfocalMicroscopy is several words.
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(text)).lower()
        for suffix, words in SUFFIXES.items():
            if any(re.search(rf"\b{re.escape(word)}\b", spaced) for word in words):
                return suffix
    raise InputError(
        f"{cut.info.id}: BIDS needs to know how it was imaged: fill "
        f"microscopy_rig.microscope.technique with {how_to_tell(cut.info.layer_id.parent)}, "
        f"or choose --suffix of "
        f"{', '.join(SUFFIXES)}"
    )


def _sidecar(cut: Cut) -> dict[str, Any]:
    xyz = "".join(axis for axis in "xyz" if axis in cut.axes)
    sizes = cut.micrometers(xyz)
    if sizes is None:
        raise InputError(
            f"{cut.info.id}: BIDS needs the voxel size, and nobody knows it: ingest it with "
            "--voxel-size"
        )
    facts = Facts([cut.record])
    scope, lens = (
        facts.microscope,
        Facts([facts.mapping("microscopy_rig")]).mapping("objective_lens"),
    )
    space = facts.mapping("imaging_space")
    target = space.get("anatomical_target")
    stains = [str(c["indicator"]) for c in facts.mappings("channels") if c.get("indicator")]
    told = {
        "PixelSize": sizes,
        "PixelSizeUnits": "um",
        "Manufacturer": scope.get("manufacturer"),
        "ManufacturersModelName": scope.get("model_name"),
        "DeviceSerialNumber": scope.get("serial_number"),
        "InstitutionName": facts.get("institution"),
        "BodyPart": "BRAIN",
        "BodyPartDetails": target,
        "SampleStaining": list(dict.fromkeys(stains)) or None,
        "NumericalAperture": lens.get("numerical_aperture"),
        "Magnification": lens.get("magnification"),
        "Immersion": lens.get("immersion"),
        "OtherAcquisitionParameters": facts.text("data_collection"),
    }
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def _write_tables(folder: Path, facts: Facts, images: Sequence[Cut], subject: str) -> None:
    dataset = images[0].info.layer_id
    _write_json(folder / MARK, _description(facts, str(dataset.parent)))
    text = facts.text("experiment_description") or facts.text("session_description")
    lines = [f"# {dataset.parent}", "", text or f"Images of {dataset.parent}.", ""]
    lines += [
        "Made by microtome; each image holds its NWB-style record as the attribute `nwb`.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    told = facts.subject
    row = {
        "participant_id": f"sub-{subject}",
        "species": told.get("species"),
        "strain": told.get("strain"),
        "sex": _SEXES.get(str(told.get("sex"))),
        "age_iso8601": told.get("age"),
    }
    _write_table(folder / "participants.tsv", row)
    _write_json(folder / "participants.json", {
        "age_iso8601": {"Description": "age at the session, a duration of ISO 8601"},
    })  # fmt: skip
    sample = {
        "sample_id": f"sample-{_label(dataset.dataset)}",
        "participant_id": f"sub-{subject}",
        "sample_type": "tissue",
    }
    _write_table(folder / "samples.tsv", sample)


def _description(facts: Facts, name: str) -> dict[str, Any]:
    authors = facts.experimenters or [str(c["name"]) for c in facts.mappings("contributors")]
    told = {
        "Name": facts.text("session_description") or name,
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "License": facts.text("license"),
        "Authors": authors,
        "DatasetDOI": _doi(facts.text("doi")),
        "ReferencesAndLinks": facts.texts("related_publications"),
        "GeneratedBy": [{"Name": "microtome", "Version": __version__}],
    }
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def _doi(text: str | None) -> str | None:
    return None if text is None else f"doi:{text.removeprefix('doi:')}"


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_table(path: Path, row: dict[str, Any]) -> None:
    cells = [" ".join(str(value).split()) if value else "n/a" for value in row.values()]
    path.write_text("\t".join(row) + "\n" + "\t".join(cells) + "\n", encoding="utf-8")


def _label(text: str) -> str:
    """Return letters and digits alone, as BIDS has them."""
    label = re.sub(r"[^A-Za-z0-9]", "", text)
    if not label:
        raise InputError(f"{text[:80]!r}: BIDS needs letters or digits in a name")
    return label


def _told(value: object, field: str, cut: Cut) -> str:
    if value in (None, ""):
        raise InputError(
            f"{cut.info.id}: BIDS needs {field}: fill it with "
            f"{how_to_tell(cut.info.layer_id.parent)}"
        )
    return str(value)
