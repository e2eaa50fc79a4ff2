"""The JSON of BossDB's resources."""

from typing import Any

from microtome_core.wire import LayerInfo
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.frames import Frame
from microtome_service.bossdb.levels import count_shown, find_resolution
from microtome_service.bossdb.records import ChannelRecord, ResourceRecord
from microtome_service.bossdb.resources import Experiment
from microtome_service.bossdb.words import time_step

_NOBODY = "microtome"
CUBOID = (512, 512, 16)


def collection_json(
    name: str, record: ResourceRecord, experiments: list[str], *, public: bool
) -> dict[str, Any]:
    """Return a collection."""
    return {
        "name": name,
        "description": record.description,
        "creator": record.creator or _NOBODY,
        "experiments": experiments,
        "public": public,
    }


def experiment_json(found: Experiment, *, public: bool) -> dict[str, Any]:
    """Return an experiment; its time is that of the channel with most time points."""
    record = found.record
    samples, step, unit = _times(found)
    return {
        "name": found.name,
        "description": record.description,
        "creator": record.creator or _NOBODY,
        "collection": found.dataset.collection,
        "coord_frame": found.frame_name,
        "num_hierarchy_levels": found.resolutions,
        "hierarchy_method": record.hierarchy_method,
        "num_time_samples": samples,
        "time_step": step,
        "time_step_unit": unit,
        "channels": [channel.name for channel in found.channels],
        "public": public,
    }


def channel_json(channel: Channel, record: ChannelRecord, *, public: bool) -> dict[str, Any]:
    """Return a channel. Its name is its own, even if it was asked for by another."""
    return {
        "name": channel.name,
        "description": record.description or _description(channel),
        "creator": record.creator or _NOBODY,
        "type": channel.kind,
        "datatype": channel.datatype,
        "base_resolution": record.base_resolution,
        "default_time_sample": record.default_time_sample,
        "sources": record.sources or _sources(channel),
        "related": record.related,
        "public": public,
        "downsample_status": downsample_status(channel.info),
        # What intern asks for: voxels come from this server and not from a bucket.
        "storage_type": "spdb",
    }


def frame_json(name: str, frame: Frame, description: str) -> dict[str, Any]:
    """Return a coordinate frame."""
    return {"name": name, "description": description, **frame.to_json()}


def downsample_status(info: LayerInfo) -> str:
    """Return BossDB's word for whether there are coarser resolutions."""
    return "DOWNSAMPLED" if count_shown(info) > 1 else "NOT_DOWNSAMPLED"


def downsample_json(channel: Channel, frame: Frame) -> dict[str, Any]:
    """Return every resolution's voxel size and extents, x y z, as Neuroglancer asks for them."""
    count = count_shown(channel.info)
    z, y, x = frame.sizes
    found = [find_resolution(channel.info, number) for number in range(count)]
    return {
        "status": downsample_status(channel.info),
        "num_hierarchy_levels": count,
        "voxel_size": {str(r.number): [x * 2**r.number, y * 2**r.number, z] for r in found},
        "extent": {str(r.number): [r.extents[axis] for axis in "xyz"] for r in found},
        "cuboid_size": {str(r.number): list(CUBOID) for r in found},
    }


def _times(found: Experiment) -> tuple[int, float, str]:
    record = found.record
    if record.num_time_samples:
        return record.num_time_samples, record.time_step, record.time_step_unit
    times = [_time_of(channel.info) for channel in found.channels]
    return max(times, default=(1, 0, ""), key=lambda time: time[0])


def _time_of(info: LayerInfo) -> tuple[int, float, str]:
    if "t" not in info.axes:
        return 1, 0, ""
    place = info.axes.index("t")
    return info.shape[place], *time_step(info.levels[0].scale[place], info.units[place])


def _description(channel: Channel) -> str:
    info, words = channel.info, []
    if channel.index < len(info.channels) and info.channels[channel.index].name:
        words.append(info.channels[channel.index].name)
    if channel.name != info.layer_id.layer:
        words.append(f"channel {channel.index} of layer {info.id}")
    if info.dtype != channel.datatype:
        words.append(f"stored as {info.dtype}, given as {channel.datatype}")
    return "; ".join(words)


def _sources(channel: Channel) -> list[str]:
    """Return the image that labels belong to."""
    parts = channel.layer.path.split("/")
    return [parts[2]] if len(parts) == 5 and parts[3] == "labels" else []
