"""Images, movies and labels as objects of NWB's extension ndx-microscopy.

Source: https://github.com/catalystneuro/ndx-microscopy 0.4. Arrays are (t) (z) y x, sizes in
micrometers and dimensions are x, y, z: the reverse. A channel is an object of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import ndx_microscopy as ndx
import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.common import VectorData
from hdmf.data_utils import GenericDataChunkIterator
from numpy.typing import NDArray

from microtome_core.errors import InputError
from microtome_core.region import Region
from microtome_ingest.export.cut import Cut, box_extents
from microtome_ingest.export.facts import Facts
from microtome_ingest.export.nwb_file import UNKNOWN, plain_name

# Of deflate, which every HDF5 library reads: voxels are noise, more is slower and hardly smaller.
LEVEL = 1
# Each takes some hundred bytes while they are counted.
_MOST_OBJECTS = 2_000_000
_LIGHT_SHEET = ("light sheet", "light-sheet", "lightsheet", "spim", "widefield", "wide-field")
_SCANNING = ("confocal", "two-photon", "two photon", "2-photon", "multiphoton", "laser scanning")


class _Chunks(GenericDataChunkIterator):  # type: ignore[misc]
    """Hands a cut to hdmf, a block at a time."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        chunk = tuple(map(min, cut.chunk, cut.shape))
        super().__init__(
            buffer_shape=tuple(box_extents(cut.shape, chunk, cut.dtype.itemsize)),
            chunk_shape=chunk,
        )

    def _get_data(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        pairs = zip(selection, self._cut.shape, strict=True)
        bounds = [one.indices(extent) for one, extent in pairs]
        starts, stops = tuple(b[0] for b in bounds), tuple(b[1] for b in bounds)
        return self._cut.read(Region(self._cut.axes, starts, stops))

    def _get_maxshape(self) -> tuple[int, ...]:
        return self._cut.shape

    def _get_dtype(self) -> np.dtype[Any]:
        return self._cut.dtype


@dataclass(frozen=True, slots=True)
class Picture:
    """One channel of one layer: what becomes one object."""

    name: str
    cut: Cut
    channel: Mapping[str, Any]

    @property
    def indicator(self) -> str:
        """Label of its dye."""
        return str(self.channel.get("indicator") or UNKNOWN)


def pictures(cut: Cut, taken: Sequence[str] = ()) -> Iterator[Picture]:
    """Yield one a channel; names that are taken are not used."""
    told = [dict(one) for one in cut.record.get("channels") or []][cut.channel_range]
    names = [channel.name for channel in cut.channels]
    used = list(taken)
    for index in range(cut.extent("c")):
        channel = told[index] if index < len(told) else {}
        channel = {**_of_plane(cut, channel), **{k: v for k, v in channel.items() if v}}
        shown = names[index] if index < len(names) else channel.get("name")
        several = cut.extent("c") > 1
        name = plain_name(f"{cut.name}_{shown or index}" if several else cut.name, used)
        used.append(name)
        one = cut.only("c", index) if "c" in cut.axes else cut
        yield Picture(name, one, {**channel, "name": shown or channel.get("name") or cut.name})


def _of_plane(cut: Cut, channel: Mapping[str, Any]) -> dict[str, Any]:
    """Return what NWB's `imaging_plane` in the record knows of a channel.

    Its dye is that of one channel, and its optical channels are told apart by their names.
    """
    plane = cut.record.get("imaging_plane") or {}
    optical = [dict(one) for one in plane.get("optical_channel") or []]
    alone = len(cut.record.get("channels") or [channel]) == 1
    named = [one for one in optical if one.get("name") == channel.get("name")]
    light = optical[0] if alone and len(optical) == 1 else named[0] if named else {}
    found = {
        "excitation_wavelength_in_nm": plane.get("excitation_lambda"),
        "emission_wavelength_in_nm": light.get("emission_lambda"),
        "description": light.get("description"),
        "indicator": plane.get("indicator") if alone else None,
    }
    return {key: value for key, value in found.items() if value}


def voxels(cut: Cut) -> H5DataIO:
    """Return what is written a block at a time, in chunks of the layer, deflated."""
    return H5DataIO(_Chunks(cut), compression="gzip", compression_opts=LEVEL, shuffle=True)


def image(
    picture: Picture,
    rig: Any,  # noqa: ANN401 - objects of an untyped library
    indicators: Mapping[str, Any],
    when: Mapping[str, Any],
) -> Any:  # noqa: ANN401 - as above
    """Return the object of ndx-microscopy for a picture: planar or volumetric, series or not."""
    cut = picture.cut
    kind = "Volumetric" if "z" in cut.axes else "Planar"
    space = {f"{kind.lower()}_imaging_space": imaging_space(cut)}
    common = {
        "name": picture.name,
        "description": described(cut),
        "microscopy_rig": rig,
        "microscopy_channel": channel(picture, indicators),
        "data": voxels(cut),
        **space,
    }
    if "t" not in cut.axes:
        return getattr(ndx, f"{kind}MicroscopyStaticImage")(**common)
    return getattr(ndx, f"{kind}MicroscopySeries")(**common, unit="n.a.", **when)


def channel(picture: Picture, indicators: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
    """Return a channel; a wavelength that nobody knows is NaN."""
    told = picture.channel
    light = {
        key: float(told[key]) if told.get(key) else nan
        for key in ("excitation_wavelength_in_nm", "emission_wavelength_in_nm")
    }
    unknown = [key.split("_")[0] for key, value in light.items() if value != value]  # noqa: PLR0124 - NaN
    words = [
        str(told.get("description") or ""),
        f"The wavelength of {' and '.join(unknown)} is not known." if unknown else "",
    ]
    return ndx.MicroscopyChannel(
        name=plain_name(str(told["name"])),
        description=" ".join(filter(None, words)) or f"Channel {told['name']}.",
        indicator=indicators[picture.indicator],
        **light,
    )


def imaging_space(cut: Cut) -> Any:  # noqa: ANN401 - as above
    """Return where it lies and how large it is, x before y before z."""
    told = cut.record.get("imaging_space") or {}
    region = (cut.record.get("imaging_plane") or {}).get("location")
    solid = "z" in cut.axes
    xyz = "xyz" if solid else "xy"
    word = "voxel" if solid else "pixel"
    sizes = cut.micrometers(xyz)
    kind = ndx.VolumetricImagingSpace if solid else ndx.PlanarImagingSpace
    return kind(
        name="imaging_space",
        anatomical_target=str(told.get("anatomical_target") or region or UNKNOWN),
        description=str(told.get("description") or _placed(cut, xyz)),
        illumination_pattern=illumination(cut.record, told.get("illumination_pattern")),
        **{f"dimensions_in_{word}s": np.array([cut.extent(axis) for axis in xyz], np.int32)},
        **({f"{word}_size_in_um": np.array(sizes, np.float64)} if sizes else {}),
    )


def segmentation(cut: Cut, name: str, segments: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401 - as above
    """Return labels: the ids as an image, and a table of the objects with their voxels.

    Raises
    ------
    InputError
        A time axis, which a segmentation has not, or too many objects.
    """
    if "t" in cut.axes or "c" in cut.axes:
        raise InputError(
            f"{cut.info.id}: labels along {'t' if 't' in cut.axes else 'c'} are no segmentation of "
            "NWB: choose one with --time or --channel, or export ome-zarr"
        )
    solid = "z" in cut.axes
    kind = ndx.VolumetricSegmentation if solid else ndx.PlanarSegmentation
    space = {f"{'volumetric' if solid else 'planar'}_imaging_space": imaging_space(cut)}
    ids, counts = _count(cut)
    columns = [
        VectorData(name="label", description="the id in the image 'labels'", data=ids),
        VectorData(name="num_voxels", description="voxels of that id", data=counts),
        *_properties(ids, segments),
    ]
    return kind(
        name=name,
        description=f"Objects of {cut.info.id}: each voxel of the image 'labels' holds the id of "
        "the object to which it belongs, 0 that of none.",
        columns=columns,
        colnames=[column.name for column in columns],
        summary_images=[
            ndx.SummaryImage(name="labels", description=described(cut), data=voxels(cut))
        ],
        **space,
    )


def timing(cut: Cut, *, guess: bool = False) -> dict[str, Any]:
    """Return when frames were taken, in seconds.

    Raises
    ------
    InputError
        Nobody knows, and frames are not to be numbered instead.
    """
    if "t" not in cut.axes:
        return {}
    step = cut.along("t", cut.scale, "second")
    start = cut.along("t", cut.translation, "second")
    if step is not None and start is not None:
        return {"rate": 1 / step, "starting_time": start}
    if not guess:
        raise InputError(
            f"{cut.info.id}: the time between frames is not known, and NWB needs it: ingest "
            "it with --time-step SECONDS, choose one frame with --time, or number the frames with "
            "--allow-incomplete"
        )
    return {
        "timestamps": np.arange(cut.extent("t"), dtype=np.float64),
        "comments": "The time between frames is not known: timestamps are numbers of frames.",
    }


def described(cut: Cut) -> str:
    """Return in words what was cut out of which layer."""
    axes = " ".join(cut.axes)
    part = "" if cut.whole else f", level {cut.level}, {cut.region}"
    return f"{cut.info.id} (version {cut.info.version}){part}; axes {axes}."


def _count(cut: Cut) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return every id but 0 and how many voxels have it.

    Raises
    ------
    InputError
        More ids than a table in memory is given.
    """
    found: dict[int, int] = {}
    for _, block in cut.boxes():
        ids, counts = np.unique(block, return_counts=True)
        for one, count in zip(ids.tolist(), counts.tolist(), strict=True):
            found[one] = found.get(one, 0) + count
        if len(found) > _MOST_OBJECTS:
            raise InputError(
                f"{cut.info.id}: more than {_MOST_OBJECTS} objects, the most that an NWB file is "
                "given: choose a part with --region, or export ome-zarr or precomputed"
            )
    found.pop(0, None)
    order = sorted(found)
    return np.array(order, cut.dtype), np.array([found[one] for one in order], np.int64)


def _properties(ids: NDArray[Any], segments: Sequence[Mapping[str, Any]]) -> Iterator[VectorData]:
    """Yield what is known of the objects, a column a property; as text, empty where nothing is."""
    by_id = {one.get("label-value"): one for one in segments}
    known = dict.fromkeys(key for one in segments for key in one if key != "label-value")
    for key in known:
        values = [by_id.get(one, {}).get(key) for one in ids.tolist()]
        texts = ["" if value is None else str(value) for value in values]
        name = plain_name(str(key), ["label", "num_voxels", "id", "columns", "colnames"])
        yield VectorData(name=name, description=f"{key} of the object", data=texts)


def _placed(cut: Cut, xyz: str) -> str:
    """Say where it lies within its layer, and what a viewer would not know otherwise."""
    origin = [cut.along(axis, cut.translation, "micrometer") for axis in xyz]
    if None in origin:
        return "The voxel size is not known in micrometers."
    words = ", ".join(f"{value:g}" for value in origin if value is not None)
    return f"The centre of the first voxel lies at ({words}) µm in {', '.join(xyz)} of the layer."


def illumination(record: Mapping[str, Any], told: object) -> Any:  # noqa: ANN401 - as above
    """Return how it was lit: what is told, what the technique says, or that nobody knows."""
    more = dict(told) if isinstance(told, Mapping) else {}
    technique = str(Facts([record]).microscope.get("technique") or "")
    kind = more.pop("neurodata_type", None) or _pattern(technique)
    text = more.pop("description", None) or technique or "How it was illuminated is not known."
    return getattr(ndx, kind)(name="illumination", description=str(text), **more)


def _pattern(technique: str) -> str:
    word = technique.lower()
    if any(known in word for known in _LIGHT_SHEET):
        return "PlaneAcquisition"
    return "LineScan" if any(known in word for known in _SCANNING) else "IlluminationPattern"
