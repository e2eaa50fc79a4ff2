"""BigDataViewer datasets: an XML that names an HDF5 file beside it, or that file alone.

Source of the format: Pietzsch et al., BigDataViewer, Nat. Methods 12 (2015): the array z y x of a
view is ``t00000/s00/0/cells``, where 0 is the finest level; where the setup has no ``dataType``,
uint16 is stored as int16.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene, SourceChannel
from microtome_ingest.sources import bdv_xml
from microtome_ingest.sources.bdv_xml import Dataset, Setup
from microtome_ingest.sources.hdf5_facts import as_json, small
from microtome_ingest.sources.hdf5_file import Hdf5Files, beside
from microtome_ingest.sources.hdf5_kinds import at
from microtome_ingest.sources.hdf5_source import Hdf5Source
from microtome_ingest.sources.hdf5_stack import Stack, stacked
from microtome_ingest.sources.lengths import common_unit, length_unit
from microtome_ingest.sources.members import choose

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_XML = 1 << 20
_NO_XML = "its XML holds voxel size, names and registrations: open that instead, if it is there"


@dataclass(frozen=True, slots=True)
class _Image:
    """View setups that are one image: its channels, or a single one."""

    setups: tuple[Setup, ...]

    @property
    def name(self) -> str:
        """As the XML calls it, or its place in the HDF5 file."""
        return " + ".join(s.name or f"s{s.number:02d}" for s in self.setups)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images: view setups, those of channels taken together."""
    with Hdf5Files(files or Files()) as books:
        home, dataset = _dataset(books, path)
        images = _images(dataset)
        found = [_described(books, path, home, dataset, image)[0] for image in images]
    return tuple(
        Scene(i, image.name, d.axes, d.shape, d.dtype)
        for i, (image, d) in enumerate(zip(images, found, strict=True))
    )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Hdf5Source:
    """Open an image of an XML, or of an HDF5 file.

    Raises
    ------
    SourceError
        Damage, views that are missing, files that are out of the folder, voxels that are not in
        HDF5, or several images and none chosen.
    """
    books = Hdf5Files(files or Files())
    with books.closing_on_error():
        home, dataset = _dataset(books, path)
        images = _images(dataset)
        image = images[choose(path, [image.name for image in images], scene)]
        description, stack = _described(books, path, home, dataset, image)
    return Hdf5Source(description, books, stack.pieces)


def _dataset(books: Hdf5Files, path: str) -> tuple[str, Dataset]:
    """Return the HDF5 file, and what is in it."""
    with books.files.open(path) as data:
        start = bytes(data.read(0, min(len(_SIGNATURE), data.stamp.size)))
        if start != _SIGNATURE:
            found = bdv_xml.parse(bytes(data.read(0, data.stamp.size)), path)
            return beside(path, found.file), found
    return path, books[path].call(partial(_listed, path))


def _listed(path: str, file: Any) -> Dataset:  # noqa: ANN401 - h5py has no types
    """Return what an HDF5 file itself tells of a dataset."""
    times = sorted(int(name[1:]) for name in map(str, file) if re.fullmatch(r"t\d{5,9}", name))
    setups = sorted(int(name[1:]) for name in map(str, file) if re.fullmatch(r"s\d{2,9}", name))
    if not setups and times:
        first = at(file, f"t{times[0]:05d}") or ()
        setups = sorted(
            int(name[1:]) for name in map(str, first) if re.fullmatch(r"s\d{2,9}", name)
        )
    if not times or not setups:
        raise SourceError(path, "holds no views of BigDataViewer (t00000/s00/0/cells)")
    return Dataset("", tuple(Setup(number) for number in setups), tuple(times))


def _images(dataset: Dataset) -> list[_Image]:
    """Return setups in groups: those that differ in nothing but their channel are one image."""
    groups: dict[tuple[object, ...], list[Setup]] = {}
    for setup in dataset.setups:
        # A setup without a channel stands alone.
        alone = () if "channel" in setup.attributes else (setup.number,)
        groups.setdefault((*setup.place, *alone), []).append(setup)
    return [image for group in groups.values() for image in _channels(group)]


def _channels(group: list[Setup]) -> list[_Image]:
    ids = [setup.attributes.get("channel") for setup in group]
    if len(set(ids)) < len(ids):
        return [_Image((setup,)) for setup in group]
    return [_Image(tuple(group))]


def _described(
    books: Hdf5Files, path: str, home: str, dataset: Dataset, image: _Image
) -> tuple[Description, Stack]:
    times, notes = _times(path, dataset, image)
    views = {
        (i, c): books.locate(home, f"/t{time:05d}/s{setup.number:02d}/0/cells")
        for i, time in enumerate(times)
        for c, setup in enumerate(image.setups)
    }
    stack = stacked(books, home, views, None)
    _check_shapes(path, image, stack)
    types = [_data_type(books, home, setup, stack) for setup in image.setups]
    if len(set(types)) > 1:
        raise SourceError(path, f"{image.name}: channels of {', '.join(types)}: expected one type")
    sizes, unit, scaled = _voxel_size(books, home, image.setups[0])
    registrations = {
        f"timepoint {time}, setup {setup.number}": dataset.transforms.get((time, setup.number), [])
        for time in times
        for setup in image.setups
    }
    description = Description(
        format="BigDataViewer",
        axes=stack.axes,
        shape=stack.shape,
        dtype=types[0],
        block=stack.block,
        files=tuple(dict.fromkeys((path, home, *stack.files()))),
        image="+".join(f"s{setup.number:02d}" for setup in image.setups),
        voxel_size={axis: sizes[axis] for axis in sizes if axis in stack.axes},
        unit=unit,
        channels=tuple(_channel(dataset, setup) for setup in image.setups),
        metadata=_metadata(dataset, image, times, registrations),
        notes=(
            *notes,
            *scaled,
            *_moved(registrations.values()),
            *_long(dataset),
            *(() if dataset.text else (_NO_XML,)),
            *stack.notes,
        ),
    )
    return description, stack


def _times(path: str, dataset: Dataset, image: _Image) -> tuple[list[int], tuple[str, ...]]:
    """Return the time points that were recorded.

    Raises
    ------
    SourceError
        One of which only some channels were recorded, or none.
    """
    kept: list[int] = []
    absent: list[int] = []
    for time in dataset.times:
        gone = {(time, setup.number) in dataset.missing for setup in image.setups}
        if len(gone) > 1:
            reason = f"{image.name}: some channels of time point {time} are missing"
            raise SourceError(path, f"{reason}, as its XML says: refused")
        (absent if True in gone else kept).append(time)
    if not kept:
        raise SourceError(path, f"{image.name}: all its views are missing, as its XML says")
    if not absent:
        return kept, ()
    listed = ", ".join(map(str, absent[:20])) + (" …" if len(absent) > 20 else "")
    return kept, (f"time points {listed} are missing, as its XML says: they are left out",)


def _check_shapes(path: str, image: _Image, stack: Stack) -> None:
    said, found = image.setups[0].shape, stack.first.shape
    if said is not None and said != found:
        reason = f"{image.name}: its XML says z y x {said}, but the array is {found}"
        raise SourceError(path, reason)


def _data_type(books: Hdf5Files, home: str, setup: Setup, stack: Stack) -> str:
    """Return the type that the voxels are meant to have."""
    stored = np.dtype(stack.dtype)
    said = _said(books, home, setup, "dataType")
    if said is None:
        return "uint16" if stored == np.int16 else stored.name
    try:
        meant = np.dtype(str(said).strip("\0 "))
    except TypeError as error:
        raise SourceError(home, f"s{setup.number:02d}: dataType {said!r}: {error}") from error
    integers = meant.kind in "iu" and stored.kind in "iu" and meant.itemsize == stored.itemsize
    if meant != stored and not integers:
        reason = f"s{setup.number:02d}: dataType {meant.name}, but stored as {stored.name}"
        raise SourceError(home, f"{reason}: damaged")
    return meant.name


def _said(books: Hdf5Files, home: str, setup: Setup, name: str) -> Any:  # noqa: ANN401
    """Return an attribute, or an array, of a setup; None where it is not there."""
    return books[home].call(partial(_fact, f"s{setup.number:02d}", name))


def _fact(group: str, name: str, file: Any) -> Any:  # noqa: ANN401
    if not isinstance(file.get(group, getlink=True), h5py.HardLink):
        return None
    found = file[group]
    if name in found.attrs:
        return as_json(found.attrs[name])
    inside = isinstance(found, h5py.Group) and isinstance(
        found.get(name, getlink=True), h5py.HardLink
    )
    return as_json(small(found[name])) if inside else None


def _voxel_size(
    books: Hdf5Files, home: str, setup: Setup
) -> tuple[dict[str, float], str | None, tuple[str, ...]]:
    """Return the size by axis and its unit, and a note where level 0 is not the full resolution."""
    factors = [1.0, 1.0, 1.0]
    levels = _said(books, home, setup, "resolutions")
    if isinstance(levels, list) and levels and np.shape(levels[0]) == (3,):
        factors = [float(factor) for factor in levels[0]]
    binned = (f"its finest level is binned by {factors} along x, y, z",)
    notes = () if factors == [1.0] * 3 else binned
    unit = length_unit(setup.unit) if setup.unit else None
    sizes = {
        axis: (setup.voxel_size[axis] * factor, unit)
        for axis, factor in zip("xyz", factors, strict=True)
        if axis in setup.voxel_size
    }
    return *common_unit(sizes), notes


def _channel(dataset: Dataset, setup: Setup) -> SourceChannel:
    name = dataset.names.get(("channel", setup.attributes.get("channel", "")))
    return SourceChannel(name=name or setup.name or None)


def _metadata(
    dataset: Dataset, image: _Image, times: list[int], registrations: Mapping[str, Any]
) -> dict[str, Any]:
    named = {"name": image.name} if dataset.text else {}
    kept = {"xml": dataset.text} if 0 < len(dataset.text) <= _MOST_XML else {}
    return {
        **named,
        "BigDataViewer": {
            "setups": [dict(setup.attributes) | {"id": setup.number} for setup in image.setups],
            "timepoints": times,
            "registrations": dict(registrations) if dataset.text else {},
            **kept,
        },
    }


def _moved(registrations: Iterable[list[dict[str, Any]]]) -> tuple[str, ...]:
    if all(map(bdv_xml.only_scale, registrations)):
        return ()
    return ("its registration turns, shears or moves it: kept in the record, and not applied",)


def _long(dataset: Dataset) -> tuple[str, ...]:
    if len(dataset.text) <= _MOST_XML:
        return ()
    return ("its XML is too long for the record, which holds what is said of this image",)
