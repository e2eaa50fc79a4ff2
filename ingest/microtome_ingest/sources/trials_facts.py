"""What a trial folder says beside its videos: tiers, neurons, statistics, the other groups."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.sources.trials_tree import MOST_META, Tree, array_of, header_of

VIDEOS = "videos"
_TIERS = "meta/trials/tiers.npy"
# Arrays of more numbers are told by shape and range.
_MOST_NUMBERS = 64
_RATES = ("frame_rate", "framerate", "fps")
_MOST_NAMES = 12


def notes_of(tree: Tree, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Say which groups hold no images, and where trials are missing."""
    videos = set(groups[VIDEOS])
    notes = []
    for group, trials in groups.items():
        if group == VIDEOS:
            continue
        shape, dtype = header_of(tree, f"data/{group}/{trials[0]}.npy")
        extents = " × ".join(map(str, shape))
        notes.append(
            f"data/{group} holds {len(trials)} arrays that are no images ({extents} {dtype} in "
            f"trial {trials[0]}): they stay where they are"
        )
        for word, odd in (("lacks", videos - {*trials}), ("has besides", {*trials} - videos)):
            if odd:
                listing = ", ".join(sorted(odd, key=_number)[:_MOST_NAMES])
                notes.append(
                    f"data/{group} has {len(trials)} files, data/{VIDEOS} {len(videos)}: "
                    f"it {word} {listing}"
                )
    return tuple(notes)


def metadata_of(
    tree: Tree, groups: Mapping[str, tuple[str, ...]], trial: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what is known of a trial and its folder, JSON-able, and what could not be read."""
    meta, notes = _meta(tree)
    tiers = meta.pop(_TIERS, None)
    facts: dict[str, Any] = {
        "trial": trial,
        "groups": {group: _group(tree, group, trials, trial) for group, trials in groups.items()},
        "meta": {name.removeprefix("meta/"): value for name, value in meta.items()},
    }
    if isinstance(tiers, np.ndarray) and tiers.ndim == 1:
        facts["tiers"] = dict(Counter(map(str, tiers.tolist())))
        if trial.isdigit() and int(trial) < len(tiers):
            facts["tier"] = str(tiers[int(trial)])
    config = _config(tree)
    if config is not None:
        facts["config.json"] = config
    return facts, notes


def time_step(facts: Mapping[str, Any]) -> float | None:
    """Return the seconds between frames where a file says how many come a second."""
    config = facts.get("config.json")
    if not isinstance(config, dict):
        return None
    rates = [config.get(name) for name in _RATES]
    good = [r for r in rates if isinstance(r, int | float) and not isinstance(r, bool) and r > 0]
    return 1 / good[0] if good and math.isfinite(good[0]) else None


def _group(tree: Tree, group: str, trials: tuple[str, ...], trial: str) -> dict[str, Any]:
    found: dict[str, Any] = {"files": len(trials)}
    if trial in trials:
        shape, dtype = header_of(tree, f"data/{group}/{trial}.npy")
        found |= {"shape": list(shape), "dtype": str(dtype)}
    return found


def _meta(tree: Tree) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return every array below ``meta``, large ones by shape and range, and notes on the rest."""
    found: dict[str, Any] = {}
    notes = []
    for name in tree.names():
        if not name.startswith("meta/"):
            continue
        try:
            values = array_of(tree, name)
            found[name] = values if name == _TIERS else _told(values)
        except SourceError as error:
            notes.append(f"{name} is not read: {error.reason}")
    return found, tuple(notes)


def _told(values: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 - JSON of any depth
    if values.size <= _MOST_NUMBERS and values.dtype.kind in "biufUS":
        return _plain(values.tolist())
    told: dict[str, Any] = {"shape": list(values.shape), "dtype": str(values.dtype)}
    if values.dtype.kind in "iuf":
        whole = values[np.isfinite(values)]
        if whole.size:
            told |= {"min": whole.min().item(), "max": whole.max().item()}
    return told


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON of any depth
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _config(tree: Tree) -> Any:  # noqa: ANN401 - JSON of any depth
    if "config.json" not in tree.names():
        return None
    try:
        return json.loads(tree.read("config.json", MOST_META), parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _number(trial: str) -> tuple[int, str]:
    return (int(trial), trial) if trial.isdigit() and len(trial) < 19 else (0, trial)
