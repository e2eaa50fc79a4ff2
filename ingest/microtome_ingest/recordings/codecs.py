"""How the arrays of a recording are compressed.

What is read by the trial is to come as fast as NumPy reads a file, what is a copy by rows is to
take little room. Noise in 32 bits hardly shrinks: there decoding costs more time than it saves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from microtome_core.store.array import Codec
from microtome_ingest.recordings.pieces import is_test, read_piece
from microtome_ingest.recordings.survey import RESPONSES, Survey

_FAST = Codec("blosc-lz4", 5)
# Of noise, zlib finds what the bits of its exponents have in common, where zstd gives up.
_SMALL = (
    Codec("blosc-zlib", 1, "shuffle"),
    Codec("blosc-zstd", 3, "shuffle"),
    Codec("blosc-zstd", 3),
)
_PLAIN = Codec("none", 0)
# What compresses to more of its size than this is stored as it is.
_WORTH = 0.9
_SAMPLES = 3
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Codecs:
    """Of an array, and of its copy by rows."""

    trials: Codec
    rows: Codec


def choose_codecs(survey: Survey, group: str, indices: Sequence[int]) -> Codecs:
    """Return what suits some trials of a variable, by compressing a part of three of them.

    The same source gives the same codecs.

    Raises
    ------
    SourceError
        A file that is damaged, or another one than was surveyed.
    """
    step = max(1, len(indices) // _SAMPLES)
    samples = [_sample(survey, group, index) for index in indices[::step][:_SAMPLES]]
    whole = sum(sample.nbytes for sample in samples)
    # Some of a test tier may be withheld, and these are filler.
    withheld = group == RESPONSES and any(is_test(survey.tiers[index]) for index in indices)
    fast = withheld or _compressed(_FAST, samples) <= _WORTH * whole
    small = min(_SMALL, key=lambda codec: _compressed(codec, samples))
    return Codecs(_FAST if fast else _PLAIN, small)


def _sample(survey: Survey, group: str, index: int) -> NDArray[Any]:
    kept, values = read_piece(survey, group, index)
    rows = values[..., : kept.stored]
    count = max(1, _SAMPLE_BYTES // max(1, rows[:1].nbytes))
    native = rows.dtype.newbyteorder("=")
    return np.ascontiguousarray(rows[:count]).astype(native, copy=False)


def _compressed(codec: Codec, samples: Sequence[NDArray[Any]]) -> int:
    shuffle = Blosc.BITSHUFFLE if codec.shuffle == "bitshuffle" else Blosc.SHUFFLE
    blosc = Blosc(codec.name.removeprefix("blosc-"), codec.level, shuffle)
    return sum(len(blosc.encode(sample)) for sample in samples if sample.size)
