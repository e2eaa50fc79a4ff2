"""One array of one trial: what of it is stored, and how the rest comes back to the byte."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.store.recording_document import State
from microtome_ingest.recordings.heads import Head
from microtome_ingest.recordings.survey import RESPONSES, Survey

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an array once it was read.

    Parameters
    ----------
    state : State
    stored : int
        Frames that lie in the store.
    valid : int
        Frames without those of NaN alone at the end. Of a withheld array those that are 0.
    tail : str or None
        Of the frames that follow, the bytes of one element in hexadecimal digits.
    size : int
    xxh3 : str
        Of the source's file.
    """

    state: State
    stored: int
    valid: int
    tail: str | None
    size: int
    xxh3: str

    def to_json(self) -> dict[str, Any]:
        """Return what a note holds."""
        return asdict(self)


def read_piece(survey: Survey, group: str, index: int) -> tuple[Kept, NDArray[Any]]:
    """Read an array and find out what of it is stored.

    Returns
    -------
    Kept
    array
        The frames that are stored, time last, in the byte order of the file.

    Raises
    ------
    SourceError
        Damage, or another file than was surveyed.
    """
    head, name = survey.groups[group][index], survey.file(group, index)
    content = survey.tree.content(name)
    if len(content) != head.size or bytes(content[: len(head.raw)]) != head.raw:
        raise SourceError(f"{survey.tree.path}/{name}", "changed since it was looked at")
    values = head.values(content)
    withheld = group == RESPONSES and is_test(survey.tiers[index])
    return describe(head, values, xxhash.xxh3_128_hexdigest(content), withheld=withheld), values


def is_test(tier: str | None) -> bool:
    """Tell whether a tier is one of those whose responses are withheld.

    >>> is_test("final_test_bonus"), is_test("oracle"), is_test(None)
    (True, False, False)
    """
    return tier is not None and "test" in tier


def describe(head: Head, values: NDArray[Any], xxh3: str, *, withheld: bool) -> Kept:
    """Return what of an array is stored; `withheld`: zeros alone are no values."""
    length = values.shape[-1]
    valid = length - _count_nan(values)
    stored, tail = _uniform(values, valid)
    state: State = "stored" if valid or not length else "nan"
    if withheld and not _any_bits(values[..., :valid]):
        state, stored = "withheld", 0
        if tail is None and valid < length:
            # What follows is NaN of several kinds: only the frames themselves bring it back.
            stored = length
    return Kept(state, stored, valid, tail, head.size, xxh3)


def restored(
    kept: Kept | Any,  # noqa: ANN401 - whatever has its fields
    head: Head,
    values: NDArray[Any],
) -> NDArray[Any]:
    """Return the array of a source's file from the frames that are stored, in native order."""
    native = head.dtype.newbyteorder("=")
    whole = np.zeros(head.shape, native)
    whole[..., : kept.stored] = values
    if kept.tail is not None:
        begin = max(kept.stored, kept.valid)
        element = np.frombuffer(bytes.fromhex(kept.tail), head.dtype)[0]
        bits = np.array([element]).astype(native).view(f"u{native.itemsize}")[0]
        whole.view(f"u{native.itemsize}")[..., begin:] = bits
    return whole


def _count_nan(values: NDArray[Any]) -> int:
    """Return how many frames at the end are NaN alone."""
    if values.dtype.kind != "f" or not values.size:
        return 0
    rows = values.reshape(-1, values.shape[-1])
    count, total = 0, values.shape[-1]
    # Nearly always the first row ends the search.
    nan = np.isnan(rows[0])
    count = total if nan.all() else int(np.argmin(nan[::-1]))
    step = max(1, _BLOCK // max(1, count))
    for first in range(0, len(rows), step):
        if not count:
            break
        nan = np.isnan(rows[first : first + step, total - count :]).all(axis=0)
        count = count if nan.all() else int(np.argmin(nan[::-1]))
    return count


def _uniform(values: NDArray[Any], valid: int) -> tuple[int, str | None]:
    """Return how many frames are to be stored, and the element of which all that follows is made.

    NaN has many bit patterns; where those at the end differ, they are stored.
    """
    length = values.shape[-1]
    if valid == length:
        return length, None
    kind = f"u{values.dtype.itemsize}"
    element = values[(0,) * (values.ndim - 1)][-1:]
    bits = np.ascontiguousarray(element).view(kind)[0]
    rows = values.reshape(-1, length)
    step = max(1, _BLOCK // (length - valid))
    for first in range(0, len(rows), step):
        part = np.ascontiguousarray(rows[first : first + step, valid:]).view(kind)
        if (part != bits).any():
            return length, None
    return valid, element.tobytes().hex()


def _any_bits(values: NDArray[Any]) -> bool:
    """Tell whether any bit is set; -0.0 has one."""
    if not values.size:
        return False
    rows = values.reshape(-1, values.shape[-1])
    kind = f"u{values.dtype.itemsize}"
    step = max(1, _BLOCK // max(1, values.shape[-1]))
    return any(
        np.ascontiguousarray(rows[first : first + step]).view(kind).any()
        for first in range(0, len(rows), step)
    )
