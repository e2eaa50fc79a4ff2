"""Which frames a video has, in which order they are shown and from which packets they come.

Frames are counted, never taken from a header: by their packets where each gives one frame at a
presentation time of its own, else by decoding all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError

# More times than that would make a layer's metadata larger than its voxels.
_MOST_TIMES = 100_000


@dataclass(frozen=True, slots=True)
class Packet:
    """A compressed frame as its container tells of it."""

    pts: int | None
    dts: int | None
    size: int
    key: bool
    shown: bool


class Index:
    """The frames of a video.

    Parameters
    ----------
    packets : sequence of Packet
        In the order in which they are decoded.
    order : sequence of int, optional
        Times at which the decoder gives its frames, where it was asked; packets tell otherwise.
    """

    def __init__(
        self, packets: Sequence[Packet], order: Sequence[int | None] | None = None
    ) -> None:
        self.packets = packets
        self.counted = order
        times = [packet.pts for packet in packets if packet.shown]
        known = [time for time in times if time is not None]
        self.told = len(known) == len(times) == len(set(known))
        self._times = np.sort(np.asarray(known if self.told else [], "int64"))

    def __len__(self) -> int:
        return len(self._times) if self.counted is None else len(self.counted)

    @property
    def times(self) -> NDArray[np.int64] | None:
        """When each frame is shown, in ticks; None where nobody knows."""
        if self.counted is None:
            return self._times if self.told else None
        known = [time for time in self.counted if time is not None]
        rising = len(known) == len(self.counted) and all(a < b for a, b in pairwise(known))
        return np.asarray(known, "int64") if rising else None

    def number(self, pts: int | None) -> int | None:
        """Return which frame is shown at a time."""
        if pts is None:
            return None
        i = int(np.searchsorted(self._times, pts))
        return i if i < len(self._times) and self._times[i] == pts else None

    @cached_property
    def _place(self) -> dict[int | None, int]:
        """Return where in the order of decoding the packet of each time is."""
        return {packet.pts: i for i, packet in enumerate(self.packets)}

    @cached_property
    def _keys(self) -> list[int]:
        return [i for i, packet in enumerate(self.packets) if packet.key]

    def place(self, pts: int | None) -> int | None:
        """Return where in the order of decoding a packet is."""
        return self._place.get(pts)

    def starts(self, frame: int) -> list[int]:
        """Return from which packets a frame can be decoded, the nearest first, the first last."""
        if self.counted is not None:
            return [0]
        pts = int(self._times[frame])
        last = self._place[pts]
        at = int(np.searchsorted(self._keys, last, side="right"))
        # What is shown before a key frame but decoded after it leans on the one before.
        good = [k for k in self._keys[max(0, at - 4) : at] if (self.packets[k].pts or 0) <= pts]
        return [*reversed(good[-2:]), *([] if good[-2:][:1] == [0] else [0])]

    def key_before(self, frame: int) -> int:
        """Return the frame of the key packet from which a frame is decoded."""
        place = self.starts(frame)[0]
        return self.number(self.packets[place].pts) or 0

    @property
    def group(self) -> int:
        """How many frames, at most, lie between two key frames."""
        if self.counted is not None:
            return len(self)
        edges = [*self._keys, len(self.packets)]
        return max((b - a for a, b in pairwise(edges)), default=len(self.packets))


@dataclass(frozen=True, slots=True)
class Times:
    """When frames are shown.

    Parameters
    ----------
    step : float, optional
        Seconds between any two, where they are even.
    points : tuple of float
        Seconds since the first, where they are not.
    notes : tuple of str
    """

    step: float | None = None
    points: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


def times_of(
    index: Index, tick: Fraction, rates: Sequence[Fraction | None], *, fixed: bool
) -> Times:
    """Tell whether frames are even in time: each within a tick of where a fixed step puts it.

    Parameters
    ----------
    index : Index
    tick : Fraction
        Seconds.
    rates : sequence of Fraction
        Frames a second, as the header says; believed where the frames agree.
    fixed : bool
        The format has one rate by definition, the first.
    """
    ticks = index.times
    if len(index) < 2:
        return Times()
    if ticks is None and fixed and rates[0]:
        return Times(step=float(1 / rates[0]))
    if ticks is None:
        return Times(notes=("its packets do not say when frames are shown: no time step",))
    ticks = ticks - ticks[0]
    mean = tick * Fraction(int(ticks[-1]), len(ticks) - 1)
    for step in (*[1 / rate for rate in rates if rate], mean):
        even = np.arange(len(ticks)) * float(step / tick)
        if np.all(np.abs(ticks - even) <= 1.001):
            return Times(step=float(step))
    if len(ticks) > _MOST_TIMES:
        return Times(notes=(f"times are uneven; {len(ticks)} of them are too many to keep",))
    seconds = tuple((ticks * float(tick)).tolist())
    gaps = np.diff(ticks) * float(tick)
    note = (
        f"frames are not even in time ({gaps.min():.4g} to {gaps.max():.4g} s apart): "
        "their times are kept in the metadata, as time_points"
    )
    return Times(points=seconds, notes=(note,))


def check_count(path: str, packets: Sequence[Packet], entries: int, told: int) -> tuple[str, ...]:
    """Compare the packets that are there with the container's own index and header.

    Raises
    ------
    SourceError
        Fewer than the index has, or none.
    """
    count = len(packets)
    if count < entries:
        raise SourceError(path, f"holds {count} of the {entries} frames in its index: truncated")
    if not any(packet.shown for packet in packets):
        raise SourceError(path, "holds no frames: empty or truncated")
    if told and told != count:
        return (f"its header tells of {told} frames, but there are {count}",)
    return ()


def packet_of(found: Any) -> Packet:  # noqa: ANN401 - a packet of PyAV
    """Return what is kept of a packet."""
    shown = not found.is_discard
    return Packet(found.pts, found.dts, found.size, found.is_keyframe, shown)
