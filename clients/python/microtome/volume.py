"""A layer that behaves like a NumPy array and lives on a service."""

import operator
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from microtome.address import Address
from microtome.batch import read_batch
from microtome.display import check_png, table, voxel_text
from microtome.errors import NotFound, RegionError
from microtome.fetch import Source
from microtome.indexing import parse_index
from microtome.layer import ask, voxel_type
from microtome.lazy import identity, to_dask, to_xarray
from microtome.recording import Recording
from microtome.selection import Position, Ruler, Units, axis_unit, channel, physical
from microtome.transport import Patience, Transport
from microtome_core.axes import spatial
from microtome_core.trials import RecordingInfo
from microtome_core.units import bytes_text
from microtome_core.wire import Channel, LayerInfo, LevelInfo

_THUMBNAIL_LIMIT = 4 << 20
# A notebook shows the table at once; the picture is worth a short wait and no second try.
_PICTURE_PATIENCE = Patience(timeout=3.0, retries=0)


def open(  # noqa: A001 - read as microtome.open
    url: str,
    *,
    level: int = 0,
    token: str | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    parallel: int = 8,
) -> Any:  # noqa: ANN401 - a union would have every caller ask which of the two it is
    """Open a layer or a recording for reading; nothing but its description is fetched.

    Parameters
    ----------
    url : str
        The address of the layer's page: ``http://host/collection/dataset/layer``.
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

    Returns
    -------
    Volume or Recording
        In a volume axes are ordered ``t c z y x``, less those that the layer lacks.

    Raises
    ------
    AddressError
        `url` is not the address of a layer.
    NotFound
        No such layer, recording or level.
    AccessDenied
        The token is missing, unknown or not allowed to read this.
    StorageError, BrokenConnection, TimedOut
        The service could not be reached, or is unavailable.
    WrongAnswer
        What answers is not a microtome service.
    """
    address = Address.parse(url)
    given = os.environ.get("MICROTOME_TOKEN") if token is None else token
    transport = Transport(given, Patience(timeout, retries, parallel))
    info = ask(transport, address)
    if isinstance(info, RecordingInfo):
        if level != 0:
            raise NotFound(f"no level {level}: {address.layer} is a recording, which has none")
        return Recording(address, info, transport)
    return Volume(address, info, transport, 0).level(level)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Volume:
    """One level of a layer, read by index as an array is; made by `microtome.open`.

    ``volume[index]`` takes integers, slices with any step, and ``...``, and gives what NumPy
    would: an array of its own in native byte order, or a scalar. Nothing is kept between calls.
    Volumes may be used by threads at once, pickled, and carried over a fork.

    Parameters
    ----------
    address : Address
        Where the layer is served.
    info : LayerInfo
        What the service says of it.
    transport : Transport
        Connections to the service.
    level_index : int
        Which level this is.
    """

    address: Address
    info: LayerInfo
    transport: Transport
    level_index: int

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

    @property
    def levels(self) -> tuple[LevelInfo, ...]:
        """Every level's shape, chunk, shard, scale and translation, finest first."""
        return self.info.levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in voxels of this level, in the order of `axes`."""
        return self._level.shape

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.axes)

    @property
    def size(self) -> int:
        """Voxels of this level."""
        return prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, in native byte order."""
        return voxel_type(self.info)

    @property
    def nbytes(self) -> int:
        """Bytes of this level, uncompressed."""
        return self.size * self.dtype.itemsize

    @property
    def axes(self) -> str:
        """One letter an axis, in array order, such as ``czyx``."""
        return self.info.axes

    @property
    def voxel_size(self) -> dict[str, float]:
        """Voxel size of this level along each spatial axis, in its unit of `units`."""
        pairs = zip(self.axes, self._level.scale, strict=True)
        return {axis: float(size) for axis, size in pairs if axis in spatial(self.axes)}

    @property
    def units(self) -> dict[str, str | None]:
        """Unit of every axis; None where it has none."""
        return dict(zip(self.axes, self.info.units, strict=True))

    @property
    def unit(self) -> str | None:
        """Unit of the spatial axes; None if it is unknown or they differ."""
        found = {self.units[axis] for axis in spatial(self.axes)}
        return found.pop() if len(found) == 1 else None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Name, colour and window of each index of axis c; none for labels."""
        return self.info.channels

    @property
    def attrs(self) -> dict[str, Any]:
        """The NWB-style record of the layer."""
        return self.info.attrs

    @property
    def kind(self) -> str:
        """``image`` or ``labels``."""
        return self.info.kind

    @property
    def id(self) -> str:
        """``collection/dataset/layer``."""
        return str(self.address.layer)

    @property
    def name(self) -> str:
        """The last part of `id`."""
        return self.address.layer.layer

    @property
    def url(self) -> str:
        """The address of the layer's page, which `microtome.open` takes."""
        return self.address.url

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401 - as NumPy's own
        """Return the voxels that `key` selects, as NumPy would; see the class.

        Raises
        ------
        UnsupportedIndex
            None, a float, a bool, a list or an array; also an IndexError and a TypeError.
        RegionError
            Too many indices, or an integer out of bounds; also an IndexError.
        StorageError, BrokenConnection, TimedOut, WrongAnswer, TooLarge
            Not every voxel came; there is no partial result.
        """
        cut = parse_index(key, self.shape, self.axes)
        return cut.finish(self._source.read(cut))

    def batch(self, keys: Iterable[object]) -> list[Any]:
        """Return what each of `keys` selects, as ``[volume[key] for key in keys]`` would.

        A few requests do for all of them: for loops that train on many small boxes.

        Parameters
        ----------
        keys : iterable
            What would stand within the brackets: ``np.s_[0:64, 0:64, 0:64]``.

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
        return read_batch(self._source, cuts)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level, as ``np.asarray`` asks for it."""
        if copy is False:
            raise ValueError("a volume is read from a service: its array is always a copy")
        array: NDArray[Any] = self[...]
        return array if dtype is None else array.astype(dtype, copy=False)

    def sel(self, *, unit: Units = None, **positions: Position) -> Any:  # noqa: ANN401 - as NumPy's own
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
        unknown = sorted(set(positions) - set(self.axes))
        if unknown:
            raise RegionError(f"axis {unknown[0]!r} is unknown: the axes are {self.axes!r}")
        return self[tuple(self._index(axis, positions, unit) for axis in self.axes)]

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

    def thumbnail(self, size: int = 256) -> bytes:
        """Return a small picture of the layer: a PNG file, at most `size` pixels wide and high."""
        return self._thumbnail(size, self.transport.patience)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return identity(self)

    def __repr__(self) -> str:
        return (
            f"<microtome.Volume {self.id} level {self.level_index} of {len(self.levels)}: "
            f"{self.axes} {self.shape} {self.dtype}, {bytes_text(self.nbytes)}, "
            f"voxel {voxel_text(self.voxel_size, self.units)}>"
        )

    def _repr_html_(self) -> str:
        rows = {
            "kind": self.kind,
            "level": f"{self.level_index} of {len(self.levels)}",
            "shape": f"{self.axes} {self.shape}",
            "voxels": f"{self.dtype}, {bytes_text(self.nbytes)}",
            "voxel size": voxel_text(self.voxel_size, self.units),
            "channels": ", ".join(str(c.name) for c in self.channels),
            "address": self.url,
        }
        shown = {name: text for name, text in rows.items() if text}
        return table(self.id, shown, lambda: self._thumbnail(256, _PICTURE_PATIENCE))

    @property
    def _level(self) -> LevelInfo:
        return self.levels[self.level_index]

    @property
    def _source(self) -> Source:
        return Source(
            transport=self.transport,
            api=self.address.api,
            version=self.info.version,
            axes=self.axes,
            dtype=self.dtype,
            number=self.level_index,
            level=self._level,
        )

    def _index(self, axis: str, positions: dict[str, Position], unit: Units) -> int | slice:
        i = self.axes.index(axis)
        if axis not in positions:
            return slice(None)
        if axis == "c":
            return channel(positions[axis], self.channels, self.shape[i])
        level, own = self._level, self.units[axis]
        ruler = Ruler(axis, level.shape[i], level.scale[i], level.translation[i], own)
        return physical(positions[axis], ruler, axis_unit(axis, own, unit))

    def _thumbnail(self, size: int, patience: Patience) -> bytes:
        url = f"{self.address.api}/thumbnail.png?size={int(size)}"
        data = self.transport.get(url, lambda body: body.read(_THUMBNAIL_LIMIT), patience=patience)
        return check_png(data, url)
