"""What ``microtome info`` says of a source, as JSON and as text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from typing import Any

import numpy as np

from microtome_core.addresses import without_secrets
from microtome_core.units import bytes_text
from microtome_ingest.resolve import missing
from microtome_ingest.source import Description, Scene, SourceChannel


def report(description: Description, scenes: Sequence[Scene] = ()) -> dict[str, Any]:
    """Return everything worth knowing of an image, JSON-able.

    Parameters
    ----------
    description : Description
        Of the image that was opened.
    scenes : sequence of Scene
        All images of the source.
    """
    return {
        "format": description.format,
        "files": [without_secrets(file) for file in description.files],
        "scenes": [{**asdict(scene), "shape": list(scene.shape)} for scene in scenes],
        "axes": description.axes,
        "shape": list(description.shape),
        "dtype": description.dtype,
        "nbytes": prod(description.shape) * np.dtype(description.dtype).itemsize,
        "block": list(description.block),
        "voxel_size": dict(description.voxel_size),
        "unit": description.unit,
        "time_step": description.time_step,
        "channels": [_channel(channel) for channel in description.channels],
        "metadata": dict(description.metadata),
        "notes": list(description.notes),
        "missing": list(missing(description)),
    }


def scenes_text(scenes: Sequence[Scene]) -> str:
    """Return the list of images from which ``--scene N`` chooses."""
    return "\n".join(f"  {scene}" for scene in scenes)


def report_text(found: Mapping[str, Any]) -> str:
    """Return what `report` gave as lines for a terminal."""
    rows = [
        ("format", found["format"]),
        ("files", _files(found["files"])),
        ("scenes", _scenes(found["scenes"])),
        ("axes", found["axes"]),
        ("shape", " × ".join(map(str, found["shape"]))),
        ("dtype", found["dtype"]),
        ("size", bytes_text(found["nbytes"])),
        ("block", " × ".join(map(str, found["block"]))),
        ("voxel size", _sizes(found)),
        ("time step", f"{found['time_step']:g} s" if found["time_step"] else ""),
        ("channels", ", ".join(map(_channel_text, found["channels"]))),
        *[("note", note) for note in found["notes"]],
        *[("missing", reason) for reason in found["missing"]],
    ]
    return "\n".join(f"{name:<11} {text}" for name, text in rows if text)


def _channel(channel: SourceChannel) -> dict[str, Any]:
    words = {key: value for key, value in asdict(channel).items() if value}
    return {**words, "window": list(channel.window)} if channel.window else words


def _channel_text(channel: Mapping[str, Any]) -> str:
    details = [f"#{channel['color']}"] if "color" in channel else []
    if "window" in channel:
        details.append("{:g} to {:g}".format(*channel["window"]))
    details += [f"{key} {value}" for key, value in channel.get("metadata", {}).items()]
    name = channel.get("name", "unnamed")
    return f"{name} ({', '.join(details)})" if details else str(name)


def _files(files: Sequence[str]) -> str:
    if len(files) < 2:
        return "".join(files)
    return f"{len(files)}, from {files[0]} to {files[-1]}"


def _scenes(scenes: Sequence[Mapping[str, Any]]) -> str:
    return (
        ""
        if len(scenes) < 2
        else f"{len(scenes)}: "
        + "; ".join(str(Scene(**{**scene, "shape": tuple(scene["shape"])})) for scene in scenes)
    )


def _sizes(found: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{axis}={size:g}" for axis, size in found["voxel_size"].items())
    return f"{sizes} {found['unit'] or '(no unit)'}" if sizes else ""
