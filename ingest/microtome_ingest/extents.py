"""Extents as users write them: ``64,128,128`` in axes order, or ``z=64,y=128``."""

from collections.abc import Mapping
from dataclasses import dataclass

from microtome_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Extents:
    """Numbers of voxels along axes that are not known yet.

    Parameters
    ----------
    text : str
        As the user wrote it, for messages.
    named : dict
        By axis; empty where the user wrote bare numbers.
    bare : tuple of int
        In axes order; empty where the user named the axes.

    Examples
    --------
    >>> Extents.parse("64,128,128").along("zyx")
    (64, 128, 128)
    >>> Extents.parse("x=128,y=128,z=64").along("zyx")
    (64, 128, 128)
    """

    text: str
    named: Mapping[str, int]
    bare: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Extents":
        """Read either form.

        Raises
        ------
        InputError
            Neither form, or a number below 1.
        """
        parts = [part.partition("=") for part in text.split(",")]
        numbers = [after or before for before, _, after in parts]
        names = [before for before, equals, _ in parts if equals]
        digits = all(n.isascii() and n.isdigit() and int(n[:10]) > 0 for n in numbers)
        if not digits or len(set(names)) not in {0, len(parts)}:
            raise InputError(f"{text[:80]!r}: expected such as 64,128,128 or z=64,y=128,x=128")
        values = [int(n) for n in numbers]
        if names:
            return cls(text, dict(zip(names, values, strict=True)), ())
        return cls(text, {}, tuple(values))

    def along(self, axes: str, option: str = "") -> tuple[int, ...]:
        """Return one number for each of `axes`; t and c may be left unnamed and are 1 then.

        Raises
        ------
        InputError
            Other axes, or another number of them; names the option that gave them.
        """
        values = self.bare
        if self.named and set(self.named) <= set(axes):
            values = tuple(self.named.get(a, 1 if a in "tc" else 0) for a in axes)
        if len(values) != len(axes) or min(values) < 1:
            raise InputError(
                f"{option} {self.text[:80]!r}: expected one number for each axis of {axes!r}, "
                f"{self._example(axes)}".lstrip()
            )
        return values

    def _example(self, axes: str) -> str:
        """Return how it is written right, with the numbers that were given if those are enough."""
        spatial = [axis for axis in axes if axis not in "tc"]
        given = self.bare if len(self.bare) == len(spatial) else [64] * len(spatial)
        sizes = dict(zip(spatial, given, strict=True))
        whole = ",".join(str(sizes.get(axis, 1)) for axis in axes)
        return f"such as {whole} or {','.join(f'{a}={n}' for a, n in sizes.items())}"
