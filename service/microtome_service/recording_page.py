"""What the page of a recording shows."""

from typing import Any

from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece
from microtome_service.documents import recording_links
from microtome_service.recordings import describe_recording
from microtome_service.trials import choose_trials

_ROWS = 100


def recording_page(
    base: str, host: str, recording: Recording, tier: str | None, offset: int
) -> dict[str, Any]:
    """Return the values of the template; raises as `choose_trials`."""
    chosen = choose_trials(recording, tier)
    names = list(recording.variables)
    rows = [
        (trial.number, trial.tier, [_cell(trial.pieces[name]) for name in names])
        for trial in chosen[offset : offset + _ROWS]
    ]
    return {
        "info": describe_recording(recording),
        "links": recording_links(base, recording),
        "host": host,
        "names": names,
        "rows": rows,
        "tier": tier,
        "offset": offset,
        "limit": _ROWS,
        "total": len(chosen),
    }


def _cell(piece: Piece) -> int | str:
    return piece.valid if piece.state == "stored" else piece.state
