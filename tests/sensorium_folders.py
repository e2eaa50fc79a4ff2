"""Folders of trials as of the Sensorium challenge, made from a seed.

Layout: ``data/{videos,responses,behavior,pupil_center}/<n>.npy``, time last, NaN at the end;
``meta/trials/tiers.npy``, ``meta/neurons/*.npy``, ``meta/statistics/<group>/all/*.npy``. Responses
of test tiers are zeros.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIERS = (
    ("train", 0.66),
    ("oracle", 0.08),
    ("live_test_main", 0.08),
    ("live_test_bonus", 0.06),
    ("final_test_main", 0.06),
    ("final_test_bonus", 0.06),
)
STATISTICS = ("mean", "std", "median", "min", "max")
# Neurons of each of ten mice: 7,440 to 8,285, 78,853 in all.
TEN_MICE = (7863, 7908, 8202, 7939, 8122, 7440, 7928, 8285, 7671, 7495)


@dataclass(frozen=True, slots=True)
class Mouse:
    """What a folder is like.

    Parameters
    ----------
    neurons, trials : int
    height, width : int
        Of the videos.
    longest : int
        Frames of every array, the padding included.
    shortest : int
        Frames that are no padding, at least.
    seed : int
    """

    neurons: int = 12
    trials: int = 14
    height: int = 6
    width: int = 8
    longest: int = 30
    shortest: int = 20
    seed: int = 7

    def valid(self) -> list[int]:
        """Return how many frames of each trial are no padding; one is not padded at all."""
        draw = np.random.default_rng([self.seed, 1])
        found = draw.integers(self.shortest, self.longest + 1, self.trials).tolist()
        found[0] = self.longest
        return [int(length) for length in found]

    def tiers(self) -> list[str]:
        """Return the tier of each trial, every one at least once where there is room."""
        named: list[str] = []
        for name, share in TIERS[1:]:
            named += [name] * max(1, round(share * self.trials))
        named = ["train"] * max(1, self.trials - len(named)) + named
        draw = np.random.default_rng([self.seed, 2])
        return [str(tier) for tier in draw.permutation(named[: self.trials])]


FULL = Mouse(neurons=7863, trials=60, height=36, width=64, longest=324, shortest=300)


def arrays_of(mouse: Mouse, trial: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a trial by group, padded."""
    draw = np.random.default_rng([mouse.seed, 3, trial])
    valid, tier = mouse.valid()[trial], mouse.tiers()[trial]
    videos = np.full((mouse.height, mouse.width, mouse.longest), np.nan, np.float32)
    videos[..., :valid] = draw.integers(0, 256, (mouse.height, mouse.width, valid))
    responses = np.full((mouse.neurons, mouse.longest), np.nan, np.float32)
    # Deconvolved traces: mostly near zero, now and then an event.
    active = draw.gamma(0.3, 4.0, (mouse.neurons, valid)).astype(np.float32)
    responses[:, :valid] = 0 if "test" in tier else active
    behavior = np.full((2, mouse.longest), np.nan)
    behavior[:, :valid] = draw.normal([[20.0], [3.0]], [[4.0], [2.0]], (2, valid))
    center = np.full((2, mouse.longest), np.nan)
    center[:, :valid] = draw.normal([[60.0], [40.0]], 5.0, (2, valid))
    # Gaps within a trial are data.
    if valid > 10:
        center[:, 4:7] = np.nan
    return {"videos": videos, "responses": responses, "behavior": behavior, "pupil_center": center}


def files_of(mouse: Mouse) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of a folder, one trial after another."""
    for trial in range(mouse.trials):
        for group, values in arrays_of(mouse, trial).items():
            yield f"data/{group}/{trial}.npy", npy(values)
    draw = np.random.default_rng([mouse.seed, 4])
    yield "meta/trials/tiers.npy", npy(np.array(mouse.tiers()))
    yield "meta/neurons/unit_ids.npy", npy(draw.permutation(mouse.neurons * 3)[: mouse.neurons])
    motor = draw.uniform(-500, 500, (mouse.neurons, 3)).round(1)
    yield "meta/neurons/cell_motor_coordinates.npy", npy(motor)
    yield "meta/neurons/fields.npy", npy(draw.integers(1, 5, mouse.neurons).astype(np.int16))
    yield from _statistics(mouse)
    yield "config.json", json.dumps({"mouse": mouse.seed, "frame_rate": 30}, indent=2).encode()


def _statistics(mouse: Mouse) -> Iterator[tuple[str, bytes]]:
    """Yield the statistics of the training tier, a group at a time."""
    chosen = [trial for trial, tier in enumerate(mouse.tiers()) if tier == "train"]
    for group in ("videos", "responses", "behavior", "pupil_center"):
        kept = [arrays_of(mouse, trial)[group][..., : mouse.valid()[trial]] for trial in chosen]
        for name in STATISTICS:
            if group == "videos":
                value = _statistic(name, [one.reshape(1, -1) for one in kept])[0]
            else:
                value = _statistic(name, kept)
            yield f"meta/statistics/{group}/all/{name}.npy", npy(np.asarray(value))


def _statistic(name: str, trials: list[NDArray[Any]]) -> NDArray[Any]:
    """Return a statistic of each row over all trials, a few rows at a time."""
    function = getattr(np, f"nan{name}")
    found = []
    for row in range(0, len(trials[0]), 500):
        joined = np.concatenate([one[row : row + 500] for one in trials], -1)
        found.append(function(joined.astype(np.float64), axis=-1))
    return np.concatenate(found)


def npy(values: NDArray[Any]) -> bytes:
    """Return an NPY file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def loaded(content: bytes) -> NDArray[Any]:
    """Return the array of an NPY file."""
    values: NDArray[Any] = np.load(io.BytesIO(content))
    return values


def write_folder(folder: Path, mouse: Mouse, changes: Mapping[str, bytes | None] = {}) -> Path:
    """Write a folder; `changes` are files that are others, or None for those left out."""
    for name, content in _changed(mouse, changes):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_zip(
    path: Path,
    mouse: Mouse,
    method: int = zipfile.ZIP_DEFLATED,
    changes: Mapping[str, bytes | None] = {},
) -> Path:
    """Write the same into a zip file, below a folder of its own."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in _changed(mouse, changes):
            archive.writestr(f"mouse-{mouse.seed}/{name}", content)
    return path


def _changed(mouse: Mouse, changes: Mapping[str, bytes | None]) -> Iterator[tuple[str, bytes]]:
    left = dict(changes)
    for name, content in files_of(mouse):
        found = left.pop(name, content)
        if found is not None:
            yield name, found
    yield from ((name, content) for name, content in left.items() if content is not None)
