"""Statistics of the training tier, recomputed from what is stored, and held against those supplied.

The standard deviation is that of the population. NaN within trials is left out, as the padding is.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.store.recording_document import KeptFile, Statistic
from microtome_ingest.recordings.median import median_of

NAMES = ("mean", "std", "median", "min", "max")
TRAINING = "train"
_BLOCK_BYTES = 64 << 20
# Of frames as float64, of which several are held at once.
_PIECE_BYTES = 16 << 20
# Rounding of float32 sums over 10⁵ frames.
_RELATIVE = 1e-3


@dataclass(frozen=True, slots=True)
class Span:
    """The frames of one training trial in a stored array."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Computed:
    """The statistics of one variable.

    Parameters
    ----------
    each : dict
        By name: of each element but for time, in the shape of the array without it.
    whole : dict
        By name: of all elements together.
    """

    each: Mapping[str, NDArray[np.float64]]
    whole: Mapping[str, float]

    def like(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """Return a statistic in the shape in which one was supplied, None where it has no such."""
        each, size = self.each.get(name), int(np.prod(shape))
        if each is not None and each.size == size and each.size > 1:
            return each.reshape(shape)
        if size == 1 and name in self.whole:
            return np.full(shape, self.whole[name])
        return each.reshape(shape) if each is not None and each.size == size else None


def compute(array: ts.TensorStore, by_row: ts.TensorStore, spans: Sequence[Span]) -> Computed:
    """Compute the statistics over all frames of `spans`, in blocks of rows.

    Parameters
    ----------
    array : TensorStore
        Time last.
    by_row : TensorStore
        The same with chunks that follow time, where there is one.
    """
    if array.ndim == 2:
        blocks = list(_rows(by_row, spans))
        each = {name: np.concatenate([block[name] for block in blocks]) for name in NAMES}
        counts = np.concatenate([block["count"] for block in blocks])
    else:
        each, counts = _over_trials(array, spans)
    return Computed(each, _whole(array, spans, each, counts))


def compare(
    variable: str, group: str, name: str, supplied: NDArray[Any], computed: Computed
) -> Statistic:
    """Hold a supplied statistic against the computed one."""
    told = Statistic(variable=variable, group=group, name=name)
    ours = computed.like(name, supplied.shape)
    if supplied.dtype.kind not in "biuf":
        return told.model_copy(update={"note": f"{supplied.dtype} are no numbers"})
    if ours is None:
        note = f"none was computed of shape {supplied.shape}"
        return told.model_copy(update={"note": note})
    theirs = supplied.astype(np.float64)
    both = np.isfinite(ours) & np.isfinite(theirs)
    if not both.all() and not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return told.model_copy(update={"agrees": False, "note": "they are not finite alike"})
    gaps = np.abs(ours - theirs)[both]
    sizes = np.maximum(np.abs(ours), np.abs(theirs))[both]
    relative = np.divide(gaps, sizes, out=np.zeros_like(gaps), where=sizes > 0)
    return told.model_copy(
        update={
            "largest_difference": float(gaps.max(initial=0)),
            "largest_relative": float(relative.max(initial=0)),
            "agrees": bool((relative <= _RELATIVE).all()),
        }
    )


def to_npy(values: NDArray[Any]) -> bytes:
    """Return an NPY file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def disagreements(statistics: Sequence[Statistic]) -> list[str]:
    """Return in words which supplied statistics are not those of the training tier."""
    return [
        f"meta/statistics/{s.variable}/{s.group}/{s.name}.npy is not that of the training tier: "
        f"differs by {s.largest_difference:g} ({100 * (s.largest_relative or 0):.3g} %) at most"
        for s in statistics
        if s.agrees is False and s.largest_difference is not None
    ]


def supplied_in(files: Sequence[KeptFile]) -> Iterator[tuple[str, str, str, str]]:
    """Yield variable, group, name and path of each statistic among the kept files."""
    for file in files:
        parts = file.path.removesuffix(".npy").split("/")
        if parts[:3] == ["files", "meta", "statistics"] and len(parts) == 6 and parts[5] in NAMES:
            yield parts[3], parts[4], parts[5], file.path


def _rows(array: ts.TensorStore, spans: Sequence[Span]) -> Iterator[dict[str, NDArray[Any]]]:
    rows, total = array.shape
    step = max(1, _BLOCK_BYTES // (8 * max(1, total)))
    for first in range(0, rows, step):
        whole = np.asarray(array[first : min(first + step, rows), :].read().result())
        parts = [whole[:, span.start : span.stop] for span in spans]
        kept = np.concatenate([*parts, whole[:, :0]], axis=1).astype(np.float64)
        yield _of_rows(kept)


def _of_rows(values: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Return each statistic of each row, NaN left out; NaN where nothing is left."""
    good = ~np.isnan(values)
    counts = good.sum(axis=1)
    if not values.shape[1]:
        nothing = np.full(len(values), np.nan)
        return {**dict.fromkeys(NAMES, nothing), "count": counts}
    if good.all():
        found = {name: getattr(np, name)(values, axis=1) for name in NAMES}
        return {**found, "count": counts}
    with np.errstate(all="ignore"):
        rows = [row[keep] for row, keep in zip(values, good, strict=True)]
        found = {
            name: np.array([getattr(np, name)(row) if row.size else np.nan for row in rows])
            for name in NAMES
        }
    return {**found, "count": counts}


def _over_trials(
    array: ts.TensorStore, spans: Sequence[Span]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Return all but the median of each element, a piece of a trial in memory at a time.

    Source of the formula for joining variances: Chan, Golub and LeVeque 1983.
    """
    lead = array.shape[:-1]
    count, mean, squares = np.zeros(lead, np.int64), np.zeros(lead), np.zeros(lead)
    low, high = np.full(lead, np.inf), np.full(lead, -np.inf)
    for part in _trials(array, spans):
        good = ~np.isnan(part)
        n = good.sum(axis=-1)
        filled = np.where(good, part, 0.0)
        m = np.divide(filled.sum(axis=-1), n, out=np.zeros(lead), where=n > 0)
        gaps = np.where(good, part - m[..., None], 0.0)
        total, delta = count + n, m - mean
        share = np.divide(n, total, out=np.zeros(lead), where=total > 0)
        squares += (gaps**2).sum(axis=-1) + delta**2 * count * share
        mean += delta * share
        count = total
        low = np.minimum(low, np.where(good, part, np.inf).min(axis=-1))
        high = np.maximum(high, np.where(good, part, -np.inf).max(axis=-1))
    known = count > 0
    std = np.sqrt(np.divide(squares, count, out=np.zeros(lead), where=known))
    found = {"mean": mean, "std": std, "min": low, "max": high}
    return {name: np.where(known, values, np.nan) for name, values in found.items()}, count


def _trials(array: ts.TensorStore, spans: Sequence[Span]) -> Iterator[NDArray[np.float64]]:
    """Yield the frames of each span, of a long one in pieces that bound memory."""
    step = max(1, _PIECE_BYTES // (8 * max(1, prod(array.shape[:-1]))))
    for span in spans:
        for start in range(span.start, span.stop, step):
            found = np.asarray(array[..., start : min(start + step, span.stop)].read().result())
            yield found.astype(np.float64)


def _whole(
    array: ts.TensorStore,
    spans: Sequence[Span],
    each: Mapping[str, NDArray[Any]],
    counts: NDArray[Any],
) -> dict[str, float]:
    """Join the statistics of elements to those of all together; the median is sought anew."""
    total = int(counts.sum())
    if not total:
        return {}
    known = counts > 0
    share = counts[known] / total
    mean = float((each["mean"][known] * share).sum())
    spread = each["std"][known] ** 2 + (each["mean"][known] - mean) ** 2
    found = {
        "mean": mean,
        "std": float(np.sqrt((spread * share).sum())),
        "min": float(each["min"][known].min()),
        "max": float(each["max"][known].max()),
    }
    # Of many rows nobody asks for one median, and it takes passes over all of them.
    if array.ndim > 2:
        found["median"] = median_of(lambda: _trials(array, spans), total)
    return found
