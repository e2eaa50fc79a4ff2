"""File names of a sequence: which number is which axis.

``tNN``, ``cNN`` or ``chNN`` and ``zNN`` name their axis; any other number that differs from file
to file counts along an axis that stays open.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from microtome_core.errors import SourceError
from microtome_ingest.sources.letters import open_letters

_WORD = r"(?<![A-Za-z])(?P<word>time|t|channel|chan|ch|c|slice|z)[-_ ]?"
_NUMBER = re.compile(rf"(?:{_WORD})?(?P<n>\d{{1,18}})", re.IGNORECASE)
_ORDER = "tcz"


@dataclass(frozen=True, slots=True)
class FileGrid:
    """Files laid out along axes.

    Parameters
    ----------
    axes : str
        t, c and z in that order, then open letters; empty for a single file.
    shape : tuple of int
    files : tuple of str
        In C order.
    """

    axes: str
    shape: tuple[int, ...]
    files: tuple[str, ...]


def arrange(files: Sequence[str], source: str) -> FileGrid:
    """Lay files out by the numbers in their names, in numeric order.

    Raises
    ------
    SourceError
        Names that differ in more than numbers, numbers that leave a gap or come twice.

    Examples
    --------
    >>> grid = arrange(["a_z11_c0.tif", "a_z10_c0.tif", "a_z9_c0.tif"], "a")
    >>> grid.axes, grid.shape, grid.files[-1]
    ('z', (3,), 'a_z11_c0.tif')
    """
    parsed = {file: _numbers(Path(file).stem) for file in files}
    _check_alike(parsed, source)
    rows = [numbers for _, numbers in parsed.values()]
    columns = [i for i in range(len(rows[0])) if len({row[i][1] for row in rows}) > 1]
    words = [rows[0][i][0] for i in columns]
    axes = _axes(words, source)
    order = sorted(range(len(axes)), key=lambda i: (_ORDER + axes).index(axes[i]))
    at = {
        file: tuple(numbers[columns[i]][1] for i in order) for file, (_, numbers) in parsed.items()
    }
    letters = "".join(axes[i] for i in order)
    return _filled(letters, at, source)


def _numbers(stem: str) -> tuple[str, list[tuple[str, int]]]:
    """Return the name with its numbers blanked out, and each number with the axis it names."""
    found = [((m["word"] or "")[:1].lower(), int(m["n"])) for m in _NUMBER.finditer(stem)]
    return _NUMBER.sub(lambda m: f"{m['word'] or ''}#".lower(), stem), [
        ("z" if word == "s" else word, number) for word, number in found
    ]


def _check_alike(parsed: Mapping[str, tuple[str, object]], source: str) -> None:
    patterns = Counter(pattern for pattern, _ in parsed.values())
    if len(patterns) > 1:
        odd = min(patterns, key=lambda pattern: patterns[pattern])
        names = sorted(Path(file).name for file, (pattern, _) in parsed.items() if pattern == odd)
        raise SourceError(
            source,
            f"file names differ in more than numbers, for example {names[0]}: "
            f"choose those that belong together with a pattern such as 'folder/name_*.tif'",
        )


def _axes(words: Sequence[str], source: str) -> str:
    named = [word for word in words if word]
    if len(set(named)) < len(named):
        raise SourceError(source, f"file names count twice along the same axis: {named}")
    spare = iter(open_letters(len(words)))
    return "".join(word or next(spare) for word in words)


def _filled(axes: str, at: Mapping[str, tuple[int, ...]], source: str) -> FileGrid:
    """Check that every combination of numbers is there once, and put the files in order."""
    by_index = _by_index(at, source)
    ranges = [sorted({index[i] for index in by_index}) for i in range(len(axes))]
    for axis, values in zip(axes, ranges, strict=True):
        gap = next((v + 1 for v, after in pairwise(values) if after != v + 1), None)
        if gap is not None:
            raise SourceError(source, f"the numbering along {axis} has a gap: {gap} is missing")
    for index in product(*ranges):
        if index not in by_index:
            where = ", ".join(f"{axis}={n}" for axis, n in zip(axes, index, strict=True))
            raise SourceError(source, f"the sequence has a gap: no file for {where}")
    files = tuple(by_index[index] for index in product(*ranges))
    return FileGrid(axes, tuple(map(len, ranges)), files)


def _by_index(at: Mapping[str, tuple[int, ...]], source: str) -> dict[tuple[int, ...], str]:
    by_index: dict[tuple[int, ...], str] = {}
    for file, index in at.items():
        if index in by_index:
            names = f"{Path(by_index[index]).name} and {Path(file).name}"
            raise SourceError(source, f"{names} have the same numbers")
        by_index[index] = file
    return by_index
