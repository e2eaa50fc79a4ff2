"""The state with which Neuroglancer opens on a dataset.

Source of the form: the ``Viewer state`` reference of Neuroglancer 2.41,
https://neuroglancer-docs.web.app/json/index.html.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from microtome_core.looks import value_range
from microtome_core.names import LayerId
from microtome_core.store.layer import Layer
from microtome_core.wire import Channel, LayerInfo
from microtome_service.precomputed.variant import Variant
from microtome_service.precomputed.volume import Volume
from microtome_service.scene_space import CHANNEL, Space, space_of, times_of

# Screen pixels that a plane should fill at first, and what of the volume the fourth pane shows.
_PANE = 360
_AROUND = 1.4
# More channels than this at once are mud; the others wait with their box unticked.
_MOST_SHOWN = 6


def scene(
    host: str, layers: Sequence[Layer], skeletons: Sequence[LayerId] = (), t: int = 0
) -> dict[str, Any]:
    """Return a state that shows layers, the first image whole and in the middle.

    What has time points, or voxels whose size nobody knows, is read as Zarr, which has an axis of
    time and axes without a unit; all else as precomputed volumes.

    Parameters
    ----------
    host : str
        Where the service is reached, without a stroke at the end.
    layers : sequence of Layer
        Images and labels; of several images the first is visible, the others are at hand.
    skeletons : sequence of LayerId
        SWC files.
    t : int
        Time point; of layers that have fewer, the last.

    Raises
    ------
    NotFound
        A time point below 0.
    """
    ordered = sorted(layers, key=lambda layer: layer.info.kind == "labels")
    infos = [layer.info for layer in ordered]
    space = space_of(infos, alone=not skeletons)
    shown = [
        each
        for layer in ordered
        for each in _layers(host, layer, space, t, visible=_visible(infos, layer.info))
    ]
    traced = [_skeleton(host, each) for each in skeletons]
    state: dict[str, Any] = {"layers": [*shown, *traced], "layout": "4panel"}
    return {**state, **_first_look(infos, space, t)} if ordered else state


def _visible(ordered: Sequence[LayerInfo], info: LayerInfo) -> bool:
    return info.kind == "labels" or info is ordered[0]


def _layers(
    host: str, layer: Layer, space: Space, t: int, *, visible: bool
) -> Iterator[dict[str, Any]]:
    """Yield a layer of the viewer; of an image that is read as Zarr one for each channel."""
    info = layer.info
    name = info.id.split("/")[-1]
    if not space.by_zarr(info):
        variant = Variant(t=min(t, times_of(info) - 1))
        address = "/".join(filter(None, (host, "precomputed", info.id, str(variant))))
        yield _look(info, name, f"precomputed://{address}", info.channels, visible=visible)
        return
    url = f"zarr3://{host}/zarr/{layer.path}"
    source = {"url": url, "transform": space.transform(info)}
    if "c" not in info.axes or info.kind == "labels":
        yield _look(info, name, source, info.channels, visible=visible)
        return
    # A chunk of Zarr holds one channel, and a shader sees one chunk.
    for number, channel in enumerate(info.channels):
        shown = visible and number < _MOST_SHOWN
        told = _look(info, f"{name}: {number} {channel.name}", source, [channel], visible=shown)
        yield told | {"localDimensions": {CHANNEL: [1, ""]}, "localPosition": [number + 0.5]}


def _look(
    info: LayerInfo, name: str, source: object, channels: Sequence[Channel], *, visible: bool
) -> dict[str, Any]:
    labels = info.kind == "labels"
    told: dict[str, Any] = {
        "type": "segmentation" if labels else "image",
        "source": source,
        "name": name,
        "tab": "segments" if labels else "rendering",
    }
    if labels:
        told |= {"selectedAlpha": 0.4, "notSelectedAlpha": 0.25}
    else:
        seen = [_with_range(channel, info.dtype) for channel in channels]
        told |= {"shader": shader(seen), "opacity": 1, "blend": "additive"}
    return told if visible else {**told, "visible": False}


def _with_range(channel: Channel, dtype: str) -> Channel:
    """Return a channel of whose values some are darker than others, as on pages."""
    low, high = channel.window
    return channel if low < high else replace(channel, window=value_range(dtype))


def _skeleton(host: str, annotation: LayerId) -> dict[str, Any]:
    address = f"{host}/precomputed/{annotation.parent}/annotations/{annotation.layer}/skeletons"
    return {
        "type": "segmentation",
        "source": f"precomputed://{address}",
        "segments": ["1"],
        "name": annotation.layer,
    }


def shader(channels: Sequence[Channel]) -> str:
    """Return a shader that adds channels up in their colours, each with a control of its own.

    >>> print(shader([Channel("DAPI", "0000FF", (0.0, 4095.0))]))
    // DAPI
    #uicontrol invlerp contrast0(range=[0.0, 4095.0])
    #uicontrol vec3 color0 color(default="#0000FF")
    void main() {
      vec3 total = vec3(0.0);
      total += color0 * contrast0();
      emitRGB(min(total, vec3(1.0)));
    }
    """
    several = len(channels) > 1
    controls = [line for i, one in enumerate(channels) for line in _controls(i, one, several)]
    return "\n".join(
        [
            *controls,
            "void main() {",
            "  vec3 total = vec3(0.0);",
            *(_summand(i, several) for i in range(len(channels))),
            "  emitRGB(min(total, vec3(1.0)));",
            "}",
        ]
    )


def _controls(number: int, channel: Channel, several: bool) -> list[str]:
    low, high = (float(value) for value in channel.window)
    chosen = f"channel={number}, " if several else ""
    # A name ends where its line does, which a backslash at its end would join to the next.
    name = " ".join(channel.name.replace("\\", "/").split())
    lines = [
        f"// {name}",
        f"#uicontrol invlerp contrast{number}({chosen}range=[{low!r}, {high!r}])",
        f'#uicontrol vec3 color{number} color(default="#{channel.color}")',
    ]
    if several:
        on = "true" if number < _MOST_SHOWN else "false"
        lines.append(f"#uicontrol bool show{number} checkbox(default={on})")
    return lines


def _summand(number: int, several: bool) -> str:
    added = f"total += color{number} * contrast{number}();"
    return f"  if (show{number}) {added}" if several else f"  {added}"


def _first_look(infos: Sequence[LayerInfo], space: Space, t: int) -> dict[str, Any]:
    info = infos[0]
    finest = Volume.of(info, Variant()).scale(0)
    lengths = [n * nm for n, nm in zip(finest.size, finest.resolution, strict=True)]
    smallest = min(finest.resolution)
    planes = (lengths[0] / smallest, lengths[1] / smallest)
    place = [o + n / 2 for o, n in zip(finest.offset, finest.size, strict=True)]
    position = dict(zip("xyz", place, strict=True))
    dimensions = dict(zip("xyz", map(space.step, repeat(info), "xyz"), strict=True))
    if all(space.by_zarr(each) and "z" not in each.axes for each in infos):
        del dimensions["z"]
    timed = next((each for each in infos if space.by_zarr(each) and "t" in each.axes), None)
    if timed is not None:
        dimensions["t"] = space.step(timed, "t")
        position["t"] = min(t, max(map(times_of, infos)) - 1) + 0.5
    return {
        "dimensions": dimensions,
        # Else Neuroglancer shows the first three, of a film time as a third axis.
        "displayDimensions": [axis for axis in dimensions if axis != "t"],
        "position": [position[axis] for axis in dimensions],
        "crossSectionScale": max(planes) / _PANE,
        "projectionScale": _AROUND * max(lengths) / smallest,
        "layout": "4panel" if finest.size[2] > 1 else "xy",
        "selectedLayer": {"layer": _name_of_first(info, space), "visible": True},
    }


def _name_of_first(info: LayerInfo, space: Space) -> str:
    name = info.id.split("/")[-1]
    parted = space.by_zarr(info) and "c" in info.axes and info.kind == "image"
    return f"{name}: 0 {info.channels[0].name}" if parted else name
