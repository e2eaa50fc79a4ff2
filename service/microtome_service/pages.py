"""HTML pages: Jinja2 templates, and the header that keeps everything foreign out of them."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from microtome_core.units import bytes_text

# Nothing inline, nothing from elsewhere.
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_SYMBOLS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "second": "s"}


class Pages:
    """The templates of this package, opened once.

    Parameters
    ----------
    title : str
        Heading of every page.
    """

    def __init__(self, title: str) -> None:
        self._environment = Environment(
            loader=PackageLoader("microtome_service"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["title"] = title
        self._environment.filters["bytes"] = bytes_text
        self._environment.filters["symbol"] = unit_symbol
        self._environment.filters["short"] = short_number

    def page(
        self,
        template: str,
        values: Mapping[str, Any],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """Return a page."""
        html = self._environment.get_template(template).render(values)
        return HTMLResponse(html, status, headers={**_HEADERS, **(headers or {})})


def unit_symbol(name: str | None) -> str:
    """Return the symbol of a unit, its name if it has none here.

    >>> unit_symbol("micrometer"), unit_symbol(None)
    ('µm', '')
    """
    return _SYMBOLS.get(name or "", name or "")


def short_number(value: float) -> str:
    """Return a number with at most six digits.

    >>> short_number(0.4), short_number(12.0)
    ('0.4', '12')
    """
    return f"{value:.6g}"
