"""What the page of a recording shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece, Trial
from microtome_core.trials import VariableInfo
from microtome_service.documents import recording_links
from microtome_service.recording_picture import first_trial
from microtome_service.recordings import NEURON, describe_recording
from microtome_service.trials import check_trial, choose_trials

_ROWS = 100
# Bytes of one variable that a browser is given for a look, and rows of neurons.
_MOST_BYTES = 48_000_000
_NEURONS = 256
_TRACES = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """How a variable of a trial is drawn.

    Parameters
    ----------
    role : str
        ``film``, ``raster`` or ``traces``.
    rows : tuple of str
        Names of the lines of ``traces``.
    neurons, frames : int
        How many are drawn; 0 for all.
    state : str
        ``stored``, or why there is nothing to draw.
    """

    name: str
    role: str
    rows: tuple[str, ...]
    neurons: int
    frames: int
    unit: str
    state: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One trial to be played."""

    number: int
    tier: str
    frames: int
    rate: float
    shown: tuple[Shown, ...]


def recording_page(
    base: str,
    host: str,
    recording: Recording,
    tier: str | None,
    offset: int,
    trial: int | None = None,
) -> dict[str, Any]:
    """Return the values of the template; raises as `choose_trials` and `check_trial`."""
    chosen = choose_trials(recording, tier)
    names = list(recording.variables)
    rows = [
        (each.number, each.tier, [_cell(each.pieces[name]) for name in names])
        for each in chosen[offset : offset + _ROWS]
    ]
    info = describe_recording(recording)
    played = check_trial(recording, trial) if trial is not None else first_trial(chosen)
    return {
        "info": info,
        "links": recording_links(base, recording),
        "host": host,
        "names": names,
        "rows": rows,
        "tier": tier,
        "offset": offset,
        "limit": _ROWS,
        "total": len(chosen),
        "stage": None if played is None else _stage(played, info.variables),
        "trials": [each.number for each in recording.trials],
    }


def _cell(piece: Piece) -> int | str:
    return piece.valid if piece.state == "stored" else piece.state


def _stage(trial: Trial, variables: Iterable[VariableInfo]) -> Stage:
    found = list(variables)
    shown = [_shown(each, trial.pieces[each.name]) for each in found]
    stored = [p.valid for p in trial.pieces.values() if p.state == "stored"]
    order = {"film": 0, "raster": 1, "traces": 2}
    return Stage(
        trial.number,
        trial.tier or "",
        max(stored, default=1) or 1,
        next((each.rate for each in found if each.rate), 0.0) or 0.0,
        tuple(sorted(shown, key=lambda each: order[each.role])),
    )


def _shown(variable: VariableInfo, piece: Piece) -> Shown:
    axes, extents = variable.axes, [n or 1 for n in variable.shape]
    if len(axes) == 3:
        role, count = "film", prod(extents[:2])
    elif axes[0] == NEURON:
        role, count = "raster", min(extents[0], _NEURONS)
    else:
        role, count = "traces", extents[0]
    frames = max(1, _MOST_BYTES // (count * np.dtype(variable.dtype or "float64").itemsize))
    names = variable.rows or tuple(f"{axes[0]} {i}" for i in range(extents[0]))
    return Shown(
        variable.name,
        role,
        tuple(names[:_TRACES]) if role == "traces" else (),
        count if role == "raster" else 0,
        frames if piece.valid > frames else 0,
        variable.unit or "",
        piece.state,
    )
