"""A source seen through the answers: its axes in microtome's order, and nothing else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.options import VolumeSpec
from microtome_ingest.resolve import Resolution
from microtome_ingest.source import Source


class Canonical:
    """A source whose regions are in the axes of a `VolumeSpec`.

    Parameters
    ----------
    source : Source
    resolution : Resolution
        From `resolve`, for this source.
    """

    def __init__(self, source: Source, resolution: Resolution) -> None:
        self._source = source
        self._resolution = resolution

    @property
    def spec(self) -> VolumeSpec:
        """What `read` gives regions of."""
        return self._resolution.spec

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region, C-contiguous, in the order of ``spec.axes``.

        Raises
        ------
        RegionError
            Other axes, or out of bounds.
        SourceError
            Damage; never zeros instead.
        """
        check_region(region, self.spec.axes, self.spec.shape)
        voxels = self._source.read(self._there(region))
        kept = sorted(self._resolution.order)
        dropped = tuple(i for i in range(voxels.ndim) if i not in kept)
        turned = np.squeeze(voxels, dropped).transpose(
            [kept.index(i) for i in self._resolution.order]
        )
        if turned.shape != region.shape:
            name = self._source.description.name
            raise SourceError(name, f"gave {turned.shape} for {region}: expected {region.shape}")
        return np.ascontiguousarray(turned, self.spec.dtype)

    def _there(self, region: Region) -> Region:
        """Return the same voxels in the source's own axes."""
        axes = self._source.description.axes
        start, stop = [0] * len(axes), [1] * len(axes)
        for place, low, high in zip(self._resolution.order, region.start, region.stop, strict=True):
            start[place], stop[place] = low, high
        return Region(axes, tuple(start), tuple(stop))


def canonical_source(source: Source, resolution: Resolution) -> Canonical:
    """Return `source` seen through `resolution`."""
    return Canonical(source, resolution)
