"""Trials of a recording as a dataset of xarray, computed lazily by dask."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from microtome.errors import InputError
from microtome.trials import Trial, pad
from microtome_core.trials import VariableInfo

if TYPE_CHECKING:
    from microtome.recording import Recording

_SHARED = ("neuron", "y", "x")


def to_dataset(recording: "Recording", trials: Sequence[Trial], names: Sequence[str]) -> Any:  # noqa: ANN401 - xarray's own
    """Return trials as one labelled dataset; see `Recording.to_xarray`."""
    xr, da, delayed = _libraries()
    infos = [recording.variable(name) for name in names]
    length = max((_length(trial, name) for trial in trials for name in names), default=0)
    data, states = {}, {}
    for info in infos:
        dims, shape, dtype = _dims(info), _shape(info), _dtype(info)
        read = delayed(_values, pure=False)
        parts = [
            da.from_delayed(
                read(trial, info.name, (*shape, length), dtype), (*shape, length), dtype
            )
            for trial in trials
        ]
        stacked = da.stack(parts) if parts else da.zeros((0, *shape, length), dtype=dtype)
        data[info.name] = (("trial", *dims, "time"), stacked, _attributes(info))
        states[f"{info.name}_state"] = ("trial", np.array([t.state(info.name) for t in trials]))
    attrs = {"id": recording.id, "version": recording.info.version, "address": recording.url}
    return xr.Dataset(data, {**_coordinates(recording, trials, infos, length), **states}, attrs)


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import dask.array as da  # noqa: PLC0415
        import xarray as xr  # noqa: PLC0415
        from dask.delayed import delayed  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f"to_xarray needs {error.name}: install the extra 'xarray' of microtome"
        ) from error
    return xr, da, delayed


def _values(trial: Trial, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a trial's values followed by NaN; of what there are none, NaN alone."""
    if trial.state(name) != "stored":
        return np.full(shape, np.nan, dtype)
    return pad(trial.read(name).astype(dtype, copy=False), shape[-1])


def _length(trial: Trial, name: str) -> int:
    return int(trial.row[f"{name}_frames"] or 0)


def _dims(info: VariableInfo) -> list[str]:
    # What but neurons and pixels has one name in two variables are two different things.
    return [axis if axis in _SHARED else f"{info.name}_{axis}" for axis in info.axes[:-1]]


def _shape(info: VariableInfo) -> tuple[int, ...]:
    shape = [extent for extent in info.shape[:-1] if extent is not None]
    if len(shape) != len(info.axes) - 1:
        raise InputError(f"{info.name} has other extents in other trials: read them one by one")
    return tuple(shape)


def _dtype(info: VariableInfo) -> np.dtype[Any]:
    """Return a type that has NaN."""
    return np.result_type(info.dtype or "f8", np.float32)


def _attributes(info: VariableInfo) -> dict[str, str]:
    return {"units": info.unit} if info.unit else {}


def _coordinates(
    recording: "Recording", trials: Sequence[Trial], infos: Sequence[VariableInfo], length: int
) -> dict[str, Any]:
    rates = {info.rate for info in infos}
    if len(rates) > 1:
        said = ", ".join(f"{info.name} {info.rate}" for info in infos)
        raise InputError(f"rates differ, {said}: ask for variables of one rate")
    found: dict[str, Any] = {
        "trial": [trial.number for trial in trials],
        "tier": ("trial", np.array([str(trial.tier) for trial in trials])),
        "frames": ("trial", [trial.frames for trial in trials]),
    }
    rate = rates.pop() if rates else None
    if rate:
        found["time"] = ("time", np.arange(length) / rate, {"units": "s"})
    for info in infos:
        if info.axes[0] == "neuron":
            found |= _of_neurons(recording)
        elif info.rows:
            found[_dims(info)[0]] = (_dims(info)[0], list(info.rows))
    return found


def _of_neurons(recording: "Recording") -> dict[str, Any]:
    """Return a coordinate for each column of the table of neurons, and for each of its parts."""
    found: dict[str, Any] = {}
    table = recording.neurons
    for name, column in table.columns.items():
        attributes = {"units": column.unit} if column.unit else {}
        if not column.shape:
            found[name] = ("neuron", table[name], attributes)
        for place, part in enumerate(column.parts if len(column.shape) == 1 else ()):
            # Not x alone: videos have an axis of that name.
            label = f"neuron_{part}" if f"neuron_{part}" not in found else f"{name}_{part}"
            found[label] = ("neuron", table[name][:, place], attributes)
    return found
