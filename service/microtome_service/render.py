"""From voxel values to colours: window, gamma, colour, blend. NumPy and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Blend = Literal["additive", "max"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How one channel is shown.

    Parameters
    ----------
    color : str
        ``RRGGBB``, the colour of full brightness.
    window : (float, float)
        Values shown as black and as full colour; what lies outside is clipped.
    """

    color: str
    window: tuple[float, float]

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255.

        >>> Shown("FF8000", (0, 1)).rgb
        (255, 128, 0)
        """
        red, green, blue = bytes.fromhex(self.color)
        return red, green, blue


def render(
    planes: Sequence[NDArray[Any]], shown: Sequence[Shown], gamma: float, blend: Blend
) -> NDArray[np.uint8]:
    """Blend one plane a channel into a picture.

    A value v becomes ``clip((v - low) / (high - low), 0, 1) ** gamma`` times its channel's colour;
    NaN is black. ``additive`` sums the channels and clips, ``max`` takes the brightest of each of
    red, green and blue.

    Parameters
    ----------
    planes : sequence of (rows, columns) arrays
        Of one shape.
    shown : sequence of Shown
        One for each plane.

    Returns
    -------
    (rows, columns, 3) uint8, or (rows, columns) where every colour is a grey.
    """
    grey = all(len(set(one.rgb)) == 1 for one in shown)
    total = np.zeros((1 if grey else 3, *planes[0].shape), np.float32)
    for plane, one in zip(planes, shown, strict=True):
        _blend(total, _brightness(plane, one.window, gamma), one.rgb, blend)
    np.minimum(total, 255, out=total)
    total += np.float32(0.5)
    picture = total.astype(np.uint8)
    return picture[0] if grey else np.moveaxis(picture, 0, -1)


def _blend(
    total: NDArray[np.float32],
    bright: NDArray[np.float32],
    color: tuple[int, int, int],
    blend: Blend,
) -> None:
    for part, most in zip(total, color, strict=False):  # one part where every colour is a grey
        if most:
            layer = bright * np.float32(most)
            (np.add if blend == "additive" else np.maximum)(part, layer, out=part)


def _brightness(
    plane: NDArray[Any], window: tuple[float, float], gamma: float
) -> NDArray[np.float32]:
    low, high = window
    # 24 bits of float32 hold the difference of 16-bit voxels exactly; wider ones need float64.
    # So do windows out of its range.
    held = high - low > 1e-30 and max(-low, high) < 1e30
    exact: Any = np.float32 if plane.dtype.itemsize <= 2 and held else np.float64
    # Values near the end of the type's range may overflow to infinity, which is clipped.
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = plane.astype(exact)
        scaled -= exact(low)
        scaled *= exact(1 / (high - low))
        np.clip(scaled, 0, 1, out=scaled)
    bright: NDArray[np.float32] = scaled.astype(np.float32, copy=False)
    if plane.dtype.kind == "f":
        np.nan_to_num(bright, copy=False, nan=0.0)
    return bright if gamma == 1 else np.power(bright, np.float32(gamma), dtype=np.float32)


def render_labels(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Give each id a colour of its own that never changes; 0 is transparent black.

    Colours are the lowest three bytes of the id mixed by the finalizer of SplitMix64 (Steele, Lea
    and Flood 2014), lifted to 64 to 255 so that none is near black.

    Returns
    -------
    (rows, columns, 4) uint8: red, green, blue, alpha.
    """
    mixed = _splitmix(ids.astype(np.uint64))
    picture = np.empty((*ids.shape, 4), np.uint8)
    for part in range(3):
        byte = (mixed >> np.uint64(8 * part)).astype(np.uint8)
        picture[..., part] = 64 + (byte.astype(np.uint16) * 192 >> 8)
    picture[..., 3] = 255
    picture[ids == 0] = 0
    return picture


def _splitmix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = value + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
