"""A layer's JSON, checked before anything is built on it."""

from math import isfinite
from typing import Any

import numpy as np

from microtome.address import Address
from microtome.errors import LayerNotFound, WrongAnswer
from microtome.near import near_names
from microtome.transport import Transport
from microtome_core.axes import check_axes
from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.trials import RECORDING, RecordingInfo
from microtome_core.wire import LayerInfo, LevelInfo


def ask(transport: Transport, address: Address) -> LayerInfo | RecordingInfo:
    """Return what the service says of a layer or of a recording.

    Raises
    ------
    NotFound
        No such layer.
    WrongAnswer
        An answer that is not that layer's JSON.
    """
    try:
        value = transport.json(address.api)
    except LayerNotFound as error:
        near = near_names(transport, address)
        message = f"{error}; there is {', '.join(near)}" if near else str(error)
        if not transport.has_token:
            message += "; what is private is shown with a token alone: token= or MICROTOME_TOKEN"
        raise LayerNotFound(message, error.status, error.url) from error
    try:
        if isinstance(value, dict) and value.get("kind") == RECORDING:
            return _checked_recording(RecordingInfo.from_json(value), address)
        return _checked(LayerInfo.from_json(value), address)
    except (InputError, TypeError, AttributeError) as error:
        raise WrongAnswer(f"{address.api}: {error}") from error


def _checked(info: LayerInfo, address: Address) -> LayerInfo:
    if info.id != str(address.layer):
        raise InputError(f"it describes layer {info.id!r:.200}")
    check_axes(info.axes)
    check_dtype(info.dtype)
    if not info.levels or len(info.units) != len(info.axes):
        raise InputError(f"{len(info.levels)} levels and {len(info.units)} units of {info.axes}")
    for number, level in enumerate(info.levels):
        if not _sound(level, len(info.axes)):
            raise InputError(f"level {number} does not fit axes {info.axes}: {level!r:.500}")
    return info


def _checked_recording(info: RecordingInfo, address: Address) -> RecordingInfo:
    if info.id != str(address.layer):
        raise InputError(f"it describes {info.id!r:.200}")
    for variable in info.variables:
        if len(variable.shape) != len(variable.axes) or not variable.axes:
            raise InputError(f"variable {variable.name!r:.80} of axes {variable.axes!r:.200}")
        np.dtype(variable.dtype)
    return info


def _sound(level: LevelInfo, ndim: int) -> bool:
    extents = (level.shape, level.chunk, level.shard)
    lengths = (*extents, level.scale, level.translation)
    return (
        all(isinstance(sequence, tuple) and len(sequence) == ndim for sequence in lengths)
        and all(type(n) is int and n > 0 for sequence in extents for n in sequence)
        and all(_finite(n) and n > 0 for n in level.scale)
        and all(_finite(n) for n in level.translation)
    )


def _finite(value: Any) -> bool:  # noqa: ANN401 - a JSON value is anything
    return type(value) in (int, float) and isfinite(value)


def voxel_type(info: LayerInfo) -> np.dtype[Any]:
    """Return the type of a layer's voxels, in native byte order."""
    return check_dtype(info.dtype)
