"""Olympus FluoView's OIB and OIF: one TIFF a plane, settings in text files beside them.

An OIB is a compound file that holds what an OIF keeps in a folder.
"""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp, is_remote
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import oif_facts as facts
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.lengths import common_unit
from microtome_ingest.sources.oif_grid import OifGrid, read_grid
from microtome_ingest.sources.oif_members import Members, members, settings
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.tiff_chain import check_chain
from microtome_ingest.sources.tiff_codec import PageCodec, Plane

# Planes asked for at once where each waits for a network.
_REQUESTS = 16


class OifSource:
    """An image of planes. Holds no file open between reads.

    Parameters
    ----------
    description : Description
    grid : OifGrid
        Which plane is which member.
    source : Members
    files : Files
    """

    def __init__(
        self, description: Description, grid: OifGrid, source: Members, files: Files
    ) -> None:
        self._description, self._grid = description, grid
        self._members, self._files = source, files
        self._meter = Meter()

    @property
    def description(self) -> Description:
        """What the settings say."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels in all planes that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Every file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Do nothing: each read opens and closes its own files."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole, grid = self._description, self._grid
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        count = len(grid.counts)
        # A y that was not scanned lies between rows and columns, or is the rows.
        box = (region.slices[count], region.slices[-1])
        jobs = []
        for at in np.ndindex(*region.shape[:count]):
            index = [low + i for low, i in zip(region.start, at, strict=False)]
            number = int(np.ravel_multi_index(index, grid.counts)) if index else 0
            jobs.append(partial(self._copy, grid.names[number], box, result[at]))
        run(jobs, _REQUESTS if is_remote(self._members.path) else None)
        return result

    def _copy(self, name: str, box: Sequence[slice], target: NDArray[Any]) -> None:
        plane = read_plane(self._members, name)
        _check_plane(self._members, name, plane, self._grid, np.dtype(self._description.dtype))
        part = plane[tuple(box)]
        target[...] = part.reshape(target.shape)
        self._meter.add(plane.nbytes)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image of the file."""
    found = open_image(path, files=files).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> OifSource:
    """Open an OIB file, or an OIF file beside its folder.

    Raises
    ------
    SourceError
        Damage, or planes that are missing.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: it is one image")
    files = files or Files()
    source = members(path, files)
    main = settings(source, source.main)
    with strict(path, source.main):
        grid = read_grid(source, main)
        plane = read_plane(source, grid.names[0])
        _check_plane(source, grid.names[0], plane, grid, plane.dtype)
        _check_sizes(source, grid, plane.nbytes)
        description = _describe(source, main, grid, plane.dtype)
    return OifSource(description, grid, source, files)


def read_plane(source: Members, name: str) -> NDArray[Any]:
    """Return rows and columns of the one page of a TIFF.

    Raises
    ------
    SourceError
        Damage, several pages, or a page that claims more than its bytes can hold.
    """
    path, data = source.path_of(name), source.read(name)
    with strict(path, name), io.BytesIO(data) as stream:
        if check_chain(stream, len(data), path) != 1:
            raise SourceError(path, f"{name}: several pages, expected one")
        stream.seek(0)
        with TiffFile(stream, name=path, _multifile=False) as tif:
            page = tif.pages.first
            plane = Plane.of(page, PageCodec.of(page))
            if plane.end() > len(data):
                reason = f"{name}: ends at byte {len(data)}, its voxels at {plane.end()}"
                raise SourceError(path, f"{reason}: truncated")
            return np.asarray(page.asarray(maxworkers=1))


def _check_plane(
    source: Members, name: str, plane: NDArray[Any], grid: OifGrid, dtype: np.dtype[Any]
) -> None:
    native = plane.dtype.newbyteorder("=")
    if plane.shape != grid.page or native != dtype.newbyteorder("="):
        reason = f"{name}: {plane.shape} {native}, expected {grid.page} {dtype.name}"
        raise SourceError(source.path_of(name), reason)


def _check_sizes(source: Members, grid: OifGrid, size: int) -> None:
    """Refuse a plane that is much shorter than the first one, before any of it is needed."""
    sizes = source.sizes
    first = sizes[grid.names[0]]
    for name in grid.names if first >= size else ():
        if sizes[name] < size:
            reason = f"{name}: {sizes[name]} bytes, but a plane has {size}: truncated"
            raise SourceError(source.path_of(name), reason)


def _describe(
    source: Members, main: Mapping[str, Any], grid: OifGrid, dtype: np.dtype[Any]
) -> Description:
    times = facts.time_points(source, main, grid)
    sizes, unit = common_unit(facts.voxel_size(main, grid))
    paths = (source.path, *(source.path_of(name) for name in grid.names))
    return Description(
        format=f"Olympus {source.kind}",
        axes=grid.axes,
        shape=grid.shape,
        dtype=dtype.newbyteorder("=").name,
        block=(1,) * len(grid.counts) + grid.shape[len(grid.counts) :],
        files=tuple(dict.fromkeys(paths)),
        voxel_size=sizes,
        unit=unit,
        time_step=facts.time_step(main, grid, times),
        channels=facts.channels(source, main, grid),
        metadata=facts.metadata(source, main, grid, times),
        notes=facts.notes(main, grid, times),
    )
