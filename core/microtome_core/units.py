"""Units of length and time: the many ways in which files spell them, and their sizes.

Names are those that OME-Zarr 0.5 recommends (UDUNITS-2): ``micrometer``, ``nanometer``, ``second``.
"""

from microtome_core.errors import InputError

_METERS = {
    "angstrom": 1e-10, "picometer": 1e-12, "nanometer": 1e-9, "micrometer": 1e-6,
    "millimeter": 1e-3, "centimeter": 1e-2, "decimeter": 1e-1, "meter": 1.0, "kilometer": 1e3,
    "inch": 0.0254, "foot": 0.3048, "yard": 0.9144, "mile": 1609.344,
}  # fmt: skip
_SECONDS = {
    "picosecond": 1e-12, "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3,
    "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0,
}  # fmt: skip
_SPELLINGS = {
    "å": "angstrom", "pm": "picometer", "nm": "nanometer", "nanometre": "nanometer",
    "um": "micrometer", "µm": "micrometer", "μm": "micrometer", "\\u00b5m": "micrometer",
    "micron": "micrometer", "microns": "micrometer", "micrometre": "micrometer",
    "mm": "millimeter", "millimetre": "millimeter", "cm": "centimeter", "centimetre": "centimeter",
    "dm": "decimeter", "m": "meter", "metre": "meter", "km": "kilometer",
    "in": "inch", "inches": "inch", '"': "inch",
    "ps": "picosecond", "ns": "nanosecond", "us": "microsecond", "µs": "microsecond",
    "μs": "microsecond", "ms": "millisecond", "msec": "millisecond",
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day",
}  # fmt: skip
_SYMBOLS = {
    "nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm", "meter": "m",
    "angstrom": "Å", "picometer": "pm", "second": "s", "millisecond": "ms", "microsecond": "µs",
    "nanosecond": "ns", "minute": "min", "hour": "h", "day": "d",
}  # fmt: skip
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")
LENGTHS = tuple(_METERS)


def unit_name(text: str) -> str:
    """Return the standard name of a unit however it is spelt.

    >>> unit_name("µm"), unit_name("microns"), unit_name("Micrometers")
    ('micrometer', 'micrometer', 'micrometer')

    Raises
    ------
    InputError
        A unit that is neither of length nor of time; ``pixel`` is none.
    """
    word = text.strip().lower()
    for candidate in (word, word.removesuffix("s")):
        name = _SPELLINGS.get(candidate, candidate)
        if name in _METERS or name in _SECONDS:
            return name
    raise InputError(
        f"unit {text[:40]!r}: expected a length such as micrometer or a time such as second"
    )


def symbol(unit: str | None) -> str | None:
    """Return the symbol of a standard name; None where there is none.

    >>> symbol("micrometer"), symbol("parsec"), symbol(None)
    ('µm', None, None)
    """
    return _SYMBOLS.get(unit or "")


def convert(value: float, unit: str, into: str) -> float:
    """Express `value` of one unit in another.

    >>> convert(1.5, "mm", "micrometer")
    1500.0

    Raises
    ------
    InputError
        A length into a time, or an unknown unit.
    """
    old, new = unit_name(unit), unit_name(into)
    for table in (_METERS, _SECONDS):
        if old in table and new in table:
            # Round off what binary fractions add: 0.4 µm is 400 nm, not 400.00000000000006.
            return float(f"{value * table[old] / table[new]:.15g}")
    raise InputError(f"{unit!r} cannot be expressed in {into!r}")


def converted(value: float, unit: str | None, into: str) -> float | None:
    """Express `value` in another unit; None where it has none, or one that tells nothing of it.

    >>> converted(2.0, "mm", "meter"), converted(2.0, "frames", "second"), converted(2.0, None, "m")
    (0.002, None, None)
    """
    try:
        return convert(value, unit or "", into)
    except InputError:
        return None


def bytes_text(count: float) -> str:
    """Write a number of bytes with three digits and a decimal prefix.

    >>> bytes_text(805_306_368), bytes_text(512), bytes_text(999_999)
    ('805 MB', '512 B', '1 MB')
    """
    value, prefix = float(count), 0
    while float(f"{value:.3g}") >= 1000 and prefix < len(_PREFIXES) - 1:
        value, prefix = value / 1000, prefix + 1
    return f"{float(f'{value:.3g}'):g} {_PREFIXES[prefix]}B"
