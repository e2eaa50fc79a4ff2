"""Which numbers in a file are voxel sizes, and which only look like them."""

from collections.abc import Mapping
from math import isfinite

from microtome_core.errors import InputError
from microtome_core.units import LENGTHS, convert, unit_name

# Below an atom's size; LSM and others store 1e-19 for "unknown".
_SMALLEST_METERS = 1e-12
_PRINT_DPI = (
    72,
    75,
    90,
    96,
    100,
    120,
    144,
    150,
    180,
    200,
    240,
    300,
    350,
    400,
    600,
    720,
    1200,
    2400,
)


def length_unit(text: object) -> str | None:
    r"""Return the standard name of a unit of length, or None for ``pixel``, nothing and the like.

    >>> length_unit("\\u00B5m"), length_unit("pixel"), length_unit("sec")
    ('micrometer', None, None)
    """
    try:
        name = unit_name(str(text))
    except InputError:
        return None
    return name if name in LENGTHS else None


def plausible(size: object, unit: str | None) -> bool:
    """Tell whether a number can be a voxel size; 0, inf, nan and 1e-19 m stand for "unknown"."""
    if (
        isinstance(size, bool)
        or not isinstance(size, int | float)
        or not isfinite(size)
        or size <= 0
    ):
        return False
    return unit is None or convert(float(size), unit, "meter") >= _SMALLEST_METERS


def is_print_resolution(size: float, unit: str) -> bool:
    """Tell whether a pixel size is what programs write for the printer, such as 72 dpi.

    >>> is_print_resolution(25400 / 72, "micrometer"), is_print_resolution(0.5, "micrometer")
    (True, False)
    """
    dpi = 1 / convert(size, unit, "inch")
    return any(abs(dpi - known) < known * 1e-3 for known in _PRINT_DPI)


def common_unit(
    sizes: Mapping[str, tuple[float, str | None]],
) -> tuple[dict[str, float], str | None]:
    """Bring sizes of differing units to one: the file's own where they agree, else micrometer.

    Parameters
    ----------
    sizes : dict
        (size, standard unit or None) by axis; implausible ones are left out.
    """
    good = {axis: (size, unit) for axis, (size, unit) in sizes.items() if plausible(size, unit)}
    units = {unit for _, unit in good.values()}
    if len(units) < 2:
        return {axis: float(size) for axis, (size, _) in good.items()}, next(iter(units), None)
    return {
        axis: convert(size, unit, "micrometer") for axis, (size, unit) in good.items() if unit
    }, "micrometer"
