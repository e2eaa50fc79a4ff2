"""SWC: the nodes of a skeleton, checked.

Source of the format: Cannon et al. 1998, J. Neurosci. Methods 84, and the specification of the SWC+
extension (neuroinformatics.nl/swcPlus): a node a line, of number, type, x, y, z, radius and the
number of its parent, which is -1 for a root; ``#`` begins a comment.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError

COLUMNS = 7
ROOT = -1
_MOST_NUMBER = 1 << 53
_TYPES = {0: "undefined", 1: "soma", 2: "axon", 3: "dendrite", 4: "apical dendrite"}


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a skeleton, or of several in one file, in the order of its lines.

    Parameters
    ----------
    ids, types : (N,) arrays of int64
    points : (N, 3) array of float64
        x, y, z.
    radii : (N,) array of float64
    parents : (N,) array of int64
        Where a node's parent is among them; -1 for roots.
    wide : bool
        Some lines have more columns than there are here.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    parents: NDArray[np.int64]
    wide: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        columns = (self.ids, self.types, self.points, self.radii, self.parents)
        return sum(column.nbytes for column in columns)


def type_name(kind: int) -> str:
    """Return what a type of node is called.

    >>> type_name(1), type_name(6)
    ('soma', 'type 6')
    """
    return _TYPES.get(kind, f"type {kind}")


def text_lines(content: bytes) -> Iterator[str]:
    """Yield the lines of a file, comments and all."""
    return iter(TextIOWrapper(BytesIO(content), "utf-8-sig", "replace"))


def parse_nodes(content: bytes, path: str) -> Nodes:
    r"""Read the nodes of a file.

    >>> nodes = parse_nodes(b"1 1 0 0 0 5 -1\n7 3 1 2 3 1 1\n", "a.swc")
    >>> nodes.ids.tolist(), nodes.parents.tolist(), nodes.points[1].tolist()
    ([1, 7], [-1, 0], [1.0, 2.0, 3.0])

    Raises
    ------
    SourceError
        A line that is no node, a number twice, a parent that is not there, a circle, or a number
        that is not finite; with the line.
    """
    flat, numbers, wide = array("d"), array("q"), False
    for number, row, more in _rows(text_lines(content), path):
        flat.extend(row)
        numbers.append(number)
        wide = wide or more
    if not numbers:
        raise SourceError(path, "holds no nodes")
    values = np.frombuffer(flat).reshape(-1, COLUMNS)
    parents = _parents(values, numbers, path)
    _check_circles(parents, numbers, path)
    return Nodes(
        _whole(values[:, 0]), _whole(values[:, 1]), values[:, 2:5], values[:, 5], parents, wide
    )


def _whole(column: NDArray[Any]) -> NDArray[np.int64]:
    return column.astype("int64")


def _rows(lines: Iterable[str], path: str) -> Iterator[tuple[int, list[float], bool]]:
    """Yield the number of a line, its node, and whether it has more columns than it needs."""
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words[:COLUMNS]]
        except ValueError:
            row = []
        if len(row) < COLUMNS:
            what = f"line {number} is no node: {line.strip()[:60]!r}"
            raise SourceError(path, f"{what}; expected number, type, x, y, z, radius, parent")
        if not all(map(isfinite, row)):
            raise SourceError(path, f"line {number}: a number that is not finite")
        if any(row[i] != int(row[i]) or abs(row[i]) > _MOST_NUMBER for i in (0, 1, 6)):
            raise SourceError(path, f"line {number}: number, type and parent are whole numbers")
        yield number, row, len(words) > COLUMNS


def _parents(values: NDArray[np.float64], numbers: Sequence[int], path: str) -> NDArray[np.int64]:
    """Return for each node where its parent is among them, -1 for roots."""
    ids, parents = _whole(values[:, 0]), _whole(values[:, 6])
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(twice):
        line = numbers[order[twice[0] + 1]]
        raise SourceError(path, f"line {line}: node {ranked[twice[0]]} is there twice")
    places = np.searchsorted(ranked, parents).clip(max=len(ids) - 1)
    root = parents == ROOT
    lost = np.flatnonzero(~root & (ranked[places] != parents))
    if len(lost):
        line = numbers[lost[0]]
        raise SourceError(path, f"line {line}: its parent {parents[lost[0]]} is not there")
    return np.where(root, ROOT, order[places])


def _check_circles(parents: NDArray[np.int64], numbers: Sequence[int], path: str) -> None:
    """Go up from all nodes at once, twice as far each time, until all are above a root."""
    above = np.append(parents, ROOT)
    for _ in range(len(parents).bit_length()):
        above = above[above]
    astray = np.flatnonzero(above[:-1] != ROOT)
    if len(astray):
        line = numbers[astray[0]]
        raise SourceError(path, f"line {line}: its parents go round in a circle")
