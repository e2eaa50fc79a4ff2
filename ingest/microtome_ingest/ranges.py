"""Which requests to make for many ranges: near ones together, long ones in parts, in batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fsspec.utils import merge_offset_ranges

# A longer range is asked for in parts, several at once.
PART = 8 << 20
# Bytes that are fetched along between two ranges, since a request costs more: so many always, and
# so many as long as they do not outweigh what was asked for by more than this.
_GAP, _MOST_GAP = 4 << 10, 64 << 10
_MOST_WASTE = 8
# Bytes asked for at the same time.
IN_FLIGHT = 64 << 20


class Span(NamedTuple):
    """Bytes `start` to `stop` of the file `path`."""

    path: str
    start: int
    stop: int


class Part(NamedTuple):
    """A span, or as much of it as one request brings; `number` counts the spans."""

    path: str
    start: int
    stop: int
    number: int


@dataclass(frozen=True, slots=True)
class Request:
    """A range to ask for, and the parts in it."""

    path: str
    start: int
    stop: int
    parts: list[Part] = field(default_factory=list)

    def cut(self, data: memoryview) -> Iterator[tuple[Part, memoryview]]:
        """Yield every part with its bytes, copied where most of `data` was not asked for."""
        sparse = sum(p.stop - p.start for p in self.parts) * 2 < len(data)
        for part in self.parts:
            view = data[part.start - self.start : part.stop - self.start]
            yield part, memoryview(bytes(view)) if sparse else view


def requests(spans: Sequence[Span]) -> list[Request]:
    """Return what to ask for so that every span is covered.

    Examples
    --------
    >>> near = [Span("a", 0, 100), Span("a", 150, 300), Span("a", 1 << 20, (1 << 20) + 8)]
    >>> [(request.start, request.stop) for request in requests(near)]
    [(0, 300), (1048576, 1048584)]
    """
    parts = sorted(part for i, span in enumerate(spans) for part in _parts(span, i))
    if not parts:
        return []
    mean = sum(part.stop - part.start for part in parts) // len(parts)
    merged = merge_offset_ranges(
        [part.path for part in parts],
        [part.start for part in parts],
        [part.stop for part in parts],
        max_gap=max(_GAP, min(_MOST_GAP, _MOST_WASTE * mean)),
        max_block=PART,
        sort=False,
    )
    return list(_filled(map(Request, *merged), parts))


def batches(asked: Iterable[Request], limit: int = IN_FLIGHT) -> Iterator[list[Request]]:
    """Yield requests in groups of no more than `limit` bytes, one at least."""
    group: list[Request] = []
    size = 0
    for request in asked:
        length = request.stop - request.start
        if group and size + length > limit:
            yield group
            group, size = [], 0
        group.append(request)
        size += length
    if group:
        yield group


def _parts(span: Span, index: int) -> Iterator[Part]:
    for start in range(span.start, span.stop, PART):
        yield Part(span.path, start, min(start + PART, span.stop), index)


def _filled(asked: Iterator[Request], parts: Iterable[Part]) -> Iterator[Request]:
    """Yield each request with its parts; both are in the same order."""
    request = next(asked)
    for part in parts:
        while part.path != request.path or part.stop > request.stop:
            yield request
            request = next(asked)
        request.parts.append(part)
    yield request
