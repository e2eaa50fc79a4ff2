"""A layer that behaves like a NumPy array and lives on a service."""

import operator
import os
from collections.abc import Iterable
from math import prod
from typing import Any, SupportsIndex, cast

from numpy.typing import ArrayLike, NDArray

from microtome.address import Address
from microtome.arrays import Arrays
from microtome.batch import read_batch, read_batch_into, read_parts
from microtome.cache import Cache
from microtome.choice import by_budget, by_spacing, thinned
from microtome.errors import InputError, NotFound
from microtome.indexing import parse_index
from microtome.labels import Labels
from microtome.layer import ask
from microtome.lazy import identity, to_dask, to_xarray
from microtome.named import cut_of, voxels_of
from microtome.near import layer_address
from microtome.outer import OuterIndex, parse_outer, plan_outer
from microtome.pictures import Pictures
from microtome.recording import Recording
from microtome.sampling import sample
from microtome.selection import Position, Units
from microtome.spaces import Spaces
from microtome.stored import is_stored, open_stored
from microtome.transport import Patience, Transport
from microtome.writing import Writable
from microtome_core.trials import RecordingInfo


def open(  # noqa: A001 - read as microtome.open
    url: str | os.PathLike[str],
    *,
    level: int = 0,
    token: str | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    parallel: int = 8,
    transfer: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int = 4 << 30,
) -> Any:  # noqa: ANN401 - a union would have every caller ask which of the two it is
    """Open a layer or a recording for reading; nothing but its description is fetched.

    Parameters
    ----------
    url : str
        The address of the layer's page: ``http://host/collection/dataset/layer``, or of its
        dataset's, where it is the only one; or, with the extra ``store``, where it lies:
        ``ROOT/collection/dataset/layer``, a path or ``s3://…``.
    level : int
        Resolution, 0 is the finest; negative ones count from the coarsest.
    token : str, optional
        Sent as ``Authorization: Bearer``; environment MICROTOME_TOKEN stands in for it.
    timeout : float
        Seconds for a connection and for each silence of the service.
    retries : int
        Further tries after a broken connection or an answer 429, 502, 503 or 504; the waits
        between them double from 0.1 s, or are what the service asks for.
    parallel : int
        Requests under way at a time for one large cutout.
    transfer : str
        ``auto`` asks for voxels as they are while the link is fast, and compressed once it proves
        slow, if what decodes them is installed (the extra ``fast``); ``raw``, ``zstd`` (compressed
        by the service) and ``chunks`` (as they are stored, decoded here) always so.
    cache : path, optional
        A folder in which voxels are kept, by version, also for other processes; none by default.
        What is asked for is then read in whole chunks. Layers that may be written are not kept.
    cache_bytes : int
        What the folder may hold; the oldest go first.

    Returns
    -------
    Volume or Recording
        In a volume axes are ordered ``t c z y x``, less those that the layer lacks.

    Raises
    ------
    AddressError
        `url` is not the address of a layer; of a dataset, the message names its layers.
    NotFound
        No such layer, recording or level.
    AccessDenied
        The token is missing, unknown or not allowed to read this.
    StorageError, BrokenConnection, TimedOut
        The service could not be reached, or is unavailable.
    WrongAnswer
        What answers is not a microtome service.
    """
    if is_stored(url):
        stored = open_stored(url, Patience(timeout, retries, parallel))
        return Volume(stored.address, stored.info, stored, 0).level(level)
    given = os.environ.get("MICROTOME_TOKEN") if token is None else token
    kept = None if cache is None else Cache(cache, cache_bytes)
    transport = Transport(given, Patience(timeout, retries, parallel), transfer, kept)
    return open_at(layer_address(os.fspath(url), transport), transport, level)


def open_at(address: Address, transport: Transport, level: int = 0) -> Any:  # noqa: ANN401 - as `open`
    """Open a layer or a recording over connections that there are; as `open`."""
    info = ask(transport, address)
    if isinstance(info, RecordingInfo):
        if level != 0:
            raise NotFound(f"no level {level}: {address.layer} is a recording, which has none")
        return Recording(address, info, transport)
    return Volume(address, info, transport, 0).level(level)


class Volume(Arrays, Writable, Labels, Pictures, Spaces):
    """One level of a layer, read by index as an array is; made by `microtome.open`.

    ``volume[index]`` takes integers, slices with any step, and ``...``, and gives what NumPy
    would: an array of its own in native byte order, or a scalar. ``volume.oindex`` takes a list
    for each axis, `sample` takes points. Nothing is kept between calls. Volumes may be used by
    threads at once, pickled, and carried over a fork; two are equal that are the same level of the
    same version of one layer. Parameters are those of `Described`.
    """

    __slots__ = ()

    def level(self, number: SupportsIndex) -> "Volume":
        """Return the volume at another level; nothing is fetched.

        Parameters
        ----------
        number : int
            0 is the finest; negative ones count from the coarsest.

        Raises
        ------
        NotFound
            No such level.
        """
        count, index = len(self.levels), operator.index(number)
        if not -count <= index < count:
            raise NotFound(f"no level {index}: {self.id} has levels 0 to {count - 1}")
        return Volume(self.address, self.info, self.transport, index % count)

    def at(
        self,
        level: SupportsIndex | None = None,
        *,
        spacing: float | None = None,
        unit: str | None = None,
        max_voxels: int | None = None,
    ) -> "Volume":
        """Return the volume at the level that serves a purpose; nothing is fetched.

        Parameters
        ----------
        level : int, optional
            As for `level`.
        spacing : float, optional
            The coarsest level whose voxels are no larger than that along any spatial axis.
        unit : str, optional
            Of `spacing`; without it, each axis' own.
        max_voxels : int, optional
            The finest level of no more voxels than that, or else the coarsest.

        Raises
        ------
        NotFound
            No such level.
        """
        if [level, spacing, max_voxels].count(None) != 2:
            raise InputError("at(): expected one of level=, spacing= and max_voxels=")
        if level is not None:
            return self.level(level)
        if spacing is not None:
            return self.level(by_spacing(self.info, spacing, unit))
        sizes = [prod(each.shape) for each in self.levels]
        return self.level(by_budget(len(sizes), sizes.__getitem__, cast(int, max_voxels)))

    def overview(
        self, max_voxels: int = 1 << 24, *, unit: Units = None, **positions: Position
    ) -> Any:  # noqa: ANN401 - as NumPy's own
        """Return the whole, or what `sel` would, at the finest level of no more than `max_voxels`.

        Where even the coarsest level has more, every n-th voxel of it is taken: along the spatial
        axes, and only if that is not enough along time.

        Parameters
        ----------
        max_voxels : int
            16 million by default.
        unit, **positions
            As for `sel`: ``volume.overview(t=0, c="GFP")``.
        """
        volumes = [self.level(n) for n in range(len(self.levels))]
        cuts = [cut_of(volume, positions, unit) for volume in volumes]
        chosen = by_budget(len(cuts), lambda n: cuts[n].size, max_voxels)
        cut = thinned(cuts[chosen], self.axes, max_voxels)
        return cut.finish(volumes[chosen]._voxels(cut))

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401 - as NumPy's own
        """Return the voxels that `key` selects, as NumPy would; see the class.

        Raises
        ------
        UnsupportedIndex
            None, a float, a bool, a list or an array (see `oindex` and `sample`); also an
            IndexError and a TypeError.
        RegionError
            Too many indices, or an integer out of bounds; also an IndexError.
        StorageError, BrokenConnection, TimedOut, WrongAnswer, TooLarge
            Not every voxel came; there is no partial result.
        """
        cut = parse_index(key, self.shape, self.axes)
        return cut.finish(self._voxels(cut))

    def read(self, key: object = ..., **positions: Any) -> Any:  # noqa: ANN401 - as NumPy's own
        """Return voxels by index, or by the names of axes: ``volume.read(z=(10, 20), c="GFP")``.

        Parameters
        ----------
        key : index, optional
            What would stand within the brackets.
        **positions : int, (start, stop) or slice
            Instead, in voxels of this level, by axis; c takes a channel's name, too. An axis that
            is not named is whole. A range must lie within the volume.

        Raises
        ------
        RegionError
            An axis or channel that there is not, or positions out of bounds.
        """
        if positions and key is not ...:
            raise InputError("read(): expected an index or names of axes, not both")
        if not positions:
            return self[key]
        cut = voxels_of(self, positions)
        return cut.finish(self._voxels(cut))

    def batch(self, keys: Iterable[object], out: NDArray[Any] | None = None) -> Any:  # noqa: ANN401 - a list or `out`
        """Return what each of `keys` selects, as ``[volume[key] for key in keys]`` would.

        A few requests do for all of them: for loops that train on many small boxes.

        Parameters
        ----------
        keys : iterable
            What would stand within the brackets: ``np.s_[0:64, 0:64, 0:64]``.
        out : ndarray, optional
            Of shape (keys, …), contiguous, of the volume's type or one that holds it: receives
            what keys of one shape select, and is returned.

        Raises
        ------
        UnsupportedIndex, RegionError
            As for ``volume[key]``, before anything is asked of the service.
        StorageError, BrokenConnection, TimedOut, WrongAnswer, TooLarge
            Not every voxel came; there is no partial result.

        Examples
        --------
        ``np.stack(volume.batch(np.s_[z : z + 32, 0:32, 0:32] for z in range(0, 640, 32)))``
        """
        cuts = [parse_index(key, self.shape, self.axes) for key in keys]
        if out is not None:
            return read_batch_into(self._source, cuts, out)
        return read_batch(self._source, cuts)

    @property
    def oindex(self) -> OuterIndex:
        """Orthogonal indexing: ``volume.oindex[[1, 5, 9], :, 3]``, for each axis by itself.

        Takes lists, one-dimensional arrays and masks beside integers, slices and ``...``, and gives
        NumPy's ``array[np.ix_(…)]``, less the axes that an integer drops. Positions may come in any
        order and more than once; near ones are asked for together.
        """
        return OuterIndex(self._read_outer)

    def _read_outer(self, key: object) -> NDArray[Any]:
        source, outer = self._source, parse_outer(key, self.shape, self.axes)
        parts = plan_outer(outer, self.axes, self._level, self.dtype.itemsize)
        return outer.finish(read_parts(source, tuple(map(len, outer.sorted)), parts))

    def sample(
        self,
        points: ArrayLike,
        *,
        method: str = "nearest",
        unit: Units = None,
        **positions: SupportsIndex | str,
    ) -> NDArray[Any]:
        """Return values at points, in one request for some ten thousand of them.

        Parameters
        ----------
        points : array_like
            Of shape (..., axes), coordinates in the order of the volume's axes, or of its spatial
            axes alone. In voxels of this level, whose centres are whole numbers, unless `unit` is
            given.
        method : str
            ``nearest``, the voxel that covers the point, in the volume's type; or ``linear``,
            float64 between voxels along the spatial axes, and the edge's own value beyond its
            centre.
        unit : str or mapping of axis to str, optional
            The points are physical positions in this unit, as for `sel`.
        **positions : int or str
            ``t=`` and ``c=``, an index or a channel's name, where points are spatial.

        Returns
        -------
        ndarray
            Of shape (...).

        Raises
        ------
        RegionError
            A point outside of the volume; names it and the valid range.
        InputError
            Another number of coordinates, labels between voxels, or a unit that does not fit.

        Examples
        --------
        ``volume.sample([[10, 5.5, 3], [11, 6, 3]], method="linear", c="GFP")``
        """
        return sample(self, points, method, unit, positions)

    def sel(self, *, unit: Units = None, space: str | None = None, **positions: Position) -> Any:  # noqa: ANN401 - as NumPy's own
        """Return the voxels at physical positions.

        Voxel `i` of an axis covers ``[(i - 0.5) * scale + translation, (i + 0.5) * scale +
        translation)``, with the scale and translation of this level. A range ``(start, stop)``
        takes the voxels whose centre lies in ``[start, stop)``, so that ranges which meet share no
        voxel and leave none out; an end that is None means the axis' own. A single number takes the
        voxel that covers it, which is the nearest, and drops the axis. Positions within a millionth
        of a voxel from a centre or edge count as being on it.

        Parameters
        ----------
        unit : str or mapping of axis to str, optional
            Unit of the positions, however it is spelt; a length holds for the spatial axes, a time
            for t. Without it, each axis' own.
        space : str, optional
            A named space: ranges are in micrometers along its axes, for which z, y and x stand in
            its own order, and the smallest box that covers them is cut; see `box_in`, `resample`.
        **positions : number, (start, stop) or str
            By axis; one that is not named is whole. Axis c takes a channel's name or number, or a
            half-open range of numbers.

        Returns
        -------
        ndarray or scalar
            With the axes of the volume, less those given by a single position.

        Raises
        ------
        RegionError
            An axis or channel that there is not, or a position outside of the volume; the message
            gives its physical extent.
        InputError
            A position that is no number, or a unit that does not fit the axis.

        Examples
        --------
        ``volume.sel(z=(10, 20), y=5.0, c="GFP", unit="micrometer")``
        """
        if space is not None:
            cut = self._cut_in(space, positions)
            return cut.finish(self._voxels(cut))
        cut = cut_of(self, positions, unit)
        return cut.finish(self._voxels(cut))

    def to_xarray(self, chunks: Any = None) -> Any:  # noqa: ANN401 - xarray's own
        """Return this level as a lazy xarray DataArray, labelled with physical coordinates.

        Needs the extra ``xarray``. The same, and all levels at once, give
        ``xarray.open_dataset(url, engine="microtome")`` and ``xarray.open_datatree``.

        Parameters
        ----------
        chunks : optional
            None reads what is asked for when it is; ``{}`` makes Dask chunks of the layer's shards,
            anything else those that xarray makes of it.

        Returns
        -------
        DataArray
            With the centre of each voxel along each axis, in the layer's units, and the names of
            channels as coordinates; the record as attributes.
        """
        return to_xarray(self, chunks)

    def to_dask(self, chunks: Any = None) -> Any:  # noqa: ANN401 - dask has no types
        """Return this level as a lazy dask array; needs the extra ``xarray``.

        Parameters
        ----------
        chunks : optional
            Whatever dask takes; the layer's shards unless given.

        Returns
        -------
        dask.array.Array
            Whose name depends on the layer's version, so that equal volumes share tasks.
        """
        return to_dask(self, chunks)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return identity(self)
