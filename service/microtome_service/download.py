"""What a page tells of a box before it is downloaded: its voxels, its bytes, its address."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from urllib.parse import urlencode

import numpy as np

from microtome_core.errors import InputError, NotFound
from microtome_core.selection import Selection
from microtome_core.wire import LayerInfo
from microtome_service.encode import FORMATS
from microtome_service.reader import Limits, find_level
from microtome_service.snippets import example_region
from microtome_service.streaming import STREAMED

# What programs of people open, and what it is called.
OFFERED: Mapping[str, str] = {
    "tiff": "TIFF (OME)", "nrrd": "NRRD", "npy": "NumPy (NPY)", "zarr": "OME-Zarr (zip)",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """A level in words: its number, its extents, its bytes."""

    number: int
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Box:
    """A box that somebody chose.

    Parameters
    ----------
    words : mapping of str to str
        ``start:stop`` by axis.
    shape : tuple of int
        Empty where the box cannot be.
    problem : str
        Why it cannot be downloaded; empty where it can.
    """

    level: int
    format: str
    words: Mapping[str, str]
    shape: tuple[int, ...]
    nbytes: int
    href: str
    problem: str


def levels_of(info: LayerInfo) -> tuple[LevelChoice, ...]:
    """Return what a form offers."""
    itemsize = np.dtype(info.dtype).itemsize
    return tuple(
        LevelChoice(i, level.shape, prod(level.shape) * itemsize)
        for i, level in enumerate(info.levels)
    )


def box_of(
    info: LayerInfo, api: str, limits: Limits, level: int, form: str, given: Mapping[str, str]
) -> Box:
    """Return what is known of a box; an axis that is not given is as in the example, or whole.

    Parameters
    ----------
    given : mapping of str to str
        By axis, as cutouts take them.
    """
    words = {**_default(info, level), **given}
    query = {"level": str(level), **words, "format": form}
    href = f"{api}/cutout?{urlencode(query, safe=':')}"
    try:
        _check_form(form)
        shape = Selection.parse(info.axes, find_level(info, level).shape, words).shape
    except (InputError, NotFound) as error:
        return Box(level, form, words, (), 0, href, str(error))
    nbytes = prod(shape) * np.dtype(info.dtype).itemsize
    return Box(level, form, words, shape, nbytes, href, _too_large(form, nbytes, limits))


def _check_form(form: str) -> None:
    if form not in OFFERED:
        raise InputError(f"format {form[:40]!r}: expected one of {', '.join(OFFERED)}")


def _default(info: LayerInfo, level: int) -> dict[str, str]:
    if level == 0:
        return {axis: f"{low}:{high}" for axis, (low, high) in example_region(info).items()}
    shape = info.levels[level].shape if level < len(info.levels) else info.shape
    return {axis: f"0:{extent}" for axis, extent in zip(info.axes, shape, strict=True)}


def _too_large(form: str, nbytes: int, limits: Limits) -> str:
    most = limits.answer if FORMATS[form] in STREAMED else limits.voxels
    if most and nbytes > most:
        return (
            f"more than the {most:,} bytes that one {OFFERED[form]} may hold: choose a smaller box"
        )
    return ""
