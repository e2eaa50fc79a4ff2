"""Whether a layer that lies in a store is one that this service can speak of."""

import json
from typing import Never

import numpy as np
from pydantic_core import to_json

from microtome_core.axes import check_axes
from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording


def check_servable(layer: Layer) -> None:
    """Refuse what other software may have written and this service cannot speak of.

    Raises
    ------
    InputError, ValueError
        Axes or a dtype that are not microtome's, ranks that differ, a record that is no object, or
        metadata that JSON cannot carry: NaN, half a character, too deep a nesting.
    """
    info = layer.info
    check_axes(info.axes)
    for array, level in zip(layer.arrays, info.levels, strict=True):
        check_dtype(array.dtype.numpy_dtype)
        ranks = {array.ndim, len(level.scale), len(level.translation), len(info.axes)}
        if len(ranks) > 1 or array.dtype != layer.arrays[0].dtype or 0 in array.shape:
            raise InputError(f"level of shape {array.shape}, axes {info.axes!r}: not one pyramid")
    if not isinstance(info.attrs, dict):
        raise InputError(f"a record of type {type(info.attrs).__name__}: expected an object")
    # What will be sent must be JSON, of which NaN is no part.
    json.loads(to_json(info), parse_constant=refuse)


def check_recording(recording: Recording) -> None:
    """Refuse a document that contradicts itself or its arrays, before anybody relies on it.

    Raises
    ------
    InputError, ValueError, TypeError, LookupError
    """
    if not isinstance(recording.record, dict):
        raise InputError(f"a record of type {type(recording.record).__name__}: expected an object")
    # What will be sent must be JSON, of which NaN is no part.
    json.loads(to_json(recording.record), parse_constant=refuse)
    for name, facts in recording.variables.items():
        for stored in facts.arrays:
            for path in filter(None, (stored.path, stored.by_row)):
                array = recording.arrays[path]
                said = (np.dtype(stored.dtype), (*stored.shape,))
                if said != (array.dtype.numpy_dtype, array.shape[:-1]):
                    raise InputError(f"{name}: {path} is not of the dtype and shape that are told")
    for trial in recording.trials:  # made of pieces, each of an array that there is
        if any(piece.state == "stored" and piece.array < 0 for piece in trial.pieces.values()):
            raise InputError(f"trial {trial.number}: stored, and in no array")


def refuse(constant: str) -> Never:
    """Refuse what is no part of JSON; raises InputError."""
    raise InputError(f"{constant} in the metadata")
