"""The words in which a user answers what a source leaves open: ``--voxel-size``, ``--colors``."""

import re
from collections.abc import Mapping
from math import isfinite

from microtome_core.errors import InputError

EXAMPLE = "z=2,y=0.5,x=0.5"
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})")


def parse_voxel_size(text: str) -> dict[str, float] | tuple[float, ...]:
    """Read ``z=2,y=0.5,x=0.5``, or numbers alone in the order of the image's axes.

    Raises
    ------
    InputError
        Anything else, an axis named twice, a size that is not a positive number.

    Examples
    --------
    >>> parse_voxel_size("z=2,y=0.5,x=0.5")
    {'z': 2.0, 'y': 0.5, 'x': 0.5}
    >>> parse_voxel_size("2, 0.5, 0.5")
    (2.0, 0.5, 0.5)
    """
    parts = [part.partition("=") for part in text.split(",")]
    if not any(equals for _, equals, _ in parts):
        return tuple(positive(number, "voxel size") for number, _, _ in parts)
    names = [name.strip().lower() for name, _, _ in parts]
    if len(set(names)) < len(names) or not set(names) <= set("zyx"):
        raise InputError(
            f"voxel size {text[:80]!r}: expected each of z, y, x at most once: {EXAMPLE}"
        )
    sizes = (positive(number, "voxel size") for _, _, number in parts)
    return dict(zip(names, sizes, strict=True))


def positive(number: str | float, what: str) -> float:
    """Return a number that is finite and greater than zero, or raise InputError."""
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0):
        raise InputError(
            f"{what} {str(number)[:40]!r}: expected a positive number, such as {EXAMPLE}"
        )
    return value


def voxel_size_by_axis(
    answer: Mapping[str, float] | tuple[float, ...] | None, axes: str
) -> dict[str, float]:
    """Return the answer by axis; `axes` are the image's spatial axes.

    >>> voxel_size_by_axis((2.0, 0.5, 0.5), "zyx")
    {'z': 2.0, 'y': 0.5, 'x': 0.5}

    Raises
    ------
    InputError
        Another number of sizes than axes, or an axis that the image lacks.
    """
    if isinstance(answer, tuple):
        if len(answer) != len(axes):
            raise InputError(
                f"voxel size of {len(answer)} numbers: the image has {len(axes)}: {axes}"
            )
        answer = dict(zip(axes, answer, strict=True))
    for axis, size in (answer or {}).items():
        if axis not in axes:
            raise InputError(f"voxel size along {axis!r}: the image's spatial axes are {axes!r}")
        positive(size, f"voxel size along {axis}")
    return dict(answer or {})


def check_color(text: str) -> str:
    """Return ``RRGGBB`` in capitals.

    >>> check_color("#00ff7f")
    '00FF7F'

    Raises
    ------
    InputError
        Anything but six hexadecimal digits.
    """
    match = _COLOR.fullmatch(text)
    if not match:
        raise InputError(f"colour {text[:40]!r}: expected six hexadecimal digits, such as 00FF00")
    return match[1].upper()
