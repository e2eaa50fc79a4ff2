"""A record as YAML for people to fill in, and what it still lacks."""

import json
from collections.abc import Iterator, Mapping
from inspect import isclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from microtome_core.store.record import RECORDING, model_of
from microtome_core.store.record_given import DERIVED, OF_LAYER
from microtome_core.store.record_objects import RecordModel

# What archives ask for, and the NWB inspector calls critical or good practice.
_ASKED = {
    "session_description": "NWB asks for it",
    "session_start_time": "NWB asks for it; an export takes 1970-01-01 and says so",
    "subject.subject_id": "DANDI asks for it",
    "subject.species": "DANDI asks for it",
    "subject.sex": "DANDI asks for it; U where it is unknown",
    "subject.age": "DANDI asks for it, or for date_of_birth",
    "experimenter": "good practice",
    "institution": "good practice",
    "keywords": "good practice",
    "license": "without it nobody may use the data",
    "imaging_space.anatomical_target": "NWB asks for it",
}
# A recording of trials has no imaging space; where it is of is told of its plane.
_OF_RECORDING = {"imaging_space.anatomical_target": "imaging_plane.location"}
_ARRAY = ("dimensions_in_voxels", "dimensions_in_pixels", "voxel_size_in_um", "pixel_size_in_um")
_HEAD = """\
## Metadata of {place}. Take away the # where you know the answer, and above what you fill in;
## write null where something is wrong and nothing better is known. Lines with ## are comments.
## Then: microtome metadata check ROOT {place} FILE, and microtome metadata set in its place.
"""


def missing(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that an archive will ask for, each with why."""
    born = (record.get("subject") or {}).get("date_of_birth")
    # What an export takes in its place.
    region = (record.get("imaging_plane") or {}).get("location")
    other = _OF_RECORDING if record.get("kind") == RECORDING else {}
    for asked, why in _ASKED.items():
        path = other.get(asked, asked)
        found: Any = record
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        instead = {"subject.age": born, "imaging_space.anatomical_target": region}
        if not found and not instead.get(path):
            yield path, why


def template(place: str, record: Mapping[str, Any], *, of_layer: bool = True) -> str:
    """Return YAML in which what is known stands, and what is not is an example behind a ``#``.

    Taken as it is, it changes nothing; with every ``#`` taken away it passes the checks.
    """
    lines = [_HEAD.format(place=place)]
    for name, field in model_of(record).model_fields.items():
        # Nobody fills in a matrix: registrations have a command of their own.
        if name in (*DERIVED, "registrations") or (name in OF_LAYER and not of_layer):
            continue
        lines += _field(name, field, record.get(name), 0)
    return "".join(f"{line}\n" if not line.endswith("\n") else line for line in lines)


def _field(name: str, field: FieldInfo, known: Any, depth: int) -> list[str]:  # noqa: ANN401 - JSON
    model, many = _model(field.annotation)
    if model is not None and many:
        return _list(name, model, known if isinstance(known, list) else [], depth)
    if model is not None:
        return _object(name, model, known if isinstance(known, Mapping) else {}, depth)
    pad = "  " * depth
    if known not in (None, [], {}):
        return [f"{pad}{name}: {_scalar(known)}"]
    if not field.examples:
        return []
    about = f"  # {field.description}" if field.description else ""
    return [f"#{pad}{name}: {_scalar(field.examples[0])}{about}"]


def _object(name: str, model: type[RecordModel], known: Mapping[str, Any], depth: int) -> list[str]:
    lines = _fields(model, known, depth + 1)
    mark = "" if any(not line.startswith("#") for line in lines) else "#"
    return [f"{mark}{'  ' * depth}{name}:", *lines] if lines else []


def _list(name: str, model: type[RecordModel], known: list[Any], depth: int) -> list[str]:
    lines: list[str] = []
    for entry in known or [{}]:
        below = _fields(model, entry, depth + 2)
        # The first field that is known opens the entry.
        first = next((i for i, line in enumerate(below) if line[0] != "#"), 0)
        if not below:
            continue
        below.insert(0, below.pop(first))
        cut = len(below[0]) - len(below[0].lstrip("# "))
        mark = "#" if below[0].startswith("#") else ""
        below[0] = f"{mark}{'  ' * depth}  - {below[0][cut:]}"
        lines += below
    mark = "" if any(line[0] != "#" for line in lines) else "#"
    return [f"{mark}{'  ' * depth}{name}:", *lines] if lines else []


def _fields(model: type[RecordModel], known: Mapping[str, Any], depth: int) -> list[str]:
    return [
        line
        for name, field in model.model_fields.items()
        if name not in ("neurodata_type", *_ARRAY)
        for line in _field(name, field, known.get(name), depth)
    ]


def _scalar(value: Any) -> str:  # noqa: ANN401 - JSON of any kind
    """Return a value as YAML, which takes JSON; text without quotes where it is plain."""
    plain = isinstance(value, str) and value.replace(" ", "").isalnum() and value.isascii()
    return value if plain and value.strip() == value else json.dumps(value, ensure_ascii=False)


def _model(annotation: object) -> tuple[type[RecordModel] | None, bool]:
    """Return the model in a type, and whether it is a list of them."""
    if isclass(annotation) and issubclass(annotation, RecordModel):
        return annotation, False
    for one in get_args(annotation):
        found, many = _model(one)
        if found is not None:
            return found, many or getattr(annotation, "__origin__", None) is list
    return None, False
