"""Which trials, samples and neurons a request asks for."""

import re
from collections.abc import Callable, Sequence

from microtome_core.errors import InputError, NotFound, RegionError
from microtome_core.store.recording import Recording
from microtome_core.store.recording_pieces import Piece, Trial
from microtome_service.recordings import NEURON, frames_of
from microtome_service.trial_parts import Part, RowPart

_RANGE = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")
_LIST = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})*")
UNKNOWN = "unknown"

# The rows to read, and which of these are wanted.
Rows = tuple[slice, tuple[int, ...] | None]


def choose_trials(
    recording: Recording, tiers: str | None, min_length: int = 0
) -> tuple[Trial, ...]:
    """Return the trials of some tiers, all by default, whose variables have enough samples.

    Parameters
    ----------
    recording : Recording
    tiers : str or None
        Names with commas between.
    min_length : int
        Samples that every variable of the trial must have, the withheld ones left aside.

    Raises
    ------
    InputError
        No such tier; names those that there are.
    """
    chosen = recording.trials
    if tiers is not None:
        known = recording.facts.tier_counts
        wanted = {word.strip() for word in tiers.split(",")}
        for word in sorted(wanted - set(known)):
            raise InputError(f"tier {word[:40]!r}: this recording has {', '.join(known)}")
        chosen = tuple(trial for trial in chosen if (trial.tier or UNKNOWN) in wanted)
    return tuple(trial for trial in chosen if frames_of(trial) >= min_length)


def check_trial(recording: Recording, number: int) -> Trial:
    """Return a trial.

    Raises
    ------
    NotFound
        Says which there are.
    """
    try:
        return recording.trial(number)
    except NotFound as error:
        numbers = [trial.number for trial in recording.trials]
        raise NotFound(f"{error}: {numbers_text(numbers)}") from error


def numbers_text(numbers: Sequence[int]) -> str:
    """Say which numbers there are.

    >>> numbers_text([0, 1, 2, 3]), numbers_text([4, 9]), numbers_text([])
    ('it has 0 to 3', 'it has 2 trials between 4 and 9', 'it has none')
    """
    if not numbers:
        return "it has none"
    low, high = min(numbers), max(numbers)
    if high - low + 1 == len(numbers):
        return f"it has {low} to {high}"
    return f"it has {len(numbers)} trials between {low} and {high}"


def part_of(
    recording: Recording,
    number: int,
    variable: str,
    window: str | tuple[int, int] | None = None,
    neurons: str | None = None,
    parse: Callable[[str, int], Rows] | None = None,
) -> Part:
    """Return what a request asks for.

    Parameters
    ----------
    recording : Recording
    number : int
        Of the trial.
    variable : str
    window : str or (int, int), optional
        ``start:stop`` in samples; all that have values by default.
    neurons : str, optional
        ``start:stop``, or numbers with commas between.
    parse : callable, optional
        In place of `parse_neurons`, for those who ask for the same neurons again and again.

    Raises
    ------
    NotFound, Withheld
        No such trial or variable, or no values of it.
    RegionError, InputError
        A window or neurons that are not there; names those that are.
    """
    check_trial(recording, number)
    piece = recording.readable(variable, number)
    start, stop = _window(piece, window)
    rows, picked = slice(0, piece.shape[0] if piece.shape else 0), None
    if neurons is not None:
        axes = recording.variables[variable].axes
        if axes[0] != NEURON:
            raise InputError(f"{variable} has axes {', '.join(axes)}: it has no neurons to choose")
        rows, picked = (parse or parse_neurons)(neurons, rows.stop)
    return Part(recording, piece, start, stop, rows, picked)


def parse_neurons(word: str, count: int) -> Rows:
    """Return the rows to read, and which of these are wanted.

    >>> parse_neurons("2:5", 9), parse_neurons("7,3", 9)
    ((slice(2, 5, None), None), (slice(3, 8, None), (4, 0)))

    Raises
    ------
    RegionError
    """
    expected = f"expected such as neurons=0:{count} or neurons=0,{max(count - 1, 0)}"
    ranged = _RANGE.fullmatch(word)
    if ranged:
        start, stop = int(ranged[1] or 0), int(ranged[2] or count)
        if not start < stop <= count:
            raise RegionError(f"neurons={word} is empty or beyond {count} neurons: {expected}")
        return slice(start, stop), None
    if not _LIST.fullmatch(word):
        raise RegionError(f"neurons={word[:40]!r}: {expected}")
    numbers = [int(each) for each in word.split(",")]
    if max(numbers) >= count:
        raise RegionError(f"neuron {max(numbers)}: there are 0 to {count - 1}")
    low = min(numbers)
    return slice(low, max(numbers) + 1), tuple(number - low for number in numbers)


def _window(piece: Piece, window: str | tuple[int, int] | None) -> tuple[int, int]:
    what = f"{piece.variable} of trial {piece.number}"
    valid = f"valid is a range within t=0:{piece.valid}"
    if isinstance(window, str):
        found = _RANGE.fullmatch(window)
        if not found:
            raise RegionError(f"{what}: t={window[:40]!r} is not a range: {valid}")
        window = (int(found[1] or 0), int(found[2] or piece.valid))
    start, stop = window or (0, piece.valid)
    if window is not None and not 0 <= start < stop <= piece.valid:
        raise RegionError(f"{what}: t={start}:{stop} is empty or out of bounds: {valid}")
    return start, stop


def row_of(recording: Recording, variable: str, row: int, trials: tuple[Trial, ...]) -> RowPart:
    """Return what a request asks for of one neuron.

    Raises
    ------
    NotFound
        No such variable or neuron, or none of the trials has values of it.
    InputError
        The variable is not of neurons.
    """
    facts = recording.variable(variable)
    if list(facts.axes[:1]) != [NEURON] or len(facts.axes) != 2:
        raise InputError(f"{variable} has axes {', '.join(facts.axes)}: it is not of neurons")
    counts = [array.shape[0] for array in facts.arrays]
    if counts and not row < min(counts):
        raise NotFound(
            f"recording {recording.id} has no neuron {row}: it has 0 to {min(counts) - 1}"
        )
    part = RowPart(recording, variable, row, trials)
    if trials and not part.pieces:
        # All that were asked for are missing or withheld: the first of them says which.
        recording.readable(variable, trials[0].number)
    return part
