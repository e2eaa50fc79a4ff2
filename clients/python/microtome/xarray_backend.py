"""The engine ``microtome`` of xarray: a layer is a lazy dataset, its levels are a tree.

xarray finds it by its entry point; nothing else imports this module before it is asked for.
"""

import json
import operator
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from microtome.errors import AddressError
from microtome.volume import Volume
from microtome.volume import open as open_volume
from microtome_core.wire import LevelInfo


class VolumeArray(BackendArray):
    """A volume as xarray indexes it: integers, slices, and a list of positions on each axis.

    Parameters
    ----------
    volume : Volume
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.shape = volume.shape
        self.dtype = volume.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - xarray's own
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        lists = any(isinstance(word, np.ndarray) for word in key)
        return np.asarray(self.volume.oindex[key] if lists else self.volume[key])


class MicrotomeBackendEntrypoint(BackendEntrypoint):
    """``xarray.open_dataset(url, engine="microtome")``."""

    description: ClassVar[str] = "Layers of a microtome service, by their address"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "level",
        "token",
        "timeout",
        "retries",
        "parallel",
    )
    supports_groups: ClassVar[bool] = True

    def open_dataset(
        self,
        filename_or_obj: Any,  # noqa: ANN401 - whatever xarray is given
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int | None = None,
        **options: Any,  # noqa: ANN401 - what microtome.open takes
    ) -> xr.Dataset:
        """Return one level as a lazy dataset.

        Parameters
        ----------
        filename_or_obj : str or Volume
            The address of a layer, or a volume that is open already.
        drop_variables : str or iterable of str, optional
            Left out.
        level : int, optional
            Resolution; 0, or the volume's own, unless given. Negative ones count from the coarsest.
        **options
            ``token``, ``timeout``, ``retries`` and ``parallel``, as `microtome.open` takes them.

        Returns
        -------
        Dataset
            With one variable, ``image`` or ``labels``, of dimensions ``t c z y x`` less those that
            the layer lacks; the centre of each voxel, in the layer's units, and the names of
            channels as coordinates; the layer's record as attributes, what it nests as JSON.
        """
        volume = _opened(filename_or_obj, options)
        return to_dataset(volume if level is None else volume.level(level), drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,  # noqa: ANN401 - whatever xarray is given
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,  # noqa: ANN401 - what microtome.open takes
    ) -> dict[str, xr.Dataset]:
        """Return each level as a dataset under its number: ``/0`` is the finest."""
        volume = _opened(filename_or_obj, options)
        levels = range(len(volume.levels))
        found = {f"/{n}": to_dataset(volume.level(n), drop_variables) for n in levels}
        return {"/": xr.Dataset(attrs=_attributes(volume)), **found}

    def open_datatree(
        self,
        filename_or_obj: Any,  # noqa: ANN401 - whatever xarray is given
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,  # noqa: ANN401 - what microtome.open takes
    ) -> xr.DataTree:
        """Return all levels as a tree of lazy datasets; see `open_groups_as_dict`."""
        groups = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables, **options)
        return xr.DataTree.from_dict(groups)

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Never guess: an address of a layer looks like any other."""
        del filename_or_obj
        return False


def to_array(volume: Volume, chunks: Any) -> xr.DataArray:  # noqa: ANN401 - as xarray takes it
    """Return a level as a lazy array; see `Volume.to_xarray`."""
    dataset = xr.open_dataset(volume, engine=MicrotomeBackendEntrypoint, chunks=chunks)  # type: ignore[arg-type]
    array = dataset[volume.kind]
    return array.assign_attrs({**array.attrs, **dataset.attrs})


def to_dataset(volume: Volume, drop: str | Iterable[str] | None = None) -> xr.Dataset:
    """Return a level as a dataset whose voxels are read when they are asked for."""
    dropped = {drop} if isinstance(drop, str) else set(drop or ())
    variables: dict[str, xr.Variable] = {volume.kind: _voxels(volume)}
    variables |= coordinates(volume)
    kept = {name: variable for name, variable in variables.items() if name not in dropped}
    dataset = xr.Dataset(kept, attrs=_attributes(volume))
    dataset.encoding["source"] = volume.url
    return dataset.set_coords([name for name in kept if name != volume.kind])


def coordinates(volume: Volume) -> dict[str, xr.Variable]:
    """Return the centre of each voxel along every axis, and the names of channels.

    Channels whose names are not unique, or not known, are left without.
    """
    level: LevelInfo = volume.levels[volume.level_index]
    found: dict[str, xr.Variable] = {}
    for i, axis in enumerate(volume.axes):
        if axis == "c":
            continue
        unit = volume.units[axis]
        attributes = {"units": unit} if unit else {}
        centres = level.translation[i] + level.scale[i] * np.arange(level.shape[i])
        found[axis] = xr.Variable((axis,), centres, attributes)
    names = [channel.name for channel in volume.channels]
    if "c" in volume.axes and len(set(names)) == volume.shape[volume.axes.index("c")]:
        found["c"] = xr.Variable(("c",), np.array(names))
    return found


def _voxels(volume: Volume) -> xr.Variable:
    shard = volume.levels[volume.level_index].shard
    extents = map(operator.index, map(min, shard, volume.shape))
    variable = xr.Variable(
        tuple(volume.axes),
        indexing.LazilyIndexedArray(VolumeArray(volume)),
        {"long_name": volume.name},
    )
    variable.encoding["preferred_chunks"] = dict(zip(volume.axes, extents, strict=True))
    return variable


def _attributes(volume: Volume) -> dict[str, str | int | float]:
    """Return the record, and where all this comes from, as any format of files can hold it."""
    about = {"microtome_url": volume.url, "microtome_version": volume.info.version}
    given = {name: value for name, value in volume.attrs.items() if value is not None}
    # Where the voxels lie in the layer; SciPy's NetCDF would take it for the voxels themselves.
    given.pop("data", None)
    return {name: _plain(value) for name, value in {**given, **about}.items()}


def _plain(value: Any) -> str | int | float:  # noqa: ANN401 - whatever JSON holds
    """Return text and numbers as they are, all else as JSON: NetCDF nests nothing."""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False)


def _opened(given: object, options: dict[str, Any]) -> Volume:
    if isinstance(given, Volume):
        if options:
            raise TypeError(f"a volume is open already: {', '.join(options)} come too late")
        return given
    if not isinstance(given, str):
        raise AddressError(f"{type(given).__name__}: expected a layer's address or a Volume")
    opened = open_volume(given, **options)
    if not isinstance(opened, Volume):
        raise AddressError(f"{opened.url} is a recording: microtome.open(…).to_xarray() labels it")
    return opened
