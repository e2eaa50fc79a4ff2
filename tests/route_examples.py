"""Every address that an app answers, filled in with examples.

A new route is found by itself. If a word of its path has no example here, tests fail until it does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import Mount

# What stands for a dataset and a layer in all the ways of saying so.
COLLECTION = ("collection",)
DATASET = ("dataset", "experiment")
LAYER = ("layer", "channel")

EXAMPLES: Mapping[str, str] = {
    "plane": "xy", "orientation": "xy", "level": "0", "resolution": "0", "index": "0",
    "row": "0", "col": "0", "extension": "png", "size": "16",
    "form": "json", "link": "mfrggzdfmztw",
    "x": "0:1", "y": "0:1", "z": "0:1", "t": "0:1", "id": "1", "count": "1",
    "variant": "c0-raw", "key": "0", "chunk": "0-5_0-4_0-3", "name": "0", "segment": "1",
    "recording": "mouse", "trial": "0", "neuron": "1", "variable": "responses",
    "statistic": "mean", "schema": "record",
    "kind": "points", "number": "1", "user": "someone", "group": "public", "role": "reader",
}  # fmt: skip

# Addresses whose words depend on each other, in place of those by EXAMPLES; {c}, {d}, {l} stand for
# collection, dataset and layer. Addresses of /latest are those of /v1.
WHOLE: Mapping[str, Sequence[str]] = {
    "/zarr/{key:path}": (
        "/zarr/{c}/{d}/zarr.json",
        "/zarr/{c}/{d}/{l}/zarr.json",
        "/zarr/{c}/{d}/{l}/0/zarr.json",
        "/zarr/{c}/{d}/{l}/0/c/0/0/0",
    ),
    "/v1/coord/{frame}": ("/v1/coord/CF_{c}_{d}",),
    "/api/datasets/{collection}/{dataset}/{recording}/statistics/{variable}/{group}/{statistic}": (
        "/api/datasets/{c}/{d}/mouse/statistics/responses/all/mean",
    ),
    **{
        f"/v1/{what}/{{collection}}/{{experiment}}/{{channel}}/{{plane}}/{words}": (
            f"/v1/{what}/{{c}}/{{d}}/{{l}}/xy/{filled}",
        )
        for what, words, filled in (
            ("image", "{resolution}/{x}/{y}/{z}", "0/0:1/0:1/0"),
            ("image", "{resolution}/{x}/{y}/{z}/{t}", "0/0:1/0:1/0/0"),
            ("tile", "{size}/{resolution}/{x}/{y}/{z}", "16/0/0/0/0"),
            ("tile", "{size}/{resolution}/{x}/{y}/{z}/{t}", "16/0/0/0/0/0"),
        )
    },
}
# What an image is not asked for: that is 400.
UNFIT = ("/ids", "/boundingbox/", "/reserve/")

# Operations that read by another method than GET, and what is sent with them: a list of boxes is
# too long for an address.
READS: Mapping[tuple[str, str], bytes] = {
    (
        "POST",
        "/api/datasets/{collection}/{dataset}/{layer}/transform",
    ): b'{"points": [[0, 1, 2]]}',
    (
        "POST",
        "/api/datasets/{collection}/{dataset}/{layer}/cutouts",
    ): b'{"boxes": [[[0, 1], [0, 1], [0, 1]]]}',
    (
        "POST",
        "/api/datasets/{collection}/{dataset}/{recording}/trials/batch",
    ): b'{"trials": [0]}',
    (
        "POST",
        "/api/datasets/{collection}/{dataset}/{layer}/points",
    ): b'{"points": [[0, 0, 0]]}',
}
# What the layers of the tests do not have: of these it is looked at alone that nothing leaks.
NOT_THERE = ("/segment_properties/", "/annotations/")

_WORD = re.compile(r"\{(\w+)(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of an address.

    Parameters
    ----------
    method : str
    template : str
        As the route has it.
    url : str
        With examples, and {c}, {d}, {l} where collection, dataset and layer are to stand.
    """

    method: str
    template: str
    url: str

    def __str__(self) -> str:
        return f"{self.method} {self.url}"

    @property
    def of_dataset(self) -> bool:
        """It is about one dataset."""
        return "{d}" in self.url

    @property
    def of_collection(self) -> bool:
        """It is about one collection and no dataset in particular."""
        return "{c}" in self.url and not self.of_dataset

    @property
    def not_there(self) -> bool:
        """Nobody finds anything there."""
        return any(word in self.template for word in NOT_THERE)

    @property
    def unfit(self) -> bool:
        """It asks of labels."""
        return any(word in self.template for word in UNFIT)

    @property
    def writes(self) -> bool:
        """It changes something."""
        reads = (self.method, self.template) in READS
        return self.method not in ("GET", "HEAD", "OPTIONS") and not reads

    @property
    def body(self) -> bytes | None:
        """What is sent."""
        return READS.get((self.method, self.template))

    def address(self, dataset: str, layer: str = "neurons") -> str:
        """Return the address for a dataset."""
        collection, _, name = dataset.partition("/")
        filled = self.url.replace("{c}", collection).replace("{d}", name)
        return filled.replace("{l}", layer)


def operations(app: Any) -> list[Operation]:  # noqa: ANN401 - an app of any kind
    """Return every operation of an app.

    Raises
    ------
    LookupError
        A word in a path has no example.
    """
    found = {
        str(operation): operation
        for template, methods in _routes(app, "")
        for url in _fill(template)
        for operation in (Operation(method, template, url) for method in sorted(methods))
    }
    return list(found.values())


def _routes(app: Any, prefix: str) -> Iterator[tuple[str, set[str]]]:  # noqa: ANN401 - an app of any kind
    """Yield the routes of an app, of those mounted in it, and of what wraps either."""
    while not hasattr(app, "routes"):
        inner = [getattr(app, name) for name in ("_app", "app") if hasattr(app, name)]
        if not inner:
            return
        app = inner[0]
    for route in app.routes:
        if isinstance(route, Mount):
            yield from _routes(route.app, prefix + route.path)
        elif hasattr(route, "original_router"):
            yield from _routes(route.original_router, prefix + route.include_context.prefix)
        else:
            yield prefix + route.path, set(route.methods or ())


def _fill(template: str) -> Sequence[str]:
    prefix = "/latest" if template.startswith("/latest/") else "/v1"
    whole = WHOLE.get(template.replace(prefix, "/v1", 1))
    if whole is not None:
        return [url.replace("/v1", prefix, 1) for url in whole]
    return (_WORD.sub(lambda match: _example(template, match[1]), template),)


def _example(template: str, word: str) -> str:
    for names, stands in ((COLLECTION, "{c}"), (DATASET, "{d}"), (LAYER, "{l}")):
        if word in names:
            return stands
    if word not in EXAMPLES:
        raise LookupError(
            f"{template}: no example of {word!r}: add one to EXAMPLES, or the whole address to "
            "WHOLE, in tests/route_examples.py"
        )
    return EXAMPLES[word]
