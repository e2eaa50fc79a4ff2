"""Imaris files (.ims): the finest level, cropped to the image.

Source of the format: Bitplane, Imaris 5.5 file format: an array z y x for each time point and
channel under ``DataSet/ResolutionLevel 0``, padded with zeros to whole chunks.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h5py  # type: ignore[import-untyped]

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import hdf5_facts
from microtome_ingest.sources import imaris_facts as facts
from microtome_ingest.sources.hdf5_file import Hdf5Files
from microtome_ingest.sources.hdf5_source import Hdf5Source
from microtome_ingest.sources.hdf5_stack import Stack, stacked
from microtome_ingest.sources.members import choose

_SIZES = ("ImageSizeZ", "ImageSizeY", "ImageSizeX")
_MOST_LEVELS = 3
_MOST_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class _Image:
    """One image: the groups of its voxels and of what is said of it."""

    number: int
    data: str
    info: str
    words: Mapping[str, facts.Words] = field(default_factory=dict)

    def of(self, name: str) -> facts.Words:
        """Return the attributes of a group such as ``Image``."""
        return self.words.get(f"/{self.info}/{name}", {})

    @property
    def channels(self) -> int:
        """How many channels are described."""
        names = [name.rpartition("/")[2] for name in self.words]
        return len([name for name in names if re.fullmatch(r"Channel \d+", name)])


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images; nearly always one."""
    with Hdf5Files(files or Files()) as books:
        found = [_described(books, path, image)[0] for image in _images(books, path)]
    return tuple(
        Scene(i, d.metadata.get("name", d.image), d.axes, d.shape, d.dtype)
        for i, d in enumerate(found)
    )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Hdf5Source:
    """Open an image.

    Raises
    ------
    SourceError
        Damage, a time point or channel that is missing, sizes that contradict each other, links
        that lead out of the folder, or several images and none chosen.
    """
    books = Hdf5Files(files or Files())
    with books.closing_on_error():
        images = _images(books, path)
        image = images[choose(path, [image.data for image in images], scene)]
        description, stack = _described(books, path, image)
    return Hdf5Source(description, books, stack.pieces)


def _images(books: Hdf5Files, path: str) -> list[_Image]:
    found = books[path].call(_listed)
    if not found:
        raise SourceError(path, "holds no image (no group DataSet)")
    return found


def _listed(file: Any) -> list[_Image]:  # noqa: ANN401 - h5py has no types
    root = _said(file)
    data = facts.text(root, "DataSetDirectoryName") or "DataSet"
    info = facts.text(root, "DataSetInfoDirectoryName") or "DataSetInfo"
    numbered = re.compile(re.escape(data) + r"(\d*)")
    ends = [m[1] for name in map(str, file) if (m := numbered.fullmatch(name))]
    ordered = sorted(ends, key=lambda end: int(end or 0))
    return [_Image(i, f"{data}{end}", f"{info}{end}") for i, end in enumerate(ordered)]


def _described(books: Hdf5Files, path: str, image: _Image) -> tuple[Description, Stack]:
    home, inside = books.locate(path, f"/{image.info}")
    words = books[home].call(partial(_words, inside, f"/{image.info}"))
    image = _Image(image.number, image.data, image.info, words)
    level = f"/{image.data}/ResolutionLevel 0"
    times = _numbers(books, path, level, "TimePoint")
    channels = _channels(books, path, level, len(times), image)
    views = {
        (t, c): books.locate(path, f"{level}/TimePoint {t}/Channel {c}/Data")
        for t in times
        for c in channels
    }
    shape = _shape(books, path, image, views)
    stack = stacked(books, path, views, shape)
    return _description(books, path, image, stack, len(times)), stack


def _description(
    books: Hdf5Files, path: str, image: _Image, stack: Stack, times: int
) -> Description:
    extents = dict(zip(stack.axes, stack.shape, strict=True))
    sizes, unit = facts.voxel_size(
        image.of("Image"), {a: n for a, n in extents.items() if a in "zyx"}
    )
    timing = facts.times(image.of("TimeInfo"), times)
    root = {"/": books[path].call(_said)}
    return Description(
        format="Imaris",
        axes=stack.axes,
        shape=stack.shape,
        dtype=stack.dtype,
        block=stack.block,
        files=stack.files(path),
        image=image.data,
        voxel_size=sizes,
        unit=unit,
        time_step=timing.step if "t" in extents else None,
        channels=tuple(facts.channel(image.of(f"Channel {c}")) for c in range(extents.get("c", 1))),
        metadata={
            **facts.metadata(image.of("Image")),
            **timing.metadata,
            "Imaris": {**root, **image.words},
        },
        notes=(*timing.notes, *_series(image, times), *stack.notes),
    )


def _series(image: _Image, times: int) -> tuple[str, ...]:
    whole = facts.count(image.of("TimeInfo"), "DatasetTimePoints")
    if whole is None or whole <= times:
        return ()
    return (f"{times} of the {whole} time points of its series are in this file",)


def _numbers(books: Hdf5Files, path: str, group: str, word: str) -> range:
    """Return the numbers of groups such as ``TimePoint 3``, which begin with 0 and leave none out.

    Raises
    ------
    SourceError
        One that is missing.
    """
    home, inside = books.locate(path, group)
    found = sorted(books[home].call(partial(_numbered, inside, word)))
    absent = next((i for i, number in enumerate(found) if i != number), None)
    if absent is not None or not found:
        raise SourceError(path, f"{group}: {word} {absent or 0} is missing")
    return range(len(found))


def _numbered(path: str, word: str, file: Any) -> list[int]:  # noqa: ANN401
    group = file[path]
    names = list(map(str, group)) if isinstance(group, h5py.Group) else []
    return [int(m[1]) for name in names if (m := re.fullmatch(rf"{word} (\d{{1,9}})", name))]


def _channels(books: Hdf5Files, path: str, level: str, times: int, image: _Image) -> range:
    """Return the channels, after comparing what is there with what is said to be."""
    declared = facts.count(image.of("TimeInfo"), "FileTimePoints")
    if declared is not None and declared > times:
        raise SourceError(
            path, f"{level}: TimePoint {times} is missing: it says {declared} of them"
        )
    counts = [len(_numbers(books, path, f"{level}/TimePoint {t}", "Channel")) for t in range(times)]
    most = max(*counts, image.channels)
    for t, count in enumerate(counts):
        if count < most:
            raise SourceError(path, f"{level}/TimePoint {t}: Channel {count} is missing")
    return range(most)


def _shape(
    books: Hdf5Files, path: str, image: _Image, views: Mapping[tuple[int, int], tuple[str, str]]
) -> tuple[int, ...]:
    """Return the extents that every array is cropped to.

    Raises
    ------
    SourceError
        They are missing, or contradict each other.
    """
    said = {"DataSetInfo": facts.size(image.of("Image"), ("Z", "Y", "X"))}
    for (t, c), (file, data) in views.items():
        words = books[file].call(partial(_attributes, data.rpartition("/")[0]), data)
        said[f"TimePoint {t}, Channel {c}"] = facts.size(words, _SIZES)
    known = {where: size for where, size in said.items() if size is not None}
    if not known:
        raise SourceError(path, f"{image.data} does not say its size: its padding is unknown")
    first, *others = known.items()
    for where, size in others:
        if size != first[1]:
            reason = f"{first[0]} says z y x {first[1]}, but {where} {size}: damaged"
            raise SourceError(path, f"{image.data}: {reason}")
    return first[1]


def _attributes(path: str, file: Any) -> facts.Words:  # noqa: ANN401
    return _said(file[path or "/"])


def _said(item: Any) -> facts.Words:  # noqa: ANN401
    """Return the attributes of a group, arrays of single characters as text."""
    names = [name for name in item.attrs if item.attrs.get_id(name).dtype == "S1"]
    texts = {name: facts.joined(item.attrs[name]) for name in names if isinstance(name, str)}
    return {**hdf5_facts.attributes_of(item), **texts}


def _words(path: str, shown: str, file: Any) -> dict[str, facts.Words]:  # noqa: ANN401
    """Return the attributes of all groups below a path, by path; arrays of text along with them."""
    found: dict[str, facts.Words] = {}

    def visit(name: str, item: object) -> None:
        if name.count("/") < _MOST_LEVELS and isinstance(item, h5py.Group):
            texts = {member: text for member in item if (text := _text(item, member))}
            found[f"{shown}/{name}"] = {**_said(item), **texts}

    file[path].visititems(visit)
    return found


def _text(group: Any, name: str) -> str | None:  # noqa: ANN401
    """Return a text that was too long for an attribute, such as a table of colours."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    found = hdf5_facts.small(group[name], _MOST_TEXT)
    return None if getattr(found, "dtype", None) != "S1" else facts.joined(found)
