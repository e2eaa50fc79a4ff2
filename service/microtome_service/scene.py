"""The state with which Neuroglancer opens on a dataset.

Source of the form: the ``Viewer state`` reference of Neuroglancer 2.41,
https://neuroglancer-docs.web.app/json/index.html.
"""

from collections.abc import Sequence
from typing import Any

from microtome_core.names import LayerId
from microtome_core.wire import Channel, LayerInfo
from microtome_service.precomputed.variant import Variant
from microtome_service.precomputed.volume import Volume

# Screen pixels that a plane should fill at first, and what of the volume the fourth pane shows.
_PANE = 360
_AROUND = 1.4
# More channels than this at once are mud; the others wait with their box unticked.
_MOST_SHOWN = 6


def scene(
    host: str, layers: Sequence[LayerInfo], skeletons: Sequence[LayerId] = (), t: int = 0
) -> dict[str, Any]:
    """Return a state that shows layers, the first image whole and in the middle.

    Parameters
    ----------
    host : str
        Where the service is reached, without a stroke at the end.
    layers : sequence of LayerInfo
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
    ordered = sorted(layers, key=lambda info: info.kind == "labels")
    shown = [_layer(host, info, t, visible=_visible(ordered, info)) for info in ordered]
    traced = [_skeleton(host, each) for each in skeletons]
    state: dict[str, Any] = {"layers": [*shown, *traced], "layout": "4panel"}
    return {**state, **_first_look(ordered[0])} if ordered else state


def _visible(ordered: Sequence[LayerInfo], info: LayerInfo) -> bool:
    return info.kind == "labels" or info is ordered[0]


def _layer(host: str, info: LayerInfo, t: int, *, visible: bool) -> dict[str, Any]:
    variant = Variant(t=min(t, _extent(info, "t") - 1))
    address = "/".join(filter(None, (host, "precomputed", info.id, str(variant))))
    told: dict[str, Any] = {
        "type": "segmentation" if info.kind == "labels" else "image",
        "source": f"precomputed://{address}",
        "name": info.id.split("/")[-1],
        "tab": "segments" if info.kind == "labels" else "rendering",
    }
    if info.kind == "image":
        told |= {"shader": shader(info.channels), "opacity": 1, "blend": "additive"}
    else:
        told |= {"selectedAlpha": 0.4, "notSelectedAlpha": 0.25}
    return told if visible else {**told, "visible": False}


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


def _first_look(info: LayerInfo) -> dict[str, Any]:
    finest = Volume.of(info, Variant()).scale(0)
    lengths = [n * nm for n, nm in zip(finest.size, finest.resolution, strict=True)]
    smallest = min(finest.resolution)
    planes = (lengths[0] / smallest, lengths[1] / smallest)
    return {
        "dimensions": {
            axis: [nm * 1e-9, "m"] for axis, nm in zip("xyz", finest.resolution, strict=True)
        },
        "position": [o + n / 2 for o, n in zip(finest.offset, finest.size, strict=True)],
        "crossSectionScale": max(planes) / _PANE,
        "projectionScale": _AROUND * max(lengths) / smallest,
        "layout": "4panel" if finest.size[2] > 1 else "xy",
        "selectedLayer": {"layer": info.id.split("/")[-1], "visible": True},
    }


def times_of(info: LayerInfo) -> int:
    """Return how many time points a layer has."""
    return _extent(info, "t")


def is_measured(info: LayerInfo) -> bool:
    """Tell whether the length of a voxel is known; precomputed volumes are in nm all the same."""
    return info.units[info.axes.index("x")] is not None


def _extent(info: LayerInfo, axis: str) -> int:
    return dict(zip(info.axes, info.shape, strict=True)).get(axis, 1)
