"""A link to a volume in Neuroglancer: a state in the address, so that nothing is stored anywhere.

Form: https://github.com/google/neuroglancer, "state" in the fragment of the address, as JSON.
"""

import json
from typing import Any
from urllib.parse import quote

from microtome.described import Described
from microtome.errors import InputError
from microtome.stored import StoredTransport
from microtome_core.axes import SPATIAL
from microtome_core.units import converted

PUBLIC = "https://neuroglancer-demo.appspot.com/"


def link(volume: Described, viewer: str | None, position: dict[str, float] | None) -> str:
    """Return the address; see `Volume.neuroglancer`."""
    if isinstance(volume.transport, StoredTransport):
        raise InputError(f"{volume.id} is read where it lies: serve the store to look at it")
    base = viewer or f"{volume.address.base}/view/{volume.id}"
    if viewer is None and not position:
        return base  # the service's own viewer begins with the scene that the service describes
    if not base.startswith(("http://", "https://")):
        raise InputError(f"viewer={base!r:.200}: expected an address such as {PUBLIC}")
    text = json.dumps(state(volume, position or {}), separators=(",", ":"))
    return f"{base.partition('#')[0]}#!{quote(text, safe='')}"


def state(volume: Described, position: dict[str, float]) -> dict[str, Any]:
    """Return what Neuroglancer shows: the layer, its voxel size, its channels and a place in it."""
    axes = [axis for axis in "xyz" if axis in volume.axes]
    unknown = sorted(set(position) - set(axes))
    if unknown:
        raise InputError(f"{unknown[0]}=: expected voxels along {', '.join(axes)}")
    finest = volume.levels[0]
    places = {axis: volume.axes.index(axis) for axis in axes}
    # Voxels of Neuroglancer begin at their corner, ours are counted from their centre.
    at = [position.get(axis, finest.shape[i] / 2 - 0.5) + 0.5 for axis, i in places.items()]
    return {
        "dimensions": {axis: [_meters(volume, axis), "m"] for axis in axes},
        "position": at,
        "layers": [_layer(volume, None if volume.kind == "labels" else shader(volume))],
        "selectedLayer": {"layer": volume.name, "visible": True},
        "layout": "4panel" if len(axes) == 3 else "xy",
    }


def _layer(volume: Described, text: str | None) -> dict[str, Any]:
    base = volume.address.base
    source = f"precomputed://{base}/precomputed/{volume.id}"
    if text is None:
        return {"type": "segmentation", "name": volume.name, "source": source}
    return {"type": "image", "name": volume.name, "source": source, "shader": text}


def shader(volume: Described) -> str:
    """Return the program that adds channels in their colours, each with its window on a slider."""
    lines, colors = [], []
    for number, channel in enumerate(volume.channels):
        low, high = channel.window
        whole = volume.dtype.kind in "iu"
        window = [int(low), int(high)] if whole else [low, high]
        given = f"range={json.dumps(window)}, channel={number}"
        lines.append(f"#uicontrol invlerp c{number}({given})")
        red, green, blue = (int(channel.color[i : i + 2], 16) / 255 for i in (0, 2, 4))
        colors.append(f"c{number}() * vec3({red:.3f}, {green:.3f}, {blue:.3f})")
    total = " + ".join(colors) or "vec3(toNormalized(getDataValue()))"
    return "\n".join([*lines, f"void main() {{ emitRGB({total}); }}"])


def _meters(volume: Described, axis: str) -> float:
    i = volume.axes.index(axis)
    size, unit = volume.levels[0].scale[i], volume.info.units[i]
    # Where nobody knows the unit, the service takes it for nm.
    meters = converted(size, unit, "meter") if axis in SPATIAL else None
    return size * 1e-9 if meters is None else meters
