"""Which view of a layer is asked for: a time point, one channel, an encoding.

Clients add to the address of ``info`` and keep no query string, so the choice is a folder of the
path: words with hyphens between, in this order, each left out where the default will do.

::

    t3              time point 3
    c1-jpeg         channel 1 alone, as JPEG
    t3-c1-raw       all of it
"""

import re
from dataclasses import dataclass

from microtome_core.errors import NotFound

ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation")
_NUMBER = r"(0|[1-9][0-9]{0,17})"
PATTERN = rf"^(?:t{_NUMBER})?(?:-?c{_NUMBER})?(?:-?({'|'.join(ENCODINGS)}))?$"
_FORM = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class Variant:
    """A view of a layer.

    Parameters
    ----------
    t : int
        Time point.
    c : int, optional
        Channel; all of them if None.
    encoding : str, optional
        One of `ENCODINGS`; the layer's own default if None.

    Examples
    --------
    >>> Variant.parse("t3-c1-jpeg")
    Variant(t=3, c=1, encoding='jpeg')
    >>> str(Variant.parse("png"))
    'png'
    """

    t: int = 0
    c: int | None = None
    encoding: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read what `str` writes.

        Raises
        ------
        NotFound
            Anything else.
        """
        match = _FORM.fullmatch(text)
        found = match and cls(
            int(match[1] or 0), None if match[2] is None else int(match[2]), match[3]
        )
        if not match or not found or text not in (str(found), f"t0-{found}".rstrip("-")):
            raise NotFound(
                f"no view {text[:40]!r}: expected words such as t0, c0 and one of "
                f"{', '.join(ENCODINGS)}, in that order with hyphens between"
            )
        return found

    def __str__(self) -> str:
        words = (
            f"t{self.t}" if self.t else "",
            "" if self.c is None else f"c{self.c}",
            self.encoding or "",
        )
        return "-".join(filter(None, words))
