"""A layer's metadata: how it is shown, and where its voxels come from."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.names import numbered_channel
from microtome_core.store.location import storage_errors
from microtome_core.store.ome import ImageLabel, LabelSource, Omero, multiscale, omero
from microtome_core.store.ome import Ome as OmeAttributes
from microtome_core.store.record import (
    AnyRecord,
    Conversion,
    ImagingSpace,
    Record,
    SourceFile,
    imaging_space,
)
from microtome_core.store.record_arrays import Arrays
from microtome_core.store.record_given import linked, merge, with_given
from microtome_core.units import convert
from microtome_core.wire import Channel
from microtome_ingest.manifest import SourceFacts
from microtome_ingest.options import Kind, VolumeSpec
from microtome_ingest.plan import Plan
from microtome_ingest.record_facts import channels_of, told_by, without_faults
from microtome_ingest.source import SourceChannel

# Percent of voxels that may be shown as plain black, or as full colour.
_TAIL_PERCENT = 0.1
# Voxels of a channel that are looked at for its contrast, and time points of a long recording.
_SAMPLED_VOXELS = 2**22
_SAMPLED_TIMES = 4


def ome_attributes(
    name: str,
    kind: Kind,
    plan: Plan,
    channels: Sequence[Channel],
    *,
    nested: bool,
    prefix: str = "",
) -> dict[str, Any]:
    """Return the value of ``ome``: the pyramid, and how it is shown.

    Parameters
    ----------
    name : str
        Of the layer.
    kind : str
        ``image`` or ``labels``.
    channels : sequence of Channel
        Of an image.
    nested : bool
        The labels lie in the folder of their image.
    prefix : str
        Where in the layer's folder the arrays lie.
    """
    scales = multiscale(name, plan.axes, plan.spec.units, plan.levels, plan.method, prefix)
    label = ImageLabel(source=LabelSource() if nested else None) if kind == "labels" else None
    shown = _omero(plan.spec.dtype, channels) if kind == "image" else None
    return OmeAttributes.model_validate(
        {"multiscales": [scales], "omero": shown, "image-label": label}
    ).to_json()


def shown_level(plan: Plan) -> int:
    """Return the level whose voxels tell the contrast.

    The finest that is small enough, since thin bright structures fade in coarser ones. Where none
    is, the coarsest, of which the middle is looked at.
    """
    sizes = (_space_voxels(plan.axes, array.shape) for array in plan.arrays)
    small = (level for level, size in enumerate(sizes) if size <= _SAMPLED_VOXELS)
    return next(small, len(plan.arrays) - 1)


def shown_channels(
    plan: Plan, channels: Sequence[SourceChannel], array: ts.TensorStore
) -> tuple[Channel, ...]:
    """Return each channel with its contrast: the file's own, or the range that most voxels fill.

    Parameters
    ----------
    plan : Plan
    channels : sequence of SourceChannel
    array : TensorStore
        The level of `shown_level`, written.
    """
    return tuple(
        Channel(
            channel.name or numbered_channel(index),
            channel.color or "FFFFFF",
            channel.window or _window(_sample(plan.axes, array, index)),
        )
        for index, channel in enumerate(channels)
    )


def record(
    source: SourceFacts,
    spec: VolumeSpec,
    channels: Sequence[SourceChannel],
    files: Sequence[SourceFile],
    conversion: Conversion,
    data: str = "0",
    given: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the value of ``nwb``: where the voxels come from and what was done to them.

    Parameters
    ----------
    given : sequence of dict
        What is said over what the source says, each as `with_given` takes it.

    Raises
    ------
    RecordRefused
        What is given cannot be said of these voxels.
    """
    series = "Series" if "t" in spec.axes else "StaticImage"
    space = "Volumetric" if "z" in spec.axes else "Planar"
    known = Record(
        neurodata_type=f"{space}Microscopy{series}",
        imaging_space=_imaging_space(spec),
        data=data,
        source_format=source.format,
        source_files=list(files),
        conversion_history=[conversion],
        original_metadata=dict(source.metadata),
    ).to_json()
    told = merge(known, {**told_by(source.metadata), "channels": channels_of(channels)})
    found: AnyRecord = linked(Record.model_validate(without_faults(told)))
    for each in given:
        found = with_given(found.to_json(), each, _arrays(spec))
    return found.to_json()


def _arrays(spec: VolumeSpec) -> Arrays:
    along = dict(zip(spec.axes, zip(spec.shape, spec.scale, spec.units, strict=True), strict=True))
    _, step, unit = along.get("t", (1, 0.0, None))
    time_step = convert(step, unit, "second") if unit else None
    return Arrays(str(np.dtype(spec.dtype)), time_step, along.get("z", (1,))[0])


def _imaging_space(spec: VolumeSpec) -> ImagingSpace:
    along = {axis: i for i, axis in enumerate(spec.axes)}
    xyz = [along[a] for a in "xyz" if a in along]
    sizes = _micrometers(spec, xyz)
    return imaging_space([spec.shape[i] for i in xyz], sizes, planar="z" not in along)


def _micrometers(spec: VolumeSpec, places: Sequence[int]) -> list[float] | None:
    known = [(spec.scale[i], unit) for i in places if (unit := spec.units[i])]
    sizes = [convert(size, unit, "micrometer") for size, unit in known]
    return sizes if len(sizes) == len(places) else None


def _omero(dtype: str, channels: Sequence[Channel]) -> Omero:
    if np.dtype(dtype).kind == "f":
        windows = [channel.window for channel in channels]
        return omero(channels, min(w[0] for w in windows), max(w[1] for w in windows))
    limits = np.iinfo(dtype)
    return omero(channels, float(limits.min), float(limits.max))


def _sample(axes: str, array: ts.TensorStore, channel: int) -> NDArray[Any]:
    """Return the middle of one channel of a level, at a few times if there are many."""
    chosen: list[Any] = [*_middle(axes, array.shape)]
    if "c" in axes:
        chosen[axes.index("c")] = channel
    if "t" in axes:
        count = array.shape[axes.index("t")]
        times = np.unique(np.linspace(0, count - 1, _SAMPLED_TIMES).astype(int))
        chosen[axes.index("t")] = times.tolist()
    with storage_errors("reading back for contrast"):
        return np.asarray(array[tuple(chosen)].read().result())


def _middle(axes: str, shape: Sequence[int]) -> Iterator[slice]:
    """Yield a slice an axis: in space, no more voxels together than are looked at."""
    edges = {axis: extent for axis, extent in zip(axes, shape, strict=True) if axis in "zyx"}
    while prod(edges.values()) > _SAMPLED_VOXELS:
        longest = max(edges, key=lambda axis: edges[axis])
        edges[longest] = -(-edges[longest] // 2)
    for axis, extent in zip(axes, shape, strict=True):
        edge = edges.get(axis, extent)
        yield slice((extent - edge) // 2, (extent - edge) // 2 + edge)


def _space_voxels(axes: str, shape: tuple[int, ...]) -> int:
    return prod(n for axis, n in zip(axes, shape, strict=True) if axis in "zyx")


def _window(voxels: NDArray[Any]) -> tuple[float, float]:
    finite = voxels[np.isfinite(voxels)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (_TAIL_PERCENT, 100 - _TAIL_PERCENT))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    # An even picture has no contrast to show; any range that is one will do. 1 is lost in floats
    # of more than 53 bits.
    return float(low), float(high if high > low else low + max(1.0, abs(low) / 1000))
