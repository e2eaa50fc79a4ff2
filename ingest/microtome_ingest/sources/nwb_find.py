"""Which images an NWB file holds, and what their axes are.

Source of the format: Neurodata Without Borders, NWB core schema 2.x: groups and datasets say by
``neurodata_type`` what they are; types of extensions and what they extend are in
``/specifications``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py  # type: ignore[import-untyped]

from microtome_core.errors import SourceError
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.hdf5_facts import as_json, small
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.nwb_microscopy import AXES as _MICROSCOPY

# Letters of the axes in the order of the schema, by number of axes.
_SERIES = {3: "txy", 4: "txyz"}
_OPTICAL = {3: "txy", 4: "txys"}
_MASKS = {3: f"{open_letters(1)}xy", 4: f"{open_letters(1)}xyz"}
_AXES: Mapping[str, Mapping[int, str]] = {
    "ImageSeries": _SERIES,
    "ImageMaskSeries": _SERIES,
    "TwoPhotonSeries": _SERIES,
    "OnePhotonSeries": _SERIES,
    "OpticalSeries": _OPTICAL,
    "PlaneSegmentation": _MASKS,
    "GrayscaleImage": {2: "xy"},
    "RGBImage": {3: "xys"},
    "RGBAImage": {3: "xys"},
    "Image": {2: "xy", 3: "xys"},
    **_MICROSCOPY,
}
_MEMBERS = {"PlaneSegmentation": "image_mask", **dict.fromkeys(_MICROSCOPY, "data")}
_SPECIFICATIONS = "specifications"
_MOST_BASES = 32
_MOST_FILES = 5


@dataclass(frozen=True, slots=True)
class Image:
    """An image of an NWB file.

    Parameters
    ----------
    path : str
        Of its dataset.
    owner : str
        Of the group, or dataset, that has a type.
    kind : str
        Its type in the core schema, or in ndx-microscopy.
    """

    path: str
    owner: str
    kind: str

    @property
    def is_microscopy(self) -> bool:
        """Whether its type is one of ndx-microscopy."""
        return self.kind in _MICROSCOPY

    def letters(self, count: int) -> str:
        """Return the axes as the schema has them; open ones where it has no such array."""
        return _AXES[self.kind].get(count) or open_letters(count)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Parameters
    ----------
    images : tuple of Image
    others : tuple of str
        In words, images whose voxels lie elsewhere or cannot be read.
    """

    images: tuple[Image, ...]
    others: tuple[str, ...]


def contents(file: Any) -> Contents:  # noqa: ANN401 - h5py has no types
    """Return the images of an ``h5py.File`` in the order of their paths."""
    typed = _typed(file)
    bases = _bases(file) if any(kind not in _AXES for _, kind in typed) else {}
    images: list[Image] = []
    others: list[str] = []
    for path, kind in typed:
        core = _core(kind, bases)
        if core is None:
            continue
        image = Image(f"{path}/{_member(core)}".rstrip("/"), path, core)
        reason = _elsewhere(file, image)
        if reason is None:
            images.append(image)
        elif reason:
            others.append(f"{path} {reason}")
    return Contents(tuple(images), tuple(others))


def _member(core: str) -> str:
    """Return the name of the dataset in a group of that type; none where it is a dataset."""
    return _MEMBERS.get(core, "data" if "Series" in core else "")


def _typed(file: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    """Return path and type of everything that has one."""
    found: list[tuple[str, str]] = []

    def visit(name: str, item: Any) -> None:  # noqa: ANN401
        if name.split("/", 1)[0] != _SPECIFICATIONS and "neurodata_type" in item.attrs:
            # What cannot be read here is damage, and not the end of the list.
            found.append((f"/{name}", str(as_json(item.attrs["neurodata_type"]))))

    file.visititems(visit)
    return found


def _core(kind: str, bases: Mapping[str, str]) -> str | None:
    """Return the type of the core schema that a type is or extends."""
    for _ in range(_MOST_BASES):
        if kind in _AXES or kind not in bases:
            break
        kind = bases[kind]
    return kind if kind in _AXES else None


def _bases(file: Any) -> dict[str, str]:  # noqa: ANN401
    """Return which type each type extends, as the schemas say that the file carries."""
    found: dict[str, str] = {}

    def visit(name: str, item: object) -> None:
        value = None if name.endswith("/namespace") else as_json(small(item))
        if isinstance(value, str):
            found.update(_extended(json.loads(value)))

    if isinstance(file.get(_SPECIFICATIONS, getlink=True), h5py.HardLink):
        file[_SPECIFICATIONS].visititems(visit)
    return found


def _extended(spec: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    if isinstance(spec, list):
        for item in spec:
            yield from _extended(item)
    elif isinstance(spec, dict):
        pair = spec.get("neurodata_type_def"), spec.get("neurodata_type_inc")
        if all(isinstance(name, str) for name in pair):
            yield str(pair[0]), str(pair[1])
        for name in ("groups", "datasets"):
            yield from _extended(spec.get(name))


def _elsewhere(file: Any, image: Image) -> str | None:  # noqa: ANN401
    """Return in words why an image is not read, empty where there is nothing to it, else None."""
    external = _external(file, image.owner)
    if file.get(image.path, getlink=True) is None:
        return external
    try:
        path, outside = find.followed(file, image.path, file.filename)
    except SourceError as error:
        return error.reason
    if outside is not None:
        return f"has its voxels in {outside!r}: ingest that file"
    dataset = file[path]
    if external and not getattr(dataset, "size", 0):
        return external
    return find.refusal(dataset, links=False)


def _external(file: Any, owner: str) -> str:  # noqa: ANN401
    """Return in words which films a series is in."""
    series = file[owner]
    if not isinstance(series, h5py.Group):
        return ""
    if not isinstance(series.get("external_file", getlink=True), h5py.HardLink):
        return ""
    names = as_json(small(series["external_file"]))
    if names is None:
        return "has its frames in other files"
    texts = [repr(name) for name in (names if isinstance(names, list) else [names])]
    more = ", …" if len(texts) > _MOST_FILES else ""
    return f"has its frames in {', '.join(texts[:_MOST_FILES])}{more}: ingest that instead"
