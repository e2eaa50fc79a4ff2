"""What the records of layers say together, in the words of NWB."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_core.names import DatasetId
from microtome_core.store.recording import Recording
from microtome_ingest.export.cut import Cut

# What DANDI asks of a subject; of the last two one.
_NEEDED = ("subject_id", "species", "sex")
_AGE = ("age", "date_of_birth")
# What of an imaging space is the cut's own.
_EXTENTS = (
    "voxel_size_in_um", "dimensions_in_voxels", "pixel_size_in_um", "dimensions_in_pixels"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """The records of the layers that go into one file; the first that says something counts.

    Parameters
    ----------
    records : sequence of dict
    """

    records: Sequence[Mapping[str, Any]]

    def get(self, name: str) -> Any:  # noqa: ANN401 - JSON of any kind
        """Return a field, None where no record has it."""
        for record in self.records:
            if record.get(name) not in (None, "", [], {}):
                return record[name]
        return None

    def text(self, name: str) -> str | None:
        """Return a field as text."""
        value = self.get(name)
        return None if value is None else str(value)

    def texts(self, name: str) -> list[str]:
        """Return a field that may be one text or several."""
        value = self.get(name)
        if value is None:
            return []
        return [str(one) for one in (value if isinstance(value, list | tuple) else [value])]

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a field that is an object, without its type; empty where no record has it."""
        value = self.get(name)
        told = dict(value) if isinstance(value, Mapping) else {}
        return {key: one for key, one in told.items() if key != "neurodata_type"}

    def mappings(self, name: str) -> list[dict[str, Any]]:
        """Return the objects that all records list under a name."""
        listed = [one for record in self.records for one in record.get(name) or []]
        return [dict(one) for one in listed if isinstance(one, Mapping)]

    @property
    def subject(self) -> dict[str, Any]:
        """Who was imaged.

        Raises
        ------
        InputError
            The records speak of several.
        """
        names = {str((r.get("subject") or {}).get("subject_id") or "") for r in self.records} - {""}
        if len(names) > 1:
            raise InputError(
                f"the layers are of several subjects ({', '.join(sorted(names))}): export them "
                "one by one, as collection/dataset/layer"
            )
        told = [Facts([record]).mapping("subject") for record in self.records]
        # Of each field, the first that is told.
        return {k: v for one in reversed(told) for k, v in one.items() if v not in (None, "")}

    @property
    def microscope(self) -> dict[str, Any]:
        """What it was imaged with, empty where nobody says."""
        return Facts([self.mapping("microscopy_rig")]).mapping("microscope")

    @property
    def experimenters(self) -> list[str]:
        """Names as ``Last, First``, as far as they are told so."""
        return self.texts("experimenter") or [
            str(c["name"]) for c in self.mappings("contributors") if c.get("name")
        ]

    def missing(self) -> list[str]:
        """Return the fields that DANDI needs and nobody has told."""
        subject = self.subject
        lacking = [f"subject.{name}" for name in _NEEDED if not subject.get(name)]
        aged = any(subject.get(name) for name in _AGE)
        return lacking if aged else [*lacking, f"subject.{_AGE[0]}"]


def how_to_tell(dataset: DatasetId) -> str:
    """Return the command by which what is missing in records is filled in."""
    return f"'microtome metadata set ROOT {dataset} FILE'"


def history(cut: Cut, format_name: str) -> dict[str, Any]:
    """Return the layer's record as it is of what was cut out, and with this step in its history."""
    record = dict(cut.record)
    told = dict(record.get("imaging_space") or {})
    xyz = "".join(axis for axis in "xyz" if axis in cut.axes)
    volume, word = ("Volumetric", "voxel") if "z" in cut.axes else ("Planar", "pixel")
    kept = {k: v for k, v in told.items() if k not in _EXTENTS}
    space = {
        **kept,
        "neurodata_type": f"{volume}ImagingSpace",
        f"{word}_size_in_um": cut.micrometers(xyz),
        f"dimensions_in_{word}s": [cut.extent(axis) for axis in xyz],
    }
    more = {"level": cut.level, "region": str(cut.region)}
    step = _step(format_name, cut.info.id, cut.info.version, more)
    record["imaging_space"] = {k: v for k, v in space.items() if v is not None}
    record["channels"] = list(record.get("channels") or [])[cut.channel_range]
    record["conversion_history"] = [*(record.get("conversion_history") or []), step]
    kind = "Series" if "t" in cut.axes else "StaticImage"
    return {**record, "neurodata_type": f"{volume}Microscopy{kind}"}


def recording_history(recording: Recording, format_name: str) -> dict[str, Any]:
    """Return a recording's record with this step in its history."""
    record = dict(recording.record)
    step = _step(format_name, str(recording.id), recording.version, {})
    return {**record, "conversion_history": [*(record.get("conversion_history") or []), step]}


def _step(format_name: str, layer: str, version: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tool": "microtome",
        "version": __version__,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": {"export": format_name, "layer": layer, "layer_version": version, **more},
    }


def start_time(facts: Facts) -> datetime | None:
    """Return when the session began, in UTC where no zone is told; None where nobody says."""
    text = facts.text("session_start_time")
    if text is None:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"session_start_time {text[:80]!r}: expected ISO 8601 such as 2024-05-01T09:30:00+02:00"
        ) from error
    return told if told.tzinfo else told.replace(tzinfo=UTC)
