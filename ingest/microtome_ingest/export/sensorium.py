"""A recording as the folder of trials that it was made of, each file to the byte.

Nothing is visible under the name that was asked for before all of it is there, and each file is
held against the digest of the one that it was made of. Loaders find ``config.json`` where the
source had one, so that a folder without write access can be read.
"""

from base64 import b64decode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.location import storage_errors
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece, Trial
from microtome_ingest.export.output import whole_folder
from microtome_ingest.recordings.heads import Head, parse_head
from microtome_ingest.recordings.pieces import restored
from microtome_ingest.sources.parallel import run

_THREADS = 4


def export_sensorium(
    recording: Recording,
    out: Path,
    *,
    overwrite: bool = False,
    count: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the folder that a recording was made of.

    Parameters
    ----------
    out : Path
        A folder that is not there, or is empty.
    overwrite : bool
        Replace a folder that is there, if it is one of these trials.
    count : callable
        Is told of the bytes of each file that was written, from several threads.

    Returns
    -------
    int
        Files.

    Raises
    ------
    Conflict, InputError, AccessDenied
        As `whole_folder`.
    StorageError
        Storage failed, or a file is not what the source's was.
    """
    vacant = out.is_dir() and not any(out.iterdir())
    with whole_folder(out, _mark(recording), overwrite=overwrite or vacant) as part:
        jobs = _jobs(recording, part, count)
        run(jobs, _THREADS)
    return len(jobs)


def _mark(recording: Recording) -> str:
    """Return a file that every export of these trials holds."""
    pieces = ((trial, group, p) for trial in recording.trials for group, p in trial.pieces.items())
    arrays = (f"data/{group}/{trial.name}.npy" for trial, group, p in pieces if p.array >= 0)
    return next(arrays, "config.json")


def file_bytes(recording: Recording, trial: Trial, piece: Piece) -> tuple[bytes, memoryview]:
    """Return the head and the values of the source's file of a piece, as they followed each other.

    Raises
    ------
    StorageError
        Storage failed, or they are not what the source's file was.
    """
    head = head_of(recording, trial, piece)
    columns = recording.variables[piece.variable].pieces
    index = recording.facts.trials.index(trial.number)
    values = head.file(restored(_Tail(piece, columns.tail[index]), head, _stored(recording, piece)))
    state = xxhash.xxh3_128(head.raw)
    state.update(values)
    if state.hexdigest() != columns.xxh3[index]:
        raise StorageError(
            f"{recording.id}: {piece.variable} of trial {trial.number} is not what its source was"
        )
    return head.raw, values


def head_of(recording: Recording, trial: Trial, piece: Piece) -> Head:
    """Return the head of the source's file of a piece."""
    columns = recording.variables[piece.variable].pieces
    index = recording.facts.trials.index(trial.number)
    raw = b64decode(recording.facts.headers[columns.header[index]])
    return parse_head(raw, f"{recording.id}: {piece.variable} of trial {trial.number}")


class _Tail:
    """What `restored` asks for."""

    def __init__(self, piece: Piece, tail: str | None) -> None:
        self.stored, self.valid, self.tail = piece.stored, piece.valid, tail


def _jobs(
    recording: Recording, folder: Path, count: Callable[[int], None]
) -> list[Callable[[], None]]:
    jobs: list[Callable[[], None]] = []
    for trial in recording.trials:
        for group, piece in trial.pieces.items():
            if piece.array >= 0:
                path = _within(folder, f"data/{group}/{trial.name}.npy")
                jobs.append(partial(_write_array, recording, trial, piece, path, count))
    for file in recording.facts.files:
        path = _within(folder, file.path.removeprefix("files/"))
        jobs.append(partial(_write_kept, recording, file.path, path, count))
    return jobs


def _within(folder: Path, name: str) -> Path:
    """Return the path of a file, whatever the store says no other than below the folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{name[:200]} leads out of the folder")
    return path


def _write_array(
    recording: Recording, trial: Trial, piece: Piece, path: Path, count: Callable[[int], None]
) -> None:
    head, values = file_bytes(recording, trial, piece)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(head)
        stream.write(values)
    count(len(head) + values.nbytes)


def _write_kept(recording: Recording, name: str, path: Path, count: Callable[[int], None]) -> None:
    content = recording.read_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    count(len(content))


def _stored(recording: Recording, piece: Piece) -> NDArray[Any]:
    """Return the frames that are stored, whether they are withheld or not."""
    array = recording.arrays[recording.variables[piece.variable].arrays[piece.array].path]
    if not piece.stored:
        return np.empty((*array.shape[:-1], 0), piece.dtype)
    with storage_errors(f"{recording.id}: {piece.variable} of trial {piece.number}"):
        return np.asarray(array[..., piece.offset : piece.offset + piece.stored].read().result())
