"""CZI files of ZEISS: voxels by libCZI, through pylibCZIrw; what there is by the file's directory.

libCZI gives zeros for subblocks that are missing or not whole, so that both are looked for here
before it is asked. It opens local files only.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pylibCZIrw.czi import CziReader

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Bytes, Files, Stamp, is_remote
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import czi_directory as directory
from microtome_ingest.sources.czi_blocks import JPEG_XR, PIXELS, check_content, check_kind, raw_size
from microtome_ingest.sources.czi_directory import Block
from microtome_ingest.sources.czi_facts import Facts, stage_of_tags, tags
from microtome_ingest.sources.czi_images import Image, Plane, check_whole, images, uncovered
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.times import Times, times_of

_AXES = {"t": "T", "c": "C", "z": "Z"}
# Characters of XML that are kept in the record.
_LONGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class _Document:
    """What is read of a file when it is opened."""

    path: str
    xml: str
    facts: Facts
    images: tuple[Image, ...]
    stamps: Sequence[float]
    # What holds for all images alike.
    notes: tuple[str, ...]
    names: Mapping[int, str]

    def name(self, number: int) -> str:
        """Return what tells an image from the others."""
        return self.images[number].name(self.names)


class CziSource:
    """One image of a CZI file. The file stays open from the first read until `close`."""

    def __init__(self, description: Description, files: Files, image: Image) -> None:
        self._description, self._files, self._image = description, files, image
        self._left, self._top, _, _ = image.rectangle
        self._meter = Meter()
        self._lock = threading.Lock()
        self._opened: tuple[Bytes, CziReader] | None = None
        # Subblocks that were looked at; the file is refused if it changes.
        self._good: set[int] = set()

    @property
    def description(self) -> Description:
        """What the file says of the image."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels of all subblocks that were read."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._files.stamps(self._description.files)

    def close(self) -> None:
        """Close the file once no read needs it; a later read opens it again."""
        with self._lock:
            self._opened = None

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; voxels between the tiles of a mosaic are 0."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        result = np.zeros(region.shape, whole.dtype)
        data, reader = self._handle()
        data.check()
        for index, plane in self._planes(region):
            self._fill(data, reader, region, plane, result[index])
        return result

    def _handle(self) -> tuple[Bytes, CziReader]:
        path = self._description.files[0]
        with self._lock:
            if self._opened is None:
                data = self._files.open(path)
                with strict(path, log="pylibCZIrw"):
                    self._opened = data, CziReader(path)
            return self._opened

    def _planes(self, region: Region) -> Iterator[tuple[tuple[int, ...], Plane]]:
        """Yield place in the region, and coordinates along T, Z and C."""
        asked = dict(zip(region.axes, region.slices, strict=True))
        outer = [axis for axis in region.axes if axis in _AXES]
        ranges = [range(asked[axis].start, asked[axis].stop) for axis in outer]
        for place in product(*ranges):
            at = dict(zip(outer, place, strict=True))
            t, z, c = (self._image.turns[name][at.get(name.lower(), 0)] for name in "TZC")
            index = tuple(n - part.start for n, part in zip(place, ranges, strict=True))
            yield index, (t, z, c)

    def _fill(
        self,
        data: Bytes,
        reader: CziReader,
        region: Region,
        plane: Plane,
        target: NDArray[Any],
    ) -> None:
        """Read a rectangle of one plane."""
        asked = dict(zip(region.axes, region.slices, strict=True))
        rows, columns = asked["y"], asked["x"]
        x, y = self._left + columns.start, self._top + rows.start
        box = (x, y, columns.stop - columns.start, rows.stop - rows.start)
        touched = [block for block in self._image.planes[plane] if _touches(block, box)]
        if not touched:
            return
        self._check(data, touched)
        names = dict(zip("TZC", plane, strict=True))
        coordinates = {**self._image.fixed, **names}
        scene = coordinates.pop("S", None)
        with strict(data.path, f"plane T {plane[0]}, Z {plane[1]}, C {plane[2]}", log="pylibCZIrw"):
            voxels = reader.read(
                roi=box,
                plane=coordinates,
                scene=scene,
                pixel_type=PIXELS[self._image.pixel][0],
            )
        samples = asked.get("s", slice(0, 1))
        # Blue comes first in the file.
        target[...] = voxels[..., ::-1][..., samples].reshape(target.shape)
        self._meter.add(sum(map(raw_size, touched)))

    def _check(self, data: Bytes, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if block.position not in self._good:
                check_content(data, block)
                self._good.add(block.position)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images: scenes, and whatever else is no axis."""
    files = files or Files()
    with _local(path, files) as data, strict(path):
        document = _document(data)
        return tuple(
            Scene(i, document.name(i), d.axes, d.shape, d.dtype)
            for i in range(len(document.images))
            for d in [_describe(data, document, i)]
        )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> CziSource:
    """Open the image that `scene` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, planes or tiles that are missing, several images and none chosen, voxels or
        compressions that libCZI does not decode, or a file that is not local.
    """
    files = files or Files()
    with _local(path, files) as data, strict(path):
        document = _document(data)
        number = _chosen(document, scene)
        image = document.images[number]
        check_whole(path, image, document.images)
        for blocks in image.planes.values():
            for block in blocks:
                check_kind(path, block)
        return CziSource(_describe(data, document, number), files, image)


def _local(path: str, files: Files) -> Bytes:
    if is_remote(path):
        raise SourceError(path, "CZI files are read from local disks only: copy it there first")
    return files.open(path)


def _document(data: Bytes) -> _Document:
    header = directory.header(data)
    if header.part:
        raise SourceError(data.path, "is one of several files of a recording: not read")
    xml = directory.xml(data, header)
    found = images(data.path, directory.blocks(data, header))
    stamps = directory.time_stamps(data, header)
    facts = Facts(xml, data.path)
    notes = _odd(facts, found, xml, header.pending)
    return _Document(data.path, xml, facts, found, stamps, notes, facts.scenes())


def _chosen(document: _Document, scene: int | None) -> int:
    count = len(document.images)
    if scene is None and count > 1:
        listing = ", ".join(f"{i}: {document.name(i)}" for i in range(count))
        raise SourceError(document.path, f"holds {count} images, choose with --scene N: {listing}")
    if not 0 <= (scene or 0) < count:
        raise SourceError(document.path, f"has no scene {scene}: it holds {count}")
    return scene or 0


def _describe(data: Bytes, document: _Document, number: int) -> Description:
    image, facts = document.images[number], document.facts
    check_kind(document.path, next(iter(image.planes.values()))[0])
    _, dtype, samples = PIXELS[image.pixel]
    _, _, width, height = image.rectangle
    extents = {axis: len(image.turns[name]) for axis, name in _AXES.items()}
    extents |= {"y": height, "x": width, "s": samples}
    axes = "".join(axis for axis in "tczyxs" if extents[axis] > 1 or axis in "yx")
    first = next(iter(image.planes.values()))[0]
    decoded = {"y": first.height, "x": first.width, "s": samples}
    times = _times(document, image)
    sizes = facts.voxel_size()
    name = document.name(number)
    return Description(
        format="CZI",
        axes=axes,
        shape=tuple(extents[axis] for axis in axes),
        dtype=dtype.name,
        block=tuple(decoded.get(axis, 1) for axis in axes),
        files=(document.path,),
        image=str(number) if len(document.images) > 1 else "",
        voxel_size={axis: sizes[axis] for axis in axes if axis in sizes},
        unit="micrometer" if sizes else None,
        time_step=times.step,
        channels=() if samples > 1 else facts.channels(image.turns["C"], dtype),
        metadata={
            **facts.metadata(),
            **({"name": name} if name else {}),
            **_stage(data, document, image),
            **times.metadata,
            "CZI": document.xml if len(document.xml) <= _LONGEST else "left out: too long",
        },
        notes=(*times.notes, *_notes(document, image)),
    )


def _stage(data: Bytes, document: _Document, image: Image) -> dict[str, Any]:
    found = document.facts.stage(image.scene)
    if not found:
        first = next(iter(image.planes.values()))[0]
        with strict(document.path, f"the subblock at byte {first.position}"):
            text = bytes(directory.content(data, first.position).metadata).decode("utf-8-sig")
            found = stage_of_tags(tags(text, document.path))
    return {"stage_position": found} if found else {}


def _times(document: _Document, image: Image) -> Times:
    turns = image.turns["T"]
    if len(turns) < 2:
        return Times()
    # One for each time point of the recording; another number of them is of something else.
    known = len(document.stamps) in (document.facts.size("T"), turns[-1] + 1)
    known = known and turns[0] >= 0 and turns[-1] < len(document.stamps)
    points = [document.stamps[t] for t in turns] if known else []
    return times_of(points, document.facts.time_step())


def _notes(document: _Document, image: Image) -> tuple[str, ...]:
    """Say what is odd about an image."""
    notes = []
    gap = uncovered(image)
    if gap > 0:
        notes.append(f"{gap:.2%} of its rectangle is covered by no tile: such voxels are 0")
    blocks = [block for plane in image.planes.values() for block in plane]
    if any(block.compression == JPEG_XR for block in blocks):
        notes.append("was compressed with JPEG XR, which may have cost detail")
    return (*notes, *document.notes)


def _odd(facts: Facts, found: Sequence[Image], xml: str, pending: bool) -> tuple[str, ...]:
    """Say what is odd about the file."""
    notes = []
    for name in "TZCSHVIRB":
        every = [one.turns.get(name, [one.fixed.get(name, 0)]) for one in found]
        held = len({turn for turns in every for turn in turns})
        said = facts.size(name)
        if said > held:
            notes.append(f"its metadata say {said} along {name}, but it holds {held}")
    if len(xml) > _LONGEST:
        notes.append(f"its XML of {len(xml)} characters is too long to be kept")
    if pending:
        notes.append("was not closed by the program that wrote it")
    return tuple(notes)


def _touches(block: Block, box: tuple[int, int, int, int]) -> bool:
    x, y, width, height = box
    across = block.x < x + width and x < block.x + block.width
    return across and block.y < y + height and y < block.y + block.height
