"""How often values occur in a layer, and a drawing of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.wire import Channel

BINS = 128
WIDTH, HEIGHT = 512, 120
_BAR = HEIGHT - 18
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the values of one channel.

    Parameters
    ----------
    channel : int
    low, high : float
        Smallest and largest value; `counts` are of bins of equal width between them.
    counts : tuple of int
    """

    channel: int
    low: float
    high: float
    counts: tuple[int, ...]


def histogram(block: NDArray[Any], channel: int) -> Histogram:
    """Count the values of a block; those that are no number are left out."""
    values = block.reshape(-1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return Histogram(channel, 0.0, 0.0, (0,) * BINS)
    low, high = float(values.min()), float(values.max())
    return Histogram(channel, low, high, tuple(_counts(values, low, high).tolist()))


def _counts(values: NDArray[Any], low: float, high: float) -> NDArray[np.int64]:
    """Return how many values lie in each bin; those of bins that have no width, in the first."""
    # A value alone is a bin's width of its own.
    top = high if high > low else low + 1
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(low, top, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        counts[0] = values.size
        return counts
    # In double precision: in single, edges close to each other are one.
    for first in range(0, values.size, _PIECE):
        piece = values[first : first + _PIECE].astype(np.float64)
        counts += np.histogram(piece, BINS, (low, top))[0]
    return counts


def draw(found: Sequence[Histogram], channels: Sequence[Channel]) -> str:
    """Return an SVG: for each channel the logarithm of its counts, in the channel's colour.

    Dashed lines are the values shown as black and as full colour, if one channel is drawn.
    """
    low = min(each.low for each in found)
    high = max(each.high for each in found)
    span = (high - low) or 1.0
    highest = max(log10(1 + max(each.counts)) for each in found) or 1.0
    outlines = [_outline(each, channels, low, span, highest) for each in found]
    words = (
        f'<text x="2" y="{HEIGHT - 4}">{low:.6g}</text>'
        f'<text x="{WIDTH - 2}" y="{HEIGHT - 4}" text-anchor="end">{high:.6g}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11" '
        f'fill="#bbb"><rect width="{WIDTH}" height="{HEIGHT}" fill="#000"/>'
        f'{"".join(outlines)}<path d="M0 {_BAR}.5H{WIDTH}" stroke="#666"/>{words}</svg>'
    )


def _outline(
    each: Histogram, channels: Sequence[Channel], low: float, span: float, highest: float
) -> str:
    color = channels[each.channel].color if each.channel < len(channels) else "FFFFFF"
    first = (each.low - low) / span * WIDTH
    width = ((each.high - each.low) / span * WIDTH or WIDTH / BINS) / BINS
    steps = "".join(
        f"V{_BAR * (1 - log10(1 + count) / highest):.1f}h{width:.2f}" for count in each.counts
    )
    shape = (
        f'<path d="M{first:.1f} {_BAR}{steps}V{_BAR}z" fill="#{color}" fill-opacity="0.5" '
        f'stroke="#{color}"/>'
    )
    return shape + _window(channels[each.channel], low, span) if channels else shape


def _window(channel: Channel, low: float, span: float) -> str:
    lines = [f"M{(value - low) / span * WIDTH:.1f} 0V{_BAR}" for value in channel.window]
    return f'<path d="{"".join(lines)}" stroke="#{channel.color}" stroke-dasharray="3 4"/>'
