"""How a request wants channels shown, over what the layer says of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from microtome_core.errors import InputError
from microtome_core.looks import default_channel, value_range
from microtome_core.wire import LayerInfo
from microtome_service.render import Blend, Shown

# What is shown unasked: more channels than this are mud.
_MOST_UNASKED = 6
_MOST = 32
_T = TypeVar("_T")
_COLOR = re.compile(r"[0-9A-Fa-f]{6}")


@dataclass(frozen=True, slots=True)
class Appearance:
    """Channels by index, how each is shown, and how they are put together.

    Parameters
    ----------
    channels : tuple of int
    shown : tuple of Shown
        One for each channel.
    gamma : float
    blend : str
        ``additive`` or ``max``.
    """

    channels: tuple[int, ...]
    shown: tuple[Shown, ...]
    gamma: float
    blend: Blend


def default_appearance(info: LayerInfo) -> Appearance:
    """Return what a layer looks like unasked."""
    return choose_appearance(info, None, (), (), 1.0, "additive")


def choose_appearance(
    info: LayerInfo,
    channels: str | None,
    windows: Sequence[str],
    colors: Sequence[str],
    gamma: float,
    blend: Blend,
) -> Appearance:
    """Read a request's words; each list may have one entry for all, or one a channel.

    Parameters
    ----------
    info : LayerInfo
    channels : str, optional
        ``0,2``; without it the first six, of labels the first.
    windows : sequence of str
        ``0:4095``, each of them perhaps several with commas between.
    colors : sequence of str
        ``RRGGBB``, likewise.

    Raises
    ------
    InputError
        A word that cannot be read, a list of another length, or either list for labels.
    """
    if info.kind == "labels" and (windows or colors):
        raise InputError("labels have no window and no color: each id has a colour of its own")
    # Ids of several channels cannot be put together: labels show one.
    unasked = 1 if info.kind == "labels" else _MOST_UNASKED
    numbers = _channels(channels, channel_count(info), unasked)
    defaults = [_default(info, number) for number in numbers]
    windows_given = _spread("window", [_window(w) for w in _words(windows)], len(numbers))
    colors_given = _spread("color", [_color(w) for w in _words(colors)], len(numbers))
    shown = tuple(
        Shown(color or one.color, window or one.window)
        for one, window, color in zip(defaults, windows_given, colors_given, strict=True)
    )
    return Appearance(tuple(numbers), shown, gamma, blend)


def channel_count(info: LayerInfo) -> int:
    """Return the extent of axis c, 1 where there is none."""
    return dict(zip(info.axes, info.shape, strict=True)).get("c", 1)


def _channels(text: str | None, count: int, unasked: int) -> list[int]:
    if text is None:
        return list(range(min(count, unasked)))
    words = text.split(",")
    if len(words) > _MOST or not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise InputError(f"channels={text[:80]!r}: expected for example 0,2 and at most {_MOST}")
    numbers = [int(word) for word in words]
    if max(numbers) >= count:
        raise InputError(f"channel {max(numbers)} is out of bounds: valid is 0 to {count - 1}")
    return numbers


def _default(info: LayerInfo, number: int) -> Shown:
    """Return the layer's own way; where there is none, over all that the type can hold."""
    known = number < len(info.channels)
    channel = info.channels[number] if known else default_channel(number, info.dtype)
    low, high = channel.window
    return Shown(channel.color, (low, high) if low < high else value_range(info.dtype))


def _words(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in text.split(",")]


def _window(word: str) -> tuple[float, float]:
    low, _, high = word.partition(":")
    try:
        window = float(low), float(high)
    except ValueError:
        window = (0.0, 0.0)
    # The width of the narrowest ones has no reciprocal.
    if not (all(map(isfinite, window)) and window[1] - window[0] > 1e-300):
        raise InputError(f"window={word[:80]!r}: expected LOW:HIGH such as 0:4095, LOW < HIGH")
    return window


def _color(word: str) -> str:
    if not _COLOR.fullmatch(word):
        raise InputError(f"color={word[:40]!r}: expected RRGGBB such as 00FF00")
    return word.upper()


def _spread(what: str, given: list[_T], count: int) -> list[_T | None]:
    """Give each channel its own of what was given: one for all, one each, or none."""
    if len(given) not in (0, 1, count):
        raise InputError(f"{len(given)} of {what} for {count} channels: expected 1 or {count}")
    return [*given] * count if len(given) == 1 else [*given] or [None] * count
