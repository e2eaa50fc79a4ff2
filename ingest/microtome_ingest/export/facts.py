"""What a layer's record says, in the words of NWB, wherever in the record it stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from microtome_core import __version__
from microtome_core.errors import InputError
from microtome_ingest.export.cut import Cut

# Objects of a record that hold what NWB has in its file.
_FILE = ("nwbfile", "nwb_file", "file", "session")
_DEVICES = ("microscope", "device", "devices")
# What DANDI asks of a subject; of the last two one.
_NEEDED = ("subject_id", "species", "sex")
_AGE = ("age", "date_of_birth")


@dataclass(frozen=True, slots=True)
class Facts:
    """The records of the layers that go into one file; the first that says something counts.

    Parameters
    ----------
    records : sequence of dict
    """

    records: Sequence[Mapping[str, Any]]

    def get(self, name: str) -> Any:  # noqa: ANN401 - JSON of any kind
        """Return a field of the file, None where no record has it."""
        for record in self.records:
            for place in (record, *(record.get(key) for key in _FILE)):
                if isinstance(place, Mapping) and place.get(name) not in (None, "", [], {}):
                    return place[name]
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

    @property
    def subject(self) -> dict[str, Any]:
        """Who was imaged.

        Raises
        ------
        InputError
            The records speak of several.
        """
        found = [dict(s) for s in self._objects(("subject",)) if s]
        names = {str(s["subject_id"]) for s in found if s.get("subject_id")}
        if len(names) > 1:
            raise InputError(
                f"the layers are of several subjects ({', '.join(sorted(names))}): export them "
                "one by one, as collection/dataset/layer"
            )
        merged: dict[str, Any] = {}
        for subject in found:
            merged |= {k: v for k, v in subject.items() if v is not None and k not in merged}
        merged.pop("neurodata_type", None)
        return merged

    @property
    def device(self) -> dict[str, Any]:
        """What it was imaged with, empty where nobody says."""
        for device in self._objects(_DEVICES):
            return dict(device)
        return {}

    @property
    def indicators(self) -> list[dict[str, Any]]:
        """The dyes and proteins that are told."""
        return [dict(one) for one in self._objects(("indicators", "indicator"))]

    @property
    def contributors(self) -> list[dict[str, Any]]:
        """Who made the data, as objects with a name."""
        found = self.get("contributors") or []
        return [dict(c) if isinstance(c, Mapping) else {"name": str(c)} for c in found]

    @property
    def experimenters(self) -> list[str]:
        """Names as ``Last, First``, as far as they are told so."""
        return self.texts("experimenter") or [
            str(c["name"]) for c in self.contributors if c.get("name")
        ]

    def missing(self) -> list[str]:
        """Return the fields that DANDI needs and nobody has told."""
        subject = self.subject
        lacking = [f"subject.{name}" for name in _NEEDED if not subject.get(name)]
        aged = any(subject.get(name) for name in _AGE)
        return lacking if aged else [*lacking, f"subject.{_AGE[0]}"]

    def _objects(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        for record in self.records:
            for place in (record, *(record.get(key) for key in _FILE)):
                for name in names:
                    value = place.get(name) if isinstance(place, Mapping) else None
                    yield from _mappings(value, "label" if name.startswith("indic") else "name")


def history(cut: Cut, format_name: str) -> dict[str, Any]:
    """Return the layer's record as it is of what was cut out, and with this step in its history."""
    record = dict(cut.record)
    space = dict(record.get("imaging_space") or {})
    xyz = "".join(axis for axis in "xyz" if axis in cut.axes)
    volume = "Volumetric" if "z" in cut.axes else "Planar"
    space |= {
        "neurodata_type": f"{volume}ImagingSpace",
        "voxel_size_in_um": cut.micrometers(xyz),
        "dimensions_in_voxels": [cut.extent(axis) for axis in xyz],
    }
    step = {
        "tool": "microtome",
        "version": __version__,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": {
            "export": format_name,
            "layer": cut.info.id,
            "layer_version": cut.info.version,
            "level": cut.level,
            "region": str(cut.region),
        },
    }
    record["imaging_space"] = {k: v for k, v in space.items() if v is not None}
    record["channels"] = list(record.get("channels") or [])[cut.channel_range]
    record["conversion_history"] = [*(record.get("conversion_history") or []), step]
    kind = "Series" if "t" in cut.axes else "StaticImage"
    return {**record, "neurodata_type": f"{volume}Microscopy{kind}"}


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


def _mappings(value: object, name: str) -> Iterator[Mapping[str, Any]]:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, Mapping):
            yield one
        elif isinstance(one, str) and one:
            yield {name: one}
