"""Leica's LIF and LOF files: images that lie raw in blocks of memory, described by XML."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import lif_facts as facts
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.lengths import common_unit
from microtome_ingest.sources.lif_file import Container, images, photon_counts, read_container
from microtome_ingest.sources.lif_layout import TILES, Layout, read_layout


class LifSource:
    """One image. Holds no file open between reads.

    Parameters
    ----------
    description : Description
    layout : Layout
        Where its voxels lie.
    files : Files
    """

    def __init__(self, description: Description, layout: Layout, files: Files) -> None:
        self._description, self._layout, self._files = description, layout, files
        self._meter = Meter()

    @property
    def description(self) -> Description:
        """What the XML says."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels copied; none has to be decoded."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Do nothing: each read opens and closes the file."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order; colours in the order red, green, blue."""
        whole, layout = self._description, self._layout
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        target, box = result, region.slices
        if layout.blue_first:
            at = layout.axes.index("s")
            target = np.flip(result, at)
            turned = slice(3 - box[at].stop, 3 - box[at].start)
            box = (*box[:at], turned, *box[at + 1 :])
        path = whole.files[0]
        with strict(path, f"{whole.image}, {region}"), self._files.open(path) as data:
            layout.array.box(box).copy(self._files, data, target)
        self._meter.add(result.nbytes)
        return result


@dataclass(frozen=True, eq=False, slots=True)
class _Entry:
    """An image, or one tile of several, as `scenes` counts them."""

    name: str
    element: Element
    tile: int | None = None
    tiles: int = 1

    @property
    def title(self) -> str:
        """What the list of scenes calls it."""
        return self.name if self.tile is None else f"{self.name}, tile {self.tile}"


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images, with the names of the folders above them; each tile is one."""
    files = files or Files()
    with files.open(path) as data:
        container = read_container(data)
    with strict(path, log="liffile"):
        entries = list(_entries(container, path))
        return tuple(_scene(i, entry, path) for i, entry in enumerate(entries))


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> LifSource:
    """Open one image, or one tile of a mosaic.

    Raises
    ------
    SourceError
        Damage, several images and none chosen, one without voxels in this file, channels of
        differing types, photon counts alone.
    """
    files = files or Files()
    with files.open(path) as data:
        container = read_container(data)
    with strict(path, log="liffile"):
        entries = list(_entries(container, path))
        if not entries and photon_counts(container.root):
            raise SourceError(path, "holds no image but photon counts (FLIM): export one from them")
        index = _choose(path, entries, scene)
        entry = entries[index]
        layout, spare = _located(container, entry, path)
        description = _describe(container, entry, layout, spare, path, index)
    return LifSource(description, layout, files)


def _entries(container: Container, path: str) -> Iterator[_Entry]:
    for name, element in images(container.root):
        tiles = _tiles(element, path, name)
        if tiles == 1:
            yield _Entry(name, element)
        else:
            yield from (_Entry(name, element, tile, tiles) for tile in range(tiles))


def _tiles(element: Element, path: str, name: str) -> int:
    try:
        return read_layout(element, 0, path, name).extents.get(TILES, 1)
    except (SourceError, KeyError, ValueError):  # told when that image is opened
        return 1


def _scene(index: int, entry: _Entry, path: str) -> Scene:
    try:
        layout = _layout(entry, 0, path)
    except (SourceError, KeyError, ValueError):
        return Scene(index, f"{entry.title} (cannot be read)", "", (), "")
    array = layout.array
    return Scene(index, entry.title, layout.axes, array.shape, array.dtype.newbyteorder("=").name)


def _choose(path: str, entries: list[_Entry], scene: int | None) -> int:
    if not entries:
        raise SourceError(path, "holds no image")
    listing = "; ".join(str(_scene(i, entry, path)) for i, entry in enumerate(entries[:20]))
    listing += f"; and {len(entries) - 20} more" if len(entries) > 20 else ""
    if scene is None and len(entries) > 1:
        reason = f"holds {len(entries)} images, choose one with --scene N"
        raise SourceError(path, f"{reason}: {listing}")
    if not 0 <= (scene or 0) < len(entries):
        raise SourceError(path, f"has no scene {scene}; it holds {listing}")
    return scene or 0


def _layout(entry: _Entry, offset: int, path: str) -> Layout:
    layout = read_layout(entry.element, offset, path, entry.name)
    return layout if entry.tile is None else layout.tile(entry.tile)


def _located(container: Container, entry: _Entry, path: str) -> tuple[Layout, int]:
    """Return where the voxels are, and how many bytes of their block lie behind them."""
    offset, size = container.block(entry.element, path, entry.name)
    array = read_layout(entry.element, offset, path, entry.name).array
    spare = offset + size - array.end
    if spare < 0:
        reason = f"{entry.name}: {array.shape} needs {-spare} bytes more than its memory block has"
        raise SourceError(path, reason)
    return _layout(entry, offset, path), spare


def _describe(
    container: Container, entry: _Entry, layout: Layout, spare: int, path: str, index: int
) -> Description:
    sizes, unit = common_unit(facts.voxel_size(layout))
    element, array = entry.element, layout.array
    times = facts.time_points(element, layout)
    kind = container.kind
    return Description(
        format=f"Leica {kind}",
        axes=layout.axes,
        shape=array.shape,
        dtype=array.dtype.newbyteorder("=").name,
        block=_block(layout),
        files=(path,),
        image=f"scene {index}: {entry.title}",
        voxel_size=sizes,
        unit=unit,
        time_step=facts.time_step(layout, times),
        channels=facts.channels(element, layout),
        metadata=facts.metadata(element, entry.title, kind, layout, entry.tile),
        notes=facts.notes(layout, element, spare, entry.tiles, photon_counts(container.root)),
    )


def _block(layout: Layout) -> tuple[int, ...]:
    """Return the extents of what is read at once: the two innermost axes, and samples."""
    inner = [axis for axis, n in layout.extents.items() if axis != "s" and n > 1][-2:]
    return tuple(n if a in (*inner, "s") else 1 for a, n in layout.extents.items())
