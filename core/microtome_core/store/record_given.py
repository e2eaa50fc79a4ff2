"""What somebody says of a layer, laid over the record that it has.

It is a merge patch (RFC 7396): what is given replaces what is there, null removes it, and what is
not given stays. Channels alone are found by their names, since a layer has those that it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import isclass
from math import isfinite
from typing import Any, get_args

from pydantic import ValidationError

from microtome_core.errors import InputError
from microtome_core.store.record import (
    SCHEMA,
    WRITING,
    AnyRecord,
    Record,
    RecordingRecord,
    imaging_space,
    model_of,
    read_record,
)
from microtome_core.store.record_arrays import Arrays
from microtome_core.store.record_checks import shown
from microtome_core.store.record_objects import RecordModel

# What the ingest knows, and nobody else.
DERIVED = (
    "schema_id",
    "nwb_version",
    "kind",
    "neurodata_type",
    "data",
    "source_format",
    "source_files",
    "conversion_history",
    "original_metadata",
)
# Of one layer, and not of all that a dataset holds.
OF_LAYER = ("channels", "imaging_space", "imaging_plane", "significant_bits", "registrations")
# Of voxels, which a recording of trials has none of.
OF_VOXELS = tuple(n for n in Record.model_fields if n not in AnyRecord.model_fields)
_OF_ARRAY = (
    "neurodata_type",
    "voxel_size_in_um",
    "dimensions_in_voxels",
    "pixel_size_in_um",
    "dimensions_in_pixels",
)
_DEEPEST = 24
_MOST_FAULTS = 20


class RecordRefused(InputError):
    """A record that cannot be written.

    Parameters
    ----------
    faults : sequence of str
        Each names the field, the value, and how to mend it.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(faults) - _MOST_FAULTS
        told = [*faults[:_MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("; ".join(told))

    def __reduce__(self) -> tuple[type["RecordRefused"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


def with_given(
    record: Mapping[str, Any], given: Mapping[str, Any], arrays: Arrays | None = None
) -> Record | RecordingRecord:
    """Return a layer's record with what is given laid over it, checked.

    Parameters
    ----------
    record : dict
        As it stands under ``nwb``, of any schema.
    given : dict
        JSON, or the text of each value; null removes.
    arrays : Arrays, optional
        What is given may not contradict these either.

    Raises
    ------
    RecordRefused
        With every fault.
    """
    if odd := list(_odd(given)):
        raise RecordRefused(odd)
    record = _upgraded(record)
    model = model_of(record)
    faults = [*_unfit(record, given), *_foreign(model, given), *_unknown(model, given, "")]
    merged = merge(record, given)
    try:
        new = model.model_validate(merged, context=WRITING)
    except ValidationError as error:
        raise RecordRefused([*faults, *faults_of(error)]) from error
    except RecursionError as error:
        raise RecordRefused(["nested too deeply"]) from error
    if isinstance(new, Record):
        faults += _contradictions(record, new)
        faults += arrays.faults(new, given) if arrays else ()
    faults += _twins(new)
    if faults:
        raise RecordRefused(faults)
    return linked(new) if isinstance(new, Record) else new


def check_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given of all layers of a dataset, each value in its one form; null stays.

    Raises
    ------
    RecordRefused
        With every fault; what is of one layer is one.
    """
    own = [f"{key}: is of one layer; say it of that layer" for key in OF_LAYER if key in given]
    if own:
        raise RecordRefused(own)
    told = with_given(empty_record(), given).to_json()
    return {key: told.get(key) for key in given}


def empty_record() -> dict[str, Any]:
    """Return a record in which nothing is known."""
    return Record(
        neurodata_type="VolumetricMicroscopyStaticImage",
        imaging_space=imaging_space([1, 1, 1], None, planar=False),
        source_format="",
        source_files=[],
        conversion_history=[],
    ).to_json()


def merge(record: Mapping[str, Any], given: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return a record with what is given laid over it, unchecked.

    >>> merge({"subject": {"age": "P90D", "sex": "F"}}, {"subject": {"sex": None}, "lab": "A"})
    {'subject': {'age': 'P90D'}, 'lab': 'A'}
    """
    if depth > _DEEPEST:
        raise RecordRefused([f"nested more than {_DEEPEST} deep"])
    merged = dict(record)
    for key, value in given.items():
        old = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(old if isinstance(old, Mapping) else {}, value, depth + 1)
        elif key == "channels" and depth == 0 and isinstance(value, list):
            merged[key] = _channels(_dicts(old), value)
        else:
            merged[key] = value
    return merged


def _upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record in the words of the present schema."""
    found = read_record(record)
    space = found.imaging_space if isinstance(found, Record) else None
    if space and space.size_in_um and len(space.size_in_um) != len(space.dimensions):
        # The first schema listed the axes of which the size is known.
        space.voxel_size_in_um = space.pixel_size_in_um = None
    return {**found.to_json(), "schema_id": SCHEMA}


def faults_of(error: ValidationError) -> list[str]:
    """Return what pydantic found, each with its field: ``subject.age: '90 days' is no …``."""
    return [_fault(found) for found in error.errors(include_url=False)]


def _fault(found: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    where = ".".join(map(str, found["loc"])) or "record"
    words = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return f"{where}: {words}"
    if found["type"] == "missing":
        return f"{where}: is missing; write it"
    return f"{where}: {shown(found['input'])}: {words[0].lower()}{words[1:]}"


def _channels(old: Sequence[Mapping[str, Any]], given: Sequence[Any]) -> list[Any]:
    """Return the channels that are there, each with what is given of its name."""
    names = [one.get("name") for one in old]
    merged: list[Any] = list(old)
    for one in given:
        name = one.get("name") if isinstance(one, Mapping) else None
        if isinstance(one, Mapping) and name in names:
            place = names.index(name)
            merged[place] = merge(merged[place], one, 1)
        else:
            merged.append(one)
    return merged


def _dicts(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _odd(value: object, path: str = "", depth: int = 0) -> Iterator[str]:
    """Yield a fault for whatever would make the metadata of a layer unreadable."""
    where = path.removeprefix(".") or "record"
    if depth > _DEEPEST:
        yield f"{where[:80]}: nested more than {_DEEPEST} deep"
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _odd(str(key), f"{path}.{ascii(key)[1:-1]}", depth)
            yield from _odd(below, f"{path}.{ascii(key)[1:-1]}", depth + 1)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _odd(below, f"{path}.{number}", depth + 1)
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        yield f"{where}: {ascii(value)[:80]} holds half a character; write it as UTF-8"
    elif isinstance(value, float) and not isfinite(value):
        yield f"{where}: {value} is no number of JSON"


def _unfit(record: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for key in DERIVED:
        if key in given and given[key] != record.get(key):
            yield f"{key}: is known from the ingest alone; leave it out"


def _foreign(model: type[RecordModel], given: Mapping[str, Any]) -> Iterator[str]:
    if model is RecordingRecord:
        for key in OF_VOXELS:
            if key in given:
                yield f"{key}: is of voxels, and a recording of trials has none; leave it out"


def _unknown(model: type[RecordModel], given: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a fault for each key that the models do not have, with one that is spelt like it."""
    for key, value in given.items():
        field = model.model_fields.get(key)
        if field is None and model is RecordingRecord and key in OF_VOXELS:
            continue
        if field is None:
            yield f"{path}{str(key)[:80]}: is unknown; {_near(model, str(key))}"
            continue
        below = next(iter(_models(field.annotation)), None)
        if below is None:
            continue
        if isinstance(value, Mapping):
            yield from _unknown(below, value, f"{path}{key}.")
        for number, one in enumerate(value if isinstance(value, list) else ()):
            if isinstance(one, Mapping):
                yield from _unknown(below, one, f"{path}{key}.{number}.")


def _near(model: type[RecordModel], key: str) -> str:
    inside = {
        inner: f"{name}.{inner}"
        for name, field in model.model_fields.items()
        for below in _models(field.annotation)
        for inner in below.model_fields
    }
    known = inside | {name: name for name in model.model_fields if name not in DERIVED}
    close = get_close_matches(key.lower(), known, 1, 0.6)
    return (
        f"write {known[close[0]]}" if close else f"expected one of {', '.join(model.model_fields)}"
    )


def _models(annotation: object) -> list[type[RecordModel]]:
    """Return the models in a type such as ``list[Indicator]`` or ``Subject | None``."""
    if isclass(annotation) and issubclass(annotation, RecordModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models(one)]


def _contradictions(record: Mapping[str, Any], new: Record) -> list[str]:
    """Return where a record would say other things of the arrays than they are."""
    old = record.get("imaging_space", {})
    told = new.imaging_space.model_dump(mode="json", exclude_none=True)
    faults = [
        f"imaging_space.{key}: {shown(told.get(key))} is not that of the arrays, "
        f"{shown(old.get(key))} in x, y, z; {_mend(key)}"
        for key in _OF_ARRAY
        if told.get(key) != old.get(key)
    ]
    names = [one.get("name") for one in _dicts(record.get("channels"))]
    for number, channel in enumerate(new.channels[len(names) :]):
        known = ", ".join(map(shown, names)) or "no channels"
        faults.append(
            f"channels.{len(names) + number}.name: {channel.name!r}: the layer has {known}"
        )
    if len(new.channels) < len(names):
        faults.append("channels: those of the layer stay; leave the key out")
    return faults


def _mend(key: str) -> str:
    size = key.endswith("size_in_um")
    return "leave it out, or ingest with --voxel-size" if size else "leave it out"


def _twins(new: AnyRecord) -> list[str]:
    names = [indicator.name for indicator in new.indicators]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"indicators: {name!r} is there twice; write each once" for name in twice]


def linked(record: Record) -> Record:
    """Return a record in which each indicator of a channel is one of `indicators`."""
    known = {indicator.name for indicator in record.indicators}
    linked = dict.fromkeys(c.indicator for c in record.channels if c.indicator)
    missing = [{"name": name, "label": name} for name in linked if name not in known]
    if not missing:
        return record
    told = record.to_json()
    return Record.model_validate({**told, "indicators": [*told.get("indicators", []), *missing]})
