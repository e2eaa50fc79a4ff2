"""What a volume says of itself: its place, extents, type, axes, sizes and names."""

import threading
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.address import Address, Addressed
from microtome.cached import read_cached
from microtome.display import voxel_text
from microtome.fetch import Source
from microtome.indexing import Cut
from microtome.layer import voxel_type
from microtome.selection import Ruler
from microtome.stored import StoredSource, StoredTransport
from microtome.transport import Transport
from microtome_core.axes import spatial
from microtome_core.units import bytes_text
from microtome_core.wire import Channel, LayerInfo, LevelInfo


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Described(Addressed):
    """One level of a layer, as its service describes it.

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

    def __repr__(self) -> str:
        return (
            f"<microtome.Volume {self.id} level {self.level_index} of {len(self.levels)}: "
            f"{self.axes} {self.shape} {self.dtype}, {bytes_text(self.nbytes)}, "
            f"voxel {voxel_text(self.voxel_size, self.units)}>"
        )

    def __eq__(self, other: object) -> bool:
        """Tell whether both are the same level of the same version of one layer."""
        if not isinstance(other, Described):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Address, str, int]:
        return self.address, self.info.version, self.level_index

    @property
    def _level(self) -> LevelInfo:
        return self.levels[self.level_index]

    def _voxels(self, cut: Cut, stop: threading.Event | None = None) -> NDArray[Any]:
        """Return the voxels of a cut, through the cache if there is one; see `Source.read`.

        Voxels of a writable layer may change while its version stays: they are not kept.
        """
        cache = self.transport.cache
        if cache is None or self.info.writable:
            return self._source.read(cut, stop)
        return read_cached(self._source, cache, cut, stop)

    @property
    def _source(self) -> Source:
        kind = StoredSource if isinstance(self.transport, StoredTransport) else Source
        return kind(
            transport=self.transport,
            api=self.address.api,
            version=self.info.version,
            axes=self.axes,
            dtype=self.dtype,
            number=self.level_index,
            level=self._level,
        )

    def _ruler(self, axis: str) -> Ruler:
        """Return where the voxels of an axis lie."""
        i, level = self.axes.index(axis), self._level
        return Ruler(axis, level.shape[i], level.scale[i], level.translation[i], self.info.units[i])
