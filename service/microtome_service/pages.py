"""HTML pages: Jinja2 templates, and the header that keeps everything foreign out of them."""

from collections.abc import Mapping
from math import prod
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from microtome_core.units import bytes_text, symbol
from microtome_core.wire import LayerInfo

# Nothing inline, nothing from elsewhere.
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Neuroglancer works in threads and decodes by WebAssembly; pictures that it makes are blobs.
VIEWER_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; font-src 'self'; "
    "connect-src 'self' data: blob:; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_SPANS = (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the path of a request below the address of the service, as links name it.

    >>> path_of({"path": "/brains/demo", "root_path": "/brains"}), path_of({"path": "/demo"})
    ('/demo', '/demo')
    """
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


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
        self._environment.filters["product"] = prod
        self._environment.filters["bytes"] = size_text
        self._environment.filters["counted"] = counted
        self._environment.filters["unit"] = unit_symbol
        self._environment.filters["objects"] = objects
        self._environment.filters["steps"] = steps_text
        self._environment.filters["span"] = span_text
        self._environment.filters["prose"] = prose
        self._environment.filters["bounds"] = bounds_text
        self._environment.filters["short"] = short_number

    def page(
        self,
        template: str,
        values: Mapping[str, Any],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        policy: str = POLICY,
    ) -> HTMLResponse:
        """Return a page; `policy` is its Content-Security-Policy."""
        html = self._environment.get_template(template).render(values)
        told = {**_HEADERS, "Content-Security-Policy": policy, **(headers or {})}
        return HTMLResponse(html, status, headers=told)


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list of a record; other software may have put anything there.

    >>> objects([{"name": "a.tif"}, 5]), objects(None)
    ([{'name': 'a.tif'}], [])
    """
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def size_text(value: object) -> str:
    """Return a number of bytes in short, a question mark for what is none.

    >>> size_text(805_306_368), size_text("large")
    ('805 MB', '?')
    """
    return bytes_text(value) if isinstance(value, int) and 0 <= value < 2**63 else "?"


def span_text(seconds: float) -> str:
    """Return a length of time in short.

    >>> span_text(8.2), span_text(75), span_text(7300), span_text(200_000)
    ('8 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    whole = max(0, round(seconds))
    for unit, size, below, smaller in _SPANS:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def counted(number: int, word: str) -> str:
    """Return a number of things.

    >>> counted(1, "trial"), counted(0, "trial")
    ('1 trial', '0 trials')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def unit_symbol(name: str | None) -> str:
    """Return the symbol of a unit, its name if it has none here.

    >>> unit_symbol("micrometer"), unit_symbol(None)
    ('µm', '')
    """
    return symbol(name) or name or ""


def steps_text(info: LayerInfo, axes: str) -> str:
    """Return the spacing of voxels along some axes; a unit that is unknown is left out.

    >>> from microtome_core.wire import LevelInfo
    >>> level = LevelInfo((1, 9, 9), (1, 9, 9), (1, 9, 9), (0.5, 0.25, 0.25), (0.0, 0.0, 0.0))
    >>> units = (None, "micrometer", "micrometer")
    >>> info = LayerInfo("a/b/c", "image", "tyx", units, "uint8", (level,), (), "", {})
    >>> steps_text(info, "zyx"), steps_text(info, "t")
    ('y 0.25 µm, x 0.25 µm', 't 0.5')
    """
    known = zip(info.axes, info.levels[0].scale, info.units, strict=True)
    return ", ".join(
        f"{axis} {short_number(step)} {unit_symbol(unit)}".strip()
        for axis, step, unit in known
        if axis in axes
    )


def prose(text: str) -> Markup:
    """Return words of a docstring as HTML: what stands between backticks is code.

    >>> prose("`a<b` or c<d")
    Markup('<code>a&lt;b</code> or c&lt;d')
    """
    parts = text.split("`")
    marked = (
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts)
    )
    return Markup("").join(marked)


def bounds_text(schema: Mapping[str, Any]) -> str:
    """Return the values that a parameter's JSON schema allows, as far as it says.

    >>> bounds_text({"enum": ["png", "webp", None]}), bounds_text({"minimum": 1, "maximum": 9})
    ('png, webp', '1 to 9')
    >>> bounds_text({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]})
    'from 0'
    """
    for each in (schema, *schema.get("anyOf", ())):
        if "enum" in each:
            return ", ".join(str(value) for value in each["enum"] if value is not None)
        low, high = each.get("minimum"), each.get("maximum")
        if low is not None:
            # Of whole numbers the largest is there for arithmetic, not for people.
            return f"from {low}" if high is None or high >= 10**9 else f"{low} to {high}"
    return ""


def short_number(value: float) -> str:
    """Return a number with at most six digits.

    >>> short_number(0.4), short_number(12.0)
    ('0.4', '12')
    """
    return f"{value:.6g}"
