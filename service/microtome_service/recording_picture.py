"""A recording at a glance: a frame of its film, and below it the responses of that trial."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microtome_core.errors import NotFound, TooLarge
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Trial
from microtome_service.reader import Limits
from microtome_service.recordings import NEURON
from microtome_service.trial_parts import Part, check_part
from microtome_service.trials import part_of

# Width over height of the whole, and of it what a film has where there are responses below.
ASPECT = 4 / 3
_FILM = 0.6
_GAP = 2
_NEURONS, _FRAMES = 160, 320
# From no response to a neuron's largest, as the page of a trial draws them.
_GOLD = np.array([(0, 0, 0), (68, 28, 6), (166, 84, 10), (236, 174, 52), (255, 248, 214)], float)
_UNKNOWN = (60, 60, 70)


@dataclass(frozen=True, slots=True)
class Glance:
    """What is read for a picture; what a recording lacks, or costs too much, is None."""

    film: Part | None
    raster: Part | None

    @property
    def parts(self) -> list[Part]:
        """Those that there are."""
        return [part for part in (self.film, self.raster) if part is not None]


def first_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return a trial of which all is there, if any is, else the first."""
    whole = (t for t in trials if all(p.state == "stored" for p in t.pieces.values()))
    return next(whole, next(iter(trials), None))


def choose_glance(recording: Recording, limits: Limits) -> Glance:
    """Return what to read of a recording.

    Raises
    ------
    NotFound
        It has neither film nor responses to show.
    TooLarge
        A frame, and the responses, cost more than a picture may.
    """
    trial = first_trial(recording.trials)
    wanted = [] if trial is None else list(_wanted(recording, trial))
    if not wanted:
        raise NotFound(f"recording {recording.id} has neither film nor responses to show")
    found: dict[str, Part] = {}
    for name, part in wanted:
        with suppress(TooLarge):
            check_part(part, limits)
            found.setdefault(name, part)
    if not found:
        check_part(wanted[0][1], limits)
    return Glance(found.get("film"), found.get("raster"))


def _wanted(recording: Recording, trial: Trial) -> Sequence[tuple[str, Part]]:
    wanted = []
    for name, facts in recording.variables.items():
        piece = trial.pieces[name]
        if piece.state != "stored" or not piece.valid or 0 in piece.shape[:-1]:
            continue
        if len(facts.axes) == 3:
            middle = piece.valid // 2
            wanted.append(("film", part_of(recording, trial.number, name, (middle, middle + 1))))
        elif len(facts.axes) == 2 and facts.axes[0] == NEURON:
            part = part_of(recording, trial.number, name, (0, min(piece.valid, _FRAMES)))
            rows = slice(0, min(piece.shape[0], _NEURONS))
            wanted.append(("raster", replace(part, rows=rows)))
    return wanted


def draw(film: NDArray[Any] | None, raster: NDArray[Any] | None, size: int) -> NDArray[np.uint8]:
    """Return the picture.

    Parameters
    ----------
    film : (y, x, 1) array, optional
    raster : (neuron, time) array, optional
    size : int
        Width in pixels; the height is by `ASPECT`, less where there is a film alone.

    Returns
    -------
    (rows, columns, 3) uint8
    """
    height = round(size / ASPECT)
    if film is None and raster is None:
        raise ValueError("nothing to draw")
    if raster is None:
        return _fitted(film, size, height)
    if film is None:
        return _resized(_gold(raster), (height, size))
    above = _fitted(film, size, round(_FILM * height))
    page = np.zeros((height, size, 3), np.uint8)
    left = (size - above.shape[1]) // 2
    page[: above.shape[0], left : left + above.shape[1]] = above
    top = above.shape[0] + _GAP
    page[top:] = _resized(_gold(raster), (height - top, size))
    return page


def _fitted(film: Any, width: int, height: int) -> NDArray[np.uint8]:  # noqa: ANN401 - an array
    """Return a frame in grey, of square pixels, within a box."""
    frame = np.asarray(film)[..., 0]
    if frame.dtype != np.uint8:
        frame = np.nan_to_num(_scaled(frame.astype(np.float32)) * 255).astype(np.uint8)
    factor = min(width / frame.shape[1], height / frame.shape[0])
    shape = tuple(max(1, round(n * factor)) for n in frame.shape)
    return _resized(np.repeat(frame[..., None], 3, axis=-1), (shape[0], shape[1]))


def _gold(raster: NDArray[Any]) -> NDArray[np.uint8]:
    """Return colours of a raster, each row against its own largest value: neurons differ so."""
    values = raster.astype(np.float32)
    known = np.isfinite(values)
    scaled = np.stack(
        [_scaled(np.where(k, row, np.nan)) for row, k in zip(values, known, strict=True)]
    )
    place = np.nan_to_num(scaled) * (len(_GOLD) - 1)
    steps = np.arange(len(_GOLD))
    colors = np.stack([np.interp(place, steps, _GOLD[:, i]) for i in range(3)], axis=-1)
    return np.where(known[..., None], colors, _UNKNOWN).astype(np.uint8)


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values from 0, the least, to 1, the largest; NaN stays."""
    values = np.where(np.isfinite(values), values, np.float32(np.nan))
    if not np.isfinite(values).any():
        return values
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scaled: NDArray[np.float32] = (values - low) / np.float32(max(high - low, 1e-30))
    return scaled


def _resized(picture: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = shape
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.array(image.resize((columns, rows), Image.Resampling.BOX))
