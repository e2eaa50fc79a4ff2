"""DANDI: a dandiset of one dataset, as ``dandi validate`` accepts it and ``dandi upload`` takes it.

Source: https://docs.dandiarchive.org: ``dandiset.yaml`` and files ``sub-X/sub-X_ses-Y_….nwb``.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from microtome_core.errors import InputError
from microtome_core.store.recording import Recording
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import Facts, how_to_tell
from microtome_ingest.export.nwb import export_nwb
from microtome_ingest.export.output import whole_folder

MARK = "dandiset.yaml"
# Stands where the archive puts the number of the dandiset that it makes.
_UNNUMBERED = "DANDI:000000"


def export_dandi(
    cuts: Sequence[Cut],
    path: Path,
    *,
    overwrite: bool = False,
    recordings: Sequence[Recording] = (),
    count: Callable[[int], None] = lambda _: None,
) -> list[Path]:
    """Write a folder.

    Raises
    ------
    InputError
        What DANDI needs is not told; the message names the fields.
    """
    facts = Facts([*(cut.record for cut in cuts), *(one.record for one in recordings)])
    dataset = cuts[0].info.layer_id.parent if cuts else recordings[0].id.parent
    if facts.missing():
        needed = ", ".join(facts.missing())
        raise InputError(f"{dataset}: DANDI needs {needed}: fill them with {how_to_tell(dataset)}")
    with whole_folder(path, MARK, overwrite=overwrite) as part:
        text = yaml.safe_dump(_dandiset(facts, str(dataset)), sort_keys=False, allow_unicode=True)
        (part / MARK).write_text(text, encoding="utf-8")
        subject = f"sub-{_label(str(facts.subject['subject_id']))}"
        words = [subject]
        if session := facts.text("session_id"):
            words.append(f"ses-{_label(session)}")
        kinds = "+".join([*(["image"] if cuts else []), *(["ophys"] if recordings else [])])
        words.append(f"desc-{_label(dataset.dataset)}_{kinds}.nwb")
        (part / subject).mkdir()
        file = part / subject / "_".join(words)
        export_nwb(cuts, file, recordings=recordings, count=count)
    return [path]


def _dandiset(facts: Facts, name: str) -> dict[str, Any]:
    """Return what the archive asks of a dandiset, as far as it is told.

    Source: schema of dandi (https://github.com/dandi/schema), Dandiset.
    """
    told = {
        "identifier": _UNNUMBERED,
        "name": (facts.text("session_description") or name)[:150],
        "description": facts.text("experiment_description") or f"Images of {name}.",
        "keywords": facts.texts("keywords"),
        "license": [f"spdx:{word}" for word in facts.texts("license")],
        "contributor": [_person(one) for one in _people(facts)],
        "relatedResource": [
            {"identifier": word, "relation": "dcite:IsDescribedBy", "schemaKey": "Resource"}
            for word in facts.texts("related_publications")
        ],
    }
    return {key: value for key, value in told.items() if value}


def _people(facts: Facts) -> list[dict[str, Any]]:
    return facts.mappings("contributors") or [{"name": name} for name in facts.experimenters]


def _person(one: dict[str, Any]) -> dict[str, Any]:
    roles = [f"dcite:{role}" for role in one.get("roles") or ["Author"]]
    told = {
        "schemaKey": "Person",
        "name": one.get("name"),
        "identifier": one.get("orcid"),
        "roleName": roles,
        "includeInCitation": True,
    }
    return {key: value for key, value in told.items() if value}


def _label(text: str) -> str:
    """Return what DANDI allows in a part of a name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-") or "x"
