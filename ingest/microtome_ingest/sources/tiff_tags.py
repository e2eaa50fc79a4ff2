"""What plain TIFF tags say: pixel size, description, colour."""

from collections.abc import Mapping
from math import inf
from typing import Any

from tifffile import TiffPage

from microtome_ingest.sources.lengths import is_print_resolution, plausible

_X, _Y = 282, 283
_UNITS = {2: "inch", 3: "centimeter"}


def pixel_sizes(page: TiffPage, unit: str | None) -> dict[str, tuple[float, str | None]]:
    """Return (size, unit) of y and x from XResolution and YResolution (TIFF 6.0, section 8).

    Parameters
    ----------
    page : TiffPage
    unit : str, optional
        The unit when another part of the file names it, as ImageJ does.

    Notes
    -----
    1/1, 0/1000 and the resolutions of printers and screens, such as 72 dpi, mean that nobody
    measured; such axes are absent.
    """
    unit = unit or _UNITS.get(int(page.tags.valueof(296, default=1) or 1))
    sizes = {axis: _size(page, tag) for axis, tag in (("y", _Y), ("x", _X))}
    return {axis: (size, unit) for axis, size in sizes.items() if _measured(size, unit)}


def _size(page: TiffPage, tag: int) -> float:
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or value == (1, 1) or not value[0]:
        return inf
    return float(value[1]) / float(value[0])


def _measured(size: float, unit: str | None) -> bool:
    return plausible(size, unit) and not (unit and is_print_resolution(size, unit))


def notes(page: TiffPage) -> tuple[str, ...]:
    """Say how values and colours on a screen would differ from what is stored."""
    photometric = int(page.photometric)
    if photometric == 3:
        return ("the colour palette is not applied: voxels keep the stored indices",)
    if photometric == 0:
        return ("stored with white as zero: voxels keep the stored values",)
    if int(page.compression) in (6, 7, 34892, 33007):
        return ("voxels were compressed with loss (JPEG) before they came here",)
    return ()


def verbatim(page: TiffPage) -> dict[str, str]:
    """Return the tags that people and programs write texts into."""
    names: Mapping[int, str] = {270: "ImageDescription", 305: "Software", 306: "DateTime"}
    values = {name: page.tags.valueof(tag) for tag, name in names.items()}
    return {name: value for name, value in values.items() if isinstance(value, str) and value}


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    """Return `value` as JSON can hold it; bytes as hexadecimal digits, all else as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and value - value != 0:  # inf and nan are not JSON
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
