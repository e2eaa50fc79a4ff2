"""What a frame of a video becomes: its luma, or red, green and blue; never with less depth."""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

# The same on every machine, and as near to the formula as swscale comes.
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
_FULL_RANGE = 2
# Chroma this near to the middle (of 255) is what rounding makes of grey.
_NEUTRAL = 1


@dataclass(frozen=True, slots=True)
class Pixels:
    """How frames of one pixel format become arrays.

    Parameters
    ----------
    format : str
        FFmpeg's name of what frames are.
    target : str
        What they are turned into first; the same where nothing is lost by reading them as they are.
    samples : int
        0 for grey, 3 or 4 for colours.
    dtype : str
    bits : int
        That carry something.
    notes : tuple of str
    """

    format: str
    target: str
    samples: int
    dtype: str
    bits: int
    notes: tuple[str, ...] = ()

    def array(self, frame: Any) -> NDArray[Any]:  # noqa: ANN401 - a frame of PyAV
        """Return a frame as y, x or y, x, s; for as long as it is held."""
        turned = frame
        if self.target != self.format:
            turned = frame.reformat(format=self.target, interpolation=int(_EXACT))
        if self.samples and self.target.startswith("gbr"):
            order = (2, 0, 1, 3)[: self.samples]
            planes = [plane(turned, i, self.dtype, self.target) for i in order]
            return np.stack(planes, axis=-1)
        return plane(turned, 0, self.dtype, self.target, max(self.samples, 1))


def luma(name: str) -> Pixels:
    """Return how the luma of a pixel format is read."""
    kind = av.VideoFormat(name)
    bits = kind.components[0].bits
    if name.startswith("bayer"):
        deep = name.endswith(("16le", "16be"))
        note = ("a colour mosaic (Bayer): its grey values are kept as they are",)
        return Pixels(name, name, 0, "uint16" if deep else "uint8", 16 if deep else 8, note)
    if name.startswith(("mono", "ya", "grayf16")) or (not kind.is_planar and _has_chroma(kind)):
        return _turned_luma(name, bits)
    if name.startswith("grayf32"):
        return Pixels(name, name, 0, "float32", 32)
    return Pixels(name, name, 0, _dtype(bits), bits)


def _turned_luma(name: str, bits: int) -> Pixels:
    """Return how luma is read that does not lie in a plane of its own."""
    note = ("opacity is left out",) if name.startswith("ya") else ()
    if name.startswith("grayf16"):
        return Pixels(name, "grayf32le", 0, "float32", 16)
    if name in ("yuyv422", "uyvy422", "yvyu422"):
        return Pixels(name, "yuv422p", 0, "uint8", 8)
    deep = bits > 8
    return Pixels(name, "gray16le" if deep else "gray", 0, _dtype(bits), bits, note)


def colors(name: str) -> Pixels:
    """Return how a pixel format is read as red, green, blue, and opacity where it has that."""
    kind = av.VideoFormat(name)
    bits = max(component.bits for component in kind.components)
    alpha = any(component.is_alpha for component in kind.components) and not kind.has_palette
    samples = 4 if alpha else 3
    if name.startswith("gbr") and "f16" not in name:
        dtype = "float32" if "f32" in name else _dtype(bits)
        return Pixels(name, name, samples, dtype, bits)
    if bits <= 8:
        return Pixels(name, "rgba" if alpha else "rgb24", samples, "uint8", 8)
    note = (f"values of {bits} bits are stretched to 16",) if bits < 16 else ()
    return Pixels(name, "rgba64le" if alpha else "rgb48le", samples, "uint16", bits, note)


def is_gray(name: str) -> bool:
    """Tell whether a pixel format has no colours."""
    return name.startswith(("gray", "mono", "ya", "bayer"))


def is_rgb(name: str) -> bool:
    """Tell whether a pixel format holds colours as red, green and blue."""
    kind = av.VideoFormat(name)
    return bool(kind.is_rgb or kind.has_palette)


def is_neutral(frame: Any) -> bool:  # noqa: ANN401 - a frame of PyAV
    """Tell whether a frame in luma and chroma has no colours: chroma in the middle throughout."""
    name = frame.format.name
    if name in ("yuyv422", "uyvy422", "yvyu422"):
        frame, name = frame.reformat(format="yuv422p"), "yuv422p"
    elif not name.startswith("yuv"):
        frame = frame.reformat(format="yuv420p16le" if _deep(name) else "yuv420p")
        name = frame.format.name
    kind = av.VideoFormat(name)
    middle = 1 << (kind.components[1].bits - 1)
    near = _NEUTRAL * middle // 128
    for number in (1, 2):
        chroma = plane(frame, number, _dtype(kind.components[1].bits), name)
        if int(chroma.min()) < middle - near or int(chroma.max()) > middle + near:
            return False
    return True


def luma_window(name: str, color_range: int, bits: int) -> tuple[float, float] | None:
    """Return black and white of luma that does not use its whole range (ITU-R BT.601)."""
    if color_range == _FULL_RANGE or name.startswith("yuvj") or is_gray(name) or is_rgb(name):
        return None
    return float(16 << (bits - 8)), float(235 << (bits - 8))


def plane(
    frame: Any,  # noqa: ANN401 - a frame of PyAV
    number: int,
    dtype: str,
    name: str,
    samples: int = 1,
) -> NDArray[Any]:
    """Return a view of a plane of a frame; its byte order is the format's."""
    found = frame.planes[number]
    stored = np.dtype(dtype).newbyteorder(">" if name.endswith("be") else "<")
    stride = found.line_size
    more = (samples,) if samples > 1 else ()
    return np.ndarray(
        (found.height, found.width, *more),
        stored,
        found,
        # Rows of a frame that is stored upside down.
        offset=-stride * (found.height - 1) if stride < 0 else 0,
        strides=(stride, stored.itemsize * samples, *(stored.itemsize for _ in more)),
    )


def _dtype(bits: int) -> str:
    return "uint8" if bits <= 8 else "uint16" if bits <= 16 else "float32"


def _deep(name: str) -> bool:
    return any(component.bits > 8 for component in av.VideoFormat(name).components)


def _has_chroma(kind: Any) -> bool:  # noqa: ANN401 - of PyAV
    return any(component.is_chroma for component in kind.components)
