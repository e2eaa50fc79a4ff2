"""Images of the extension ndx-microscopy in NWB files: space, channel and rig of each.

Source of the format: https://github.com/catalystneuro/ndx-microscopy 0.4. Arrays are (frames),
(depths), height, width; sizes in micrometers and dimensions are x, y, z: the reverse. What belongs
to an image is a group in it, or a link to one, of a name that its writer chose.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import h5py  # type: ignore[import-untyped]

from microtome_ingest.source import SourceChannel
from microtome_ingest.sources import nwb_facts as facts
from microtome_ingest.sources.hdf5_facts import attributes_of
from microtome_ingest.sources.lengths import plausible

AXES: Mapping[str, Mapping[int, str]] = {
    "PlanarMicroscopySeries": {3: "tyx"},
    "VolumetricMicroscopySeries": {4: "tzyx"},
    "PlanarMicroscopyStaticImage": {2: "yx"},
    "VolumetricMicroscopyStaticImage": {3: "zyx"},
    "SummaryImage": {2: "yx", 3: "zyx"},
}
_SPACES = {"PlanarImagingSpace": "pixel", "VolumetricImagingSpace": "voxel"}
_CHANNEL, _RIG, _MICROSCOPE = "MicroscopyChannel", "MicroscopyRig", "Microscope"
_UM = "micrometer"
# Of a group that many images share, an image is not far below.
_MOST_PARENTS, _MOST_MEMBERS = 3, 1000


def axes(letters: str, shape: Sequence[int], owner: Any) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401 - h5py has no types
    """Return the axes by the schema, and a note where the imaging space tells other extents."""
    space = _space(owner)
    told = facts.numbers(space and _told(space, "dimensions_in_{}s"), 3)
    said = [int(n) for n in told if isfinite(n)]
    mine = [n for axis, n in zip(letters, shape, strict=True) if axis in "zyx"]
    if not said or said == mine[::-1]:
        return letters, ()
    order = ", ".join("xyz"[: len(said)])
    return letters, (f"its imaging space tells {order} = {said}: its array is {tuple(mine)}",)


def voxel_size(owner: Any, extents: Mapping[str, int]) -> tuple[dict[str, float], str | None]:  # noqa: ANN401
    """Return the size by axis, and its unit."""
    space = _space(owner)
    sizes = facts.numbers(space and _told(space, "{}_size_in_um"), 3)
    found = {
        axis: size
        for axis, size in zip("xyz", sizes, strict=False)
        if axis in extents and plausible(size, _UM)
    }
    return found, _UM if found else None


def channel(owner: Any) -> SourceChannel | None:  # noqa: ANN401
    """Return what is known of its channel; wavelengths that nobody knows are NaN there."""
    found = _member(owner, _CHANNEL)
    if found is None:
        return None
    words = attributes_of(found)
    known: dict[str, Any] = {
        key: float(words[key])
        for key in ("excitation_wavelength_in_nm", "emission_wavelength_in_nm")
        if plausible(words.get(key), None)
    }
    indicator = _member(found, "Indicator")
    dye = attributes_of(indicator).get("label") if indicator is not None else None
    told = {"indicator": dye, "description": words.get("description")}
    known |= {k: v for k, v in told.items() if isinstance(v, str) and v not in ("", "unknown")}
    return SourceChannel(name=found.name.rpartition("/")[2], metadata=known)


def space_words(owner: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what the imaging space says, as it stands."""
    return facts.tree(_space(owner))


def microscope(owner: Any) -> Any:  # noqa: ANN401
    """Return the group of the microscope, None where there is none."""
    rig = _member(owner, _RIG)
    return None if rig is None else _member(rig, _MICROSCOPE)


def _space(owner: Any) -> Any:  # noqa: ANN401
    """Return the imaging space of an image, or of what it is an image of."""
    group = owner
    for _ in range(_MOST_PARENTS):
        for kind in _SPACES:
            if (found := _member(group, kind)) is not None:
                return found
        if group.name == "/":
            break
        group = group.parent
    return None


def _told(space: Any, name: str) -> Any:  # noqa: ANN401
    return facts.member(space, name.format(_SPACES[facts.kind_of(space)]))


def _member(group: Any, kind: str) -> Any:  # noqa: ANN401
    """Return the member of a group that is of a kind, through links within the file."""
    return next((m for m in _members(group) if facts.kind_of(m) == kind), None)


def _members(group: Any) -> Iterator[Any]:  # noqa: ANN401
    if not isinstance(group, h5py.Group):
        return
    for number, name in enumerate(group):
        if number == _MOST_MEMBERS:
            break
        found = facts.member(group, name) if isinstance(name, str) else None
        if isinstance(found, h5py.Group):
            yield found
