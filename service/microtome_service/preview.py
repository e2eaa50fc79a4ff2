"""A slice of a layer as a page shows it: which tile, and how its channels look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite

import numpy as np

from microtome_core.errors import InputError
from microtome_core.wire import LayerInfo
from microtome_service.appearance import channel_count, default_appearance
from microtome_service.pages import unit_symbol
from microtome_service.planes import PLANES, PlaneName, planes_of

TILE = 1024
# A page has no room for the contrast of more channels than these.
_MOST = 16
_STEPS = 512
# Fields of the form that may be given once for each channel.
REPEATED = ("show", "low", "high")


@dataclass(frozen=True, slots=True)
class Slider:
    """A field of the form: the axis that it moves along, where it is, of how many.

    Parameters
    ----------
    step : float
        Length of a voxel of the level, in `unit`.
    """

    name: str
    axis: str
    value: int
    count: int
    step: float
    unit: str


@dataclass(frozen=True, slots=True)
class ChannelForm:
    """How one channel is shown, and between which values its contrast may be moved."""

    index: int
    name: str
    color: str
    shown: bool
    low: float
    high: float
    least: float
    most: float
    step: float


@dataclass(frozen=True, slots=True)
class Preview:
    """A slice.

    Parameters
    ----------
    tile : str
        Address of the picture, with ``{index}`` and ``{t}`` where these stand.
    look : str
        The rest of its query: which channels, between which values.
    whole : bool
        Whether the tile holds the whole plane, rather than its first corner.
    """

    plane: PlaneName
    planes: tuple[PlaneName, ...]
    level: int
    sliders: tuple[Slider, ...]
    index: int
    t: int
    channels: tuple[ChannelForm, ...]
    tile: str
    look: str
    whole: bool

    @property
    def src(self) -> str:
        """Address of the picture."""
        return self.tile.format(index=self.index, t=self.t) + self.look


def preview(
    info: LayerInfo,
    api: str,
    plane: PlaneName,
    index: int | None,
    t: int | None,
    given: Mapping[str, Sequence[str]],
) -> Preview:
    """Return what is shown: one tile of the finest level of which it holds the whole plane.

    Parameters
    ----------
    api : str
        Address of the layer's JSON.
    plane : str
        ``xy`` where the layer has no such plane.
    index, t : int, optional
        The middle by default, the last where there are not so many.
    given : mapping
        What the form says of channels, by the names of `REPEATED`.

    Raises
    ------
    InputError
        A number that cannot be read.
    """
    plane = plane if plane in planes_of(info.axes) else "xy"
    view = PLANES[plane]
    shapes = [dict(zip(info.axes, level.shape, strict=True)) for level in info.levels]
    fitting = [i for i, s in enumerate(shapes) if max(s[view.rows], s[view.columns]) <= TILE]
    level = fitting[0] if fitting else len(shapes) - 1
    at, when = _slider(info, level, "index", view.normal, index), _slider(info, level, "t", "t", t)
    channels = _channels(info, given)
    extension = "png" if info.kind == "labels" else "webp"
    tile = f"{api}/tiles/{plane}/{level}/{{index}}/0/0.{extension}?size={TILE}"
    return Preview(
        plane,
        planes_of(info.axes) if shapes[0].get("z", 1) > 1 else ("xy",),
        level,
        tuple(slider for slider in (at, when) if slider.count > 1),
        at.value,
        when.value,
        channels,
        tile + ("&t={t}" if "t" in info.axes else ""),
        _look(channels, given),
        bool(fitting),
    )


def _slider(info: LayerInfo, level: int, name: str, axis: str, wanted: int | None) -> Slider:
    if axis not in info.axes:
        return Slider(name, axis, 0, 1, 1.0, "")
    place = info.axes.index(axis)
    count = info.levels[level].shape[place]
    value = min(count // 2 if wanted is None else wanted, count - 1)
    step, unit = info.levels[level].scale[place], unit_symbol(info.units[place])
    return Slider(name, axis, value, count, step, unit)


def _channels(info: LayerInfo, given: Mapping[str, Sequence[str]]) -> tuple[ChannelForm, ...]:
    if info.kind == "labels":
        return ()
    look = default_appearance(info)
    lows, highs = (_numbers(name, given.get(name, ())) for name in ("low", "high"))
    asked = [int(n) for n in _numbers("show", given.get("show", ()))]
    shown = set(asked) if asked else set(look.channels)
    forms = []
    for number in range(min(channel_count(info), _MOST)):
        window = info.channels[number].window if number < len(info.channels) else (0.0, 0.0)
        default = look.shown[min(number, len(look.shown) - 1)]
        low, high = window if window[0] < window[1] else default.window
        least, most = _reach(info.dtype, low, high)
        now_low = lows[number] if number < len(lows) else low
        now_high = highs[number] if number < len(highs) else high
        channel = info.channels[number] if number < len(info.channels) else None
        forms.append(
            ChannelForm(
                number,
                channel.name if channel else str(number),
                channel.color if channel else default.color,
                number in shown,
                now_low,
                max(now_high, now_low + (most - least) / _STEPS),
                least,
                most,
                _step(info.dtype, most - least),
            )
        )
    return tuple(forms)


def _reach(dtype: str, low: float, high: float) -> tuple[float, float]:
    """Return between which values contrast is chosen: twice the window, within the type."""
    span = high - low
    if np.dtype(dtype).kind == "f":
        return low - span / 2, high + span
    limits = np.iinfo(dtype)
    # Bounded first: sums of what other software wrote may be more than any number.
    least = float(floor(max(limits.min, low - span / 2)))
    most = float(ceil(min(limits.max, high + span)))
    return min(0.0, least) if limits.min == 0 else least, most


def _step(dtype: str, span: float) -> float:
    return span / _STEPS if np.dtype(dtype).kind == "f" else max(1.0, float(round(span / _STEPS)))


def _numbers(name: str, words: Sequence[str]) -> list[float]:
    try:
        found = [float(word) for word in words[:64]]
    except ValueError:
        found = [float("nan")]
    if not all(map(isfinite, found)):
        raise InputError(f"{name}={','.join(words)[:80]!r}: expected numbers")
    return found


def _look(channels: Sequence[ChannelForm], given: Mapping[str, Sequence[str]]) -> str:
    """Return the words of a tile's query; none where nothing was chosen."""
    shown = [channel for channel in channels if channel.shown]
    if not any(given.get(name) for name in REPEATED) or not shown:
        return ""
    numbers = ",".join(str(channel.index) for channel in shown)
    windows = ",".join(f"{_word(c.low)}:{_word(c.high)}" for c in shown)
    return f"&channels={numbers}&window={windows}"


def _word(value: float) -> str:
    """Return a number for an address: all digits, as fewer may make of two values one.

    >>> _word(1000001.0), _word(3e20)
    ('1000001', '3e20')
    """
    # A plus is a blank there.
    return f"{value:.15g}".replace("+", "")
