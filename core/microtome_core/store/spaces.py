"""Registering layers to named spaces, and the fields of displacements that lie beside them.

::

    layer/registrations/SPACE-TOKEN/     a Zarr array: displacements, then the grid of the space
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray
from pydantic import ValidationError

from microtome_core.axes import spatial
from microtome_core.errors import InputError, StorageError, TooLarge
from microtome_core.names import LayerId
from microtome_core.space import DisplacementField, Registration, read_registration
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store, storage_errors
from microtome_core.store.record_changes import Change, change_record
from microtome_core.store.record_checks import WRITING
from microtome_core.store.record_given import RecordRefused, faults_of
from microtome_core.store.registration import Registration as RegistrationModel

FOLDER = "registrations"
# Held in memory whole while points are moved.
MOST_FIELD_BYTES = 256 << 20
_CHUNK = 64
_IN_FOLDER = re.compile(rf"{FOLDER}/[a-z0-9][a-z0-9._-]*")


def register(
    store: Store,
    layer_id: LayerId,
    registration: Mapping[str, Any],
    who: Mapping[str, Any],
    field: DisplacementField | None = None,
) -> Change:
    """Write how a layer lies in a space into its record, in place of what is said of that space.

    Parameters
    ----------
    registration : dict
        As `read_registration` takes it.
    who : dict
        JSON; noted with the change.
    field : DisplacementField, optional
        Stored beside the layer before the record names it.

    Raises
    ------
    InputError
        It is none, or of other axes than the layer's; nothing was written.
    PreconditionFailed
        The record was changed meanwhile.
    NotFound, Conflict, StorageError
        As `change_record`.
    """
    facts, layer = read_registration(registration), read_layer(store, layer_id)
    axes = spatial(layer.info.axes)
    if sorted(facts.axes) != sorted(axes):
        raise InputError(f"axes {facts.axes}: the layer has {axes}")
    _check(registration)
    told = dict(registration)
    if field is not None:
        if len(field.origin) != len(axes):
            raise InputError(f"field: a grid of {len(field.origin)} axes, expected {len(axes)}")
        told["field"] = _write_field(store, layer.path, facts.space, field)
    others = layer.info.attrs.get("registrations", [])
    kept = [each for each in others if each.get("space") != facts.space]
    given = {"registrations": [*kept, told]}
    return change_record(store, layer_id, given, who, [layer.info.record_version])


def _check(registration: Mapping[str, Any]) -> None:
    """Hold it to what may be written, before a field is."""
    try:
        RegistrationModel.model_validate(dict(registration), context=WRITING)
    except ValidationError as error:
        raise RecordRefused(faults_of(error)) from error


def read_field(store: Store, path: str, facts: Registration) -> DisplacementField | None:
    """Return the field of a registration of the layer in folder `path`; None if it has none.

    Raises
    ------
    StorageError
        It is lost, damaged, or not where the record may say that it is.
    """
    if facts.field is None:
        return None
    where = f"{store.url}/{path}"
    try:
        relative = _checked(str(facts.field["path"]))
        origin, spacing = (tuple(map(float, facts.field[key])) for key in ("origin", "spacing"))
        values = _read(store, f"{path}/{relative}")
        return DisplacementField(values, origin, spacing)
    except (InputError, LookupError, TypeError, ValueError) as error:
        raise StorageError(f"{where}: registration to {facts.space}: {error}") from error


def _checked(relative: str) -> str:
    if not _IN_FOLDER.fullmatch(relative):
        raise InputError(f"field: path {relative!r:.80}: expected {FOLDER}/NAME")
    return relative


def _read(store: Store, path: str) -> NDArray[Any]:
    with storage_errors(f"{store.url}/{path}"):
        spec = {"driver": "zarr3", "kvstore": store.kvstore(path)}
        array = ts.open(spec, open=True, context=store.context).result()
        _check_size(array.shape)
        return np.asarray(array.read().result())


def _check_size(shape: Sequence[int]) -> None:
    nbytes = prod(shape) * 4
    if nbytes > MOST_FIELD_BYTES:
        raise TooLarge(f"field: {nbytes} bytes: expected {MOST_FIELD_BYTES} at most")


def _metadata(shape: Sequence[int]) -> dict[str, Any]:
    chunk = [shape[0], *(min(extent, _CHUNK) for extent in shape[1:])]
    return {
        "shape": list(shape),
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        # NaN tells a chunk that is lost from one of zeros.
        "fill_value": "NaN",
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
            {"name": "crc32c"},
        ],
    }


def _write_field(store: Store, path: str, space: str, field: DisplacementField) -> dict[str, Any]:
    """Store a field, and return what the record says of it."""
    _check_size(field.values.shape)
    relative = f"{FOLDER}/{space}-{secrets.token_hex(4)}"
    spec = {
        "driver": "zarr3",
        "kvstore": store.kvstore(f"{path}/{relative}"),
        "metadata": _metadata(field.values.shape),
    }
    with storage_errors(f"{store.url}/{path}/{relative}"):
        array = ts.open(spec, create=True, context=store.context).result()
        array.write(field.values.astype("float32")).result()
    return {"path": relative, "origin": list(field.origin), "spacing": list(field.spacing)}
