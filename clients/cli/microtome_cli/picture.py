"""A picture of what a service serves: maximum projections, drawn from cutouts of the client."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import microtome

_PIXELS = 1024
_GAP = 8
# Percentiles shown as black and as full colour, and the curve between them.
_DARK, _BRIGHT, _GAMMA = 50, 99.5, 0.8


def save_picture(urls: Sequence[str], path: Path) -> Path:
    """Save the projections of some layers side by side, along z, in the colours of each.

    Parameters
    ----------
    urls : sequence of str
        Addresses of layers.
    path : Path
        Of the PNG.
    """
    panels = [_panel(microtome.open(url)) for url in urls]
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + _GAP * (len(panels) - 1)
    canvas = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for panel in panels:
        canvas[: panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + _GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path, optimize=True)
    return path


def _panel(volume: microtome.Volume) -> NDArray[np.uint8]:
    """Return one layer as RGB."""
    shown = _level(volume)
    voxels = _projected(shown)
    if volume.kind == "labels":
        return _label_colors(voxels)
    layers = voxels if "c" in volume.axes else voxels[np.newaxis]
    total = np.zeros((*layers.shape[1:], 3), np.float32)
    for plane, channel in zip(layers, volume.channels, strict=True):
        # A maximum is brighter than the planes that the channel's window is meant for.
        low, high = np.percentile(plane, (_DARK, _BRIGHT))
        shade = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1) ** _GAMMA
        color = np.array([int(channel.color[i : i + 2], 16) for i in (0, 2, 4)], np.float32)
        total += shade[..., np.newaxis] * color
    return np.clip(total, 0, 255).astype(np.uint8)


def _level(volume: microtome.Volume) -> microtome.Volume:
    """Return the finest level whose plane fits the picture."""
    y, x = volume.axes.index("y"), volume.axes.index("x")
    for n, level in enumerate(volume.levels):
        if max(level.shape[y], level.shape[x]) <= _PIXELS:
            return volume.level(n)
    return volume.level(-1)


def _projected(volume: microtome.Volume) -> NDArray[Any]:
    """Return the maximum along z at the first time point: (c,) y, x."""
    first = tuple(0 if axis == "t" else slice(None) for axis in volume.axes)
    voxels = np.asarray(volume[first])
    axes = volume.axes.replace("t", "")
    return voxels.max(axis=axes.index("z")) if "z" in axes else voxels


def _label_colors(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a colour for each id by hashing it; 0 is black."""
    mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    shades = [(mixed >> np.uint64(shift)).astype(np.uint8) // 2 + 100 for shift in (40, 48, 56)]
    colors = np.stack(shades, axis=-1).astype(np.uint8)
    colors[ids == 0] = 0
    return colors
