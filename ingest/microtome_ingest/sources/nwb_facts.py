"""What an NWB file says of an image beside its voxels: space, time, channel, session.

Source of the format: NWB core schema 2.x. Lengths are in ``meters`` and wavelengths in nm unless
they say otherwise, times in seconds; the resolution of a picture is in pixels per centimeter.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from microtome_ingest.source import SourceChannel
from microtome_ingest.sources import hdf5_find as find
from microtome_ingest.sources.hdf5_facts import as_json, attribute, attributes_of, small
from microtome_ingest.sources.lengths import length_unit, plausible
from microtome_ingest.sources.times import Times, times_of

_MOST_MOMENTS = 8 << 20
_MOST_DEPTH, _MOST_ENTRIES = 4, 2000
_UNSAID = ("", "no description", "no comments")


def member(group: Any, name: str) -> Any:  # noqa: ANN401 - h5py has no types
    """Return what a group holds under a name, through links within the file; None if nothing."""
    if not isinstance(group, h5py.Group) or group.get(name, getlink=True) is None:
        return None
    if isinstance(group.get(name, getlink=True), h5py.HardLink):
        return group[name]
    path, outside = find.followed(group.file, f"{group.name}/{name}", group.file.filename)
    return None if outside is not None else group.file[path]


def numbers(item: Any, *most: int) -> list[float]:  # noqa: ANN401
    """Return the numbers of a small array, none where it holds others."""
    found = small(item, *most)
    array = np.asarray(0 if found is None else found)
    if found is None or array.dtype.kind not in "iuf":
        return []
    # 1.5 in single precision is not 1.5000000596.
    return [float(str(n)) if array.dtype == np.float32 else float(n) for n in array.ravel()]


def times(series: Any, length: int) -> Times:  # noqa: ANN401
    """Return the time step, uneven moments as metadata, and notes."""
    start = member(series, "starting_time")
    if start is not None and "rate" in start.attrs:
        rate = attribute(start, "rate")
        return Times(1 / float(rate) if plausible(rate, None) else None)
    link = _link(series, "timestamps")
    if link.startswith("in "):
        return Times(notes=(f"its timestamps are {link}: not read",))
    stamps = member(series, "timestamps")
    if stamps is None:
        return Times()
    moments = numbers(stamps, _MOST_MOMENTS)
    if len(moments) != length:
        return Times(notes=(f"it has {len(moments)} timestamps for {length} frames: not used",))
    return times_of(moments)


def voxel_size(
    series: Any,  # noqa: ANN401
    plane: Any,  # noqa: ANN401
    extents: Mapping[str, int],
) -> tuple[dict[str, float], str | None]:
    """Return the size by axis and its unit: the plane's grid, else the field of view."""
    grid = member(plane, "grid_spacing")
    if spacing := numbers(grid):
        unit = attribute(grid, "unit") if "unit" in grid.attrs else "meters"
        return _sizes(dict(zip("xyz", spacing, strict=False)), extents, length_unit(unit))
    view = numbers(member(series, "field_of_view"))
    sizes = {a: n / extents[a] for a, n in zip("xyz", view, strict=False) if a in extents}
    if sizes:
        return _sizes(sizes, extents, "meter")
    dense: Any = attribute(series, "resolution") if "resolution" in series.attrs else None
    size = 1 / float(dense) if plausible(dense, None) else 0.0
    return _sizes({"x": size, "y": size}, extents, "centimeter")


def _sizes(
    sizes: Mapping[str, float], extents: Mapping[str, int], unit: str | None
) -> tuple[dict[str, float], str | None]:
    good = {a: size for a, size in sizes.items() if a in extents and plausible(size, unit)}
    return good, unit if good else None


def channel(plane: Any) -> SourceChannel:  # noqa: ANN401
    """Return what an imaging plane says of its channel; several channels leave it unnamed."""
    optical = [item for item in _groups(plane) if kind_of(item) == "OpticalChannel"]
    only = optical[0] if len(optical) == 1 else None
    light = numbers(member(plane, "excitation_lambda"))
    emitted = numbers(member(only, "emission_lambda"))
    facts = {
        "excitation_wavelength_in_nm": _wavelength(light),
        "emission_wavelength_in_nm": _wavelength(emitted),
        "indicator": said(member(plane, "indicator")),
        "location": said(member(plane, "location")),
        "description": said(member(only, "description")),
    }
    known = {key: value for key, value in facts.items() if value}
    return SourceChannel(name=only.name.rpartition("/")[2] if only else None, metadata=known)


def _wavelength(found: list[float]) -> float | None:
    return found[0] if len(found) == 1 and plausible(found[0], None) else None


def said(item: Any) -> str | None:  # noqa: ANN401
    """Return a dataset as text, None where it says nothing."""
    found = as_json(small(item))
    return found if isinstance(found, str) and found not in _UNSAID else None


def _groups(group: Any) -> Iterator[Any]:  # noqa: ANN401
    for name in group if isinstance(group, h5py.Group) else ():
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield group[name]


def kind_of(item: Any) -> str:  # noqa: ANN401
    """Return the type that a group or dataset has, empty where it has none."""
    return str(attribute(item, "neurodata_type")) if "neurodata_type" in item.attrs else ""


def _link(group: Any, name: str) -> str:  # noqa: ANN401
    """Return in words where a link leads; empty where it is none."""
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if isinstance(link, h5py.ExternalLink):
        return f"in {link.filename!r}, {link.path}"
    return f"-> {link.path}" if isinstance(link, h5py.SoftLink) else ""


def session(file: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what the file says of the session and the subject, as it stands."""
    general = member(file, "general")
    found = {
        "file": attributes_of(file),
        "session": _scalars(file),
        "general": _scalars(general) if general is not None else {},
        "subject": tree(member(general, "subject")),
        "devices": tree(member(general, "devices")),
    }
    return {key: value for key, value in found.items() if value}


def _scalars(group: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the small arrays directly in a group."""
    found = ((name, member(group, name)) for name in filter(_is_text, group))
    return {name: as_json(value) for name, item in found if (value := small(item)) is not None}


def tree(item: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return attributes, small arrays and groups of a group as they stand, links by name."""
    left = [_MOST_ENTRIES]
    return {} if item is None else _tree(item, _MOST_DEPTH, left)


def _tree(item: Any, depth: int, left: list[int]) -> dict[str, Any]:  # noqa: ANN401
    found = attributes_of(item)
    for name in filter(_is_text, item) if isinstance(item, h5py.Group) and depth else ():
        left[0] -= 1
        if left[0] < 0:
            break
        if link := _link(item, name):
            found[name] = link
        elif isinstance(item.get(name, getlink=True), h5py.HardLink):
            found[name] = _entry(item[name], depth, left)
    return found


def _is_text(name: object) -> bool:
    """Leave out names that are no UTF-8, which h5py gives as bytes."""
    return isinstance(name, str)


def _entry(item: Any, depth: int, left: list[int]) -> Any:  # noqa: ANN401
    value = as_json(small(item))
    inner = _tree(item, depth - 1, left)
    if not isinstance(item, h5py.Dataset):
        return inner
    kept = f"left out: {item.dtype} {item.shape}" if value is None else value
    return {**inner, "value": kept} if inner else kept
