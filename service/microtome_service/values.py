"""Values over time in the formats of arrays and tables.

=========  ===============================  =======================================================
format     media type                       body
=========  ===============================  =======================================================
``npy``    ``application/x-npy``            NumPy's .npy, version 1.0
``raw``    ``application/octet-stream``     little-endian values in C order, nothing else
``npz``    ``application/x-npz``            NumPy's .npz: one neuron's trials with their bounds
``json``   ``application/json``             nested lists; NaN is null
``arrow``  see `tables`                     a row for each sample, or for each trial of a neuron
=========  ===============================  =======================================================
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from microtome_core.errors import TooLarge
from microtome_core.store.recording_pieces import Row, Trial
from microtome_service.encode import FORMATS, PLAIN, Parts, encode
from microtome_service.tables import (
    ARROW,
    JSON,
    Column,
    Table,
    encode_table,
    encoding_bytes,
    json_values,
    ragged,
)
from microtome_service.trial_parts import Part, RowPart

NPZ = "application/x-npz"
WINDOWS: Mapping[str, str] = {
    "npy": FORMATS["npy"], "raw": FORMATS["raw"], "json": JSON, "arrow": ARROW,
}  # fmt: skip
ROWS: Mapping[str, str] = {
    "npy": FORMATS["npy"], "raw": FORMATS["raw"], "npz": NPZ, "json": JSON, "arrow": ARROW,
}  # fmt: skip
EXTENSIONS: Mapping[str, str] = {media_type: name for name, media_type in ROWS.items()}
# Of a sample, its number and its time; of a trial, what Arrow says of it.
_SAMPLE_BYTES = 16
_TRIAL_BYTES = 256
_MOST_IN_JSON = 1 << 20


def window_held(part: Part, media_type: str) -> int:
    """Return the bytes that encoding takes beside what was read of a trial."""
    if media_type in PLAIN:
        return 0
    samples = part.stop - part.start
    cells = part.nbytes // part.dtype.itemsize
    return encoding_bytes(media_type, cells, part.nbytes + samples * _SAMPLE_BYTES)


def row_held(part: RowPart, media_type: str) -> int:
    """Return the bytes that encoding takes beside what was read of a neuron."""
    if media_type in PLAIN:
        return 0
    # npz is written twice as it grows.
    nbytes = part.length * part.dtype.itemsize + len(part.trials) * _TRIAL_BYTES
    return encoding_bytes(media_type, part.length + len(part.trials), nbytes)


def check_format(count: int, media_type: str) -> None:
    """Refuse more values than JSON is given.

    Raises
    ------
    TooLarge
    """
    if media_type == JSON and count > _MOST_IN_JSON:
        raise TooLarge(
            f"{count} values, the limit of JSON is {_MOST_IN_JSON}: ask for format=npy, or for a "
            "shorter window"
        )


def encode_window(values: NDArray[Any], part: Part, media_type: str) -> Parts:
    """Encode what was read of a trial."""
    if media_type in PLAIN:
        return encode(values, "", media_type, {})
    piece, facts = part.piece, part.recording.variables[part.piece.variable]
    about = {
        "recording": str(part.recording.id),
        "version": part.recording.version,
        "trial": piece.number,
        "variable": piece.variable,
        "axes": facts.axes,
        "rate": facts.rate,
    }
    if media_type == ARROW:
        return (_over_time(values, part, about),)
    described = {"start": part.start, "shape": values.shape, "dtype": part.dtype.name}
    document = {**about, **described, "unit": facts.unit, "values": json_values(values)}
    return (to_json(document),)


def _over_time(values: NDArray[Any], part: Part, about: Mapping[str, Any]) -> bytes | memoryview:
    """Return a row for each sample: its number, its time in seconds, what was measured."""
    facts = part.recording.variables[part.piece.variable]
    frames = np.arange(part.start, part.stop)
    times = [Column("time", frames / facts.rate, "second")] if facts.rate else []
    column = Column(part.piece.variable, np.moveaxis(values, -1, 0), facts.unit)
    return encode_table(Table((Column("frame", frames), *times, column), about), "", ARROW)


def encode_row(row: Row, part: RowPart, media_type: str) -> Parts:
    """Encode one neuron's values over trials.

    ``npy`` and ``raw`` are the trials one after another; ``npz`` has beside them, as ``values``,
    the arrays ``trials`` and ``bounds``: trial i is ``values[bounds[i]:bounds[i + 1]]``. JSON and
    Arrow have a row for each trial asked for, without values where there are none.
    """
    if media_type in PLAIN:
        return encode(row.values, "", media_type, {})
    if media_type == NPZ:
        file = BytesIO()
        np.savez(
            file, values=row.values, trials=np.array(row.numbers, "i8"), bounds=np.array(row.bounds)
        )
        return (file.getbuffer(),)
    facts = part.recording.variables[part.variable]
    about = {
        "recording": str(part.recording.id),
        "version": part.recording.version,
        "neuron": part.row,
        "variable": part.variable,
        "rate": facts.rate,
    }
    return (encode_table(_by_trial(row, part, about, media_type), "trials", media_type),)


def _by_trial(row: Row, part: RowPart, about: Mapping[str, Any], media_type: str) -> Table:
    lengths = np.diff(row.bounds).tolist()
    parts = ragged(row.values, lengths) if lengths else []
    found = dict(zip(row.numbers, parts, strict=True))
    cells: list[Any] = [found.get(trial.number) for trial in part.trials]
    if media_type == JSON:
        cells = [None if cell is None else json_values(cell) for cell in cells]
    unit = part.recording.variables[part.variable].unit
    trials = part.trials
    columns = (
        Column("trial", [trial.number for trial in trials]),
        Column("tier", [trial.tier for trial in trials]),
        Column("state", [_state(trial, part) for trial in trials]),
        Column(part.variable, cells, unit),
    )
    return Table(columns, about)


def _state(trial: Trial, part: RowPart) -> str:
    return trial.pieces[part.variable].state
