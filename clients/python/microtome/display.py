"""How a volume shows itself: one line in a terminal, a table with a picture in a notebook."""

import base64
from collections.abc import Callable, Mapping
from html import escape

from microtome.errors import MicrotomeError, WrongAnswer

_PNG = b"\x89PNG\r\n\x1a\n"


def voxel_text(size: Mapping[str, float], units: Mapping[str, str | None]) -> str:
    """Write a voxel's size, with its unit once where the axes agree.

    >>> voxel_text({"z": 1.0, "y": 0.4, "x": 0.4}, dict.fromkeys("zyx", "micrometer"))
    '1×0.4×0.4 micrometer'
    >>> voxel_text({"y": 2.0, "x": 0.5}, {"y": "micrometer", "x": "nanometer"})
    '2 micrometer × 0.5 nanometer'
    """
    names = [units.get(axis) for axis in size]
    if len(set(names)) == 1:
        return " ".join(filter(None, ("×".join(f"{v:g}" for v in size.values()), names[0])))
    pairs = zip(size.values(), names, strict=True)
    return " × ".join(f"{value:g} {name or 'without unit'}" for value, name in pairs)


def table(title: str, rows: Mapping[str, str], picture: Callable[[], bytes]) -> str:
    """Return an HTML table beside a PNG picture; without the picture, it says why.

    Parameters
    ----------
    title : str
        Its heading.
    rows : mapping of str to str
        Plain text; everything is escaped here.
    picture : callable
        Gives a PNG file, or raises a MicrotomeError.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return (
        f'<div style="display:flex;gap:1em;align-items:flex-start">{_image(title, picture)}'
        f"<div><strong>{escape(title)}</strong><table>{cells}</table></div></div>"
    )


def _image(title: str, picture: Callable[[], bytes]) -> str:
    try:
        data = picture()
    except MicrotomeError as error:
        return f"<em>no thumbnail: {escape(str(error)[:200])}</em>"
    text = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{text}">'


def check_png(data: bytes, url: str) -> bytes:
    """Return `data` if it is a PNG file, whose first eight bytes are fixed (PNG, section 5.2).

    Raises
    ------
    WrongAnswer
        It is something else.
    """
    if not data.startswith(_PNG):
        raise WrongAnswer(f"{url}: the answer is no PNG file")
    return data
