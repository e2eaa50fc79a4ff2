"""SWC: skeletons of neurons, checked and kept as they are.

Source of the format: Cannon et al. 1998, J. Neurosci. Methods 84, and the specification of the SWC+
extension (neuroinformatics.nl/swcPlus): a node a line, of number, type, x, y, z, radius and the
number of its parent, which is -1 for a root; ``#`` begins a comment.
"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from hashlib import sha256
from io import BytesIO, TextIOWrapper
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError, MissingMetadata, SourceError
from microtome_core.store.annotations import Annotation, Box
from microtome_core.store.record import SourceFile
from microtome_core.units import LENGTHS, unit_name
from microtome_ingest.files import Files, is_remote, name_of
from microtome_ingest.sources.lengths import length_unit

ENDING = ".swc"
_COLUMNS = 7
_ROOT = -1
# A million nodes take 40 MB, and no neuron has as many.
_MOST_BYTES = 128 << 20
_MOST_NUMBER = 1 << 53
_NOBODY_KNOWS = ("pixel", "pixels", "px", "voxel", "voxels")
_TYPES = {0: "undefined", 1: "soma", 2: "axon", 3: "dendrite", 4: "apical dendrite"}
_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
_UNIT = re.compile(
    r"#\s*(?:coordinate[_ ])?units?\s*[:=]\s*(?:([\d.]+(?:e[+-]?\d+)?)\s*)?([^\s\d;,]+)",
    re.IGNORECASE,
)
_META = re.compile(r"#\s*meta\s*:\s*(\{.*\})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A skeleton, or several in one file.

    Parameters
    ----------
    nodes : int
    roots : int
    types : dict
        How many nodes have each type, by its number.
    low, high : tuple of float
        The smallest box around all nodes, x, y, z.
    unit : str, optional
        As the header says.
    factor : float
        Units that a coordinate of 1 stands for.
    notes : tuple of str
    """

    nodes: int
    roots: int
    types: Mapping[int, int]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    unit: str | None = None
    factor: float = 1.0
    notes: tuple[str, ...] = field(default=())


def skeletons(path: str, files: Files) -> tuple[str, ...]:
    """Return the SWC files that a path means: itself, those of a folder, or of a pattern.

    None where it means something else: a folder with pictures in it is one of pictures.
    """
    if name_of(path).lower().endswith(ENDING):
        if has_magic(path) and files.kind(path) == "absent":
            return _ours(files.matching(path))
        return (path,) if files.kind(path) == "file" else ()
    # Over HTTP there are no folders, and asking elsewhere costs a request.
    distant = is_remote(path) and (not path.endswith("/") or path.startswith("http"))
    if distant or files.kind(path) != "folder":
        return ()
    found = files.folder(path)
    if any(file.lower().endswith(_PICTURES) for file in found):
        return ()
    return _ours(found)


def _ours(found: Mapping[str, object]) -> tuple[str, ...]:
    named = (file for file in found if file.lower().endswith(ENDING))
    return tuple(sorted(file for file in named if not name_of(file).startswith(".")))


def content_of(path: str, files: Files) -> bytes:
    """Return a file.

    Raises
    ------
    SourceError
        Empty, or larger than any skeleton.
    """
    with files.open(path) as data:
        size = data.stamp.size
        if not size:
            raise SourceError(path, "is empty (0 bytes)")
        if size > _MOST_BYTES:
            raise SourceError(path, f"has {size} bytes: expected {_MOST_BYTES} at most")
        return bytes(data.read(0, size))


def parse(content: bytes, path: str) -> Skeleton:
    """Check a skeleton.

    Raises
    ------
    SourceError
        A line that is no node, a number twice, a parent that is not there, a circle, or a number
        that is not finite; with the line.
    """
    flat, numbers, wide = array("d"), array("q"), False
    for number, row, more in _rows(_lines(content), path):
        flat.extend(row)
        numbers.append(number)
        wide = wide or more
    if not numbers:
        raise SourceError(path, "holds no nodes")
    values = np.frombuffer(flat).reshape(-1, _COLUMNS)
    parents = _parents(values, numbers, path)
    _check_circles(parents, numbers, path)
    points = values[:, 2:5]
    low, high = (tuple(map(float, edge(points, axis=0))) for edge in (np.min, np.max))
    unit, factor = _unit(_lines(content))
    return Skeleton(
        nodes=len(numbers),
        roots=int((parents == _ROOT).sum()),
        types=dict(sorted(Counter(values[:, 1].astype(int).tolist()).items())),
        low=(low[0], low[1], low[2]),
        high=(high[0], high[1], high[2]),
        unit=unit,
        factor=factor,
        notes=_notes(values, wide),
    )


def annotation(
    content: bytes, found: Skeleton, path: str, unit: str | None, created: str
) -> Annotation:
    """Return what is stored beside a skeleton.

    Parameters
    ----------
    unit : str, optional
        The user's, over the header's; ``pixel`` says that nobody knows.

    Raises
    ------
    MissingMetadata
        Neither says in which unit the coordinates are.
    InputError
        No length.
    """
    digest = sha256(content).hexdigest()
    name, factor = _answered(found, path, unit)
    return Annotation(
        size=len(content),
        sha256=digest,
        source=SourceFile(name=name_of(path), size=len(content), sha256=digest),
        created=created,
        unit=name,
        unit_factor=factor,
        nodes=found.nodes,
        roots=found.roots,
        types={str(kind): count for kind, count in found.types.items()},
        bounding_box=Box(low=found.low, high=found.high),
        notes=list(found.notes),
    )


def type_name(kind: int) -> str:
    """Return what a type of node is called.

    >>> type_name(1), type_name(6)
    ('soma', 'type 6')
    """
    return _TYPES.get(kind, f"type {kind}")


def missing(found: Skeleton) -> str | None:
    """Say what the file leaves open and which option answers it."""
    if found.unit is not None:
        return None
    return "does not say in which unit its coordinates are: pass --unit micrometer, or another"


def _answered(found: Skeleton, path: str, unit: str | None) -> tuple[str | None, float]:
    if unit is None:
        if question := missing(found):
            raise MissingMetadata(path, f"{question} length, or --unit pixel if nobody knows")
        return found.unit, found.factor
    if unit.strip().lower() in _NOBODY_KNOWS:
        return None, 1.0
    name = unit_name(unit)
    if name not in LENGTHS:
        raise InputError(f"--unit {unit[:40]!r}: expected a length, such as micrometer, or pixel")
    return name, 1.0


def _lines(content: bytes) -> Iterator[str]:
    return iter(TextIOWrapper(BytesIO(content), "utf-8-sig", "replace"))


def _rows(lines: Iterable[str], path: str) -> Iterator[tuple[int, list[float], bool]]:
    """Yield the number of a line, its node, and whether it has more columns than it needs."""
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = [float(word) for word in words[:_COLUMNS]]
        except ValueError:
            row = []
        if len(row) < _COLUMNS:
            what = f"line {number} is no node: {line.strip()[:60]!r}"
            raise SourceError(path, f"{what}; expected number, type, x, y, z, radius, parent")
        if not all(map(isfinite, row)):
            raise SourceError(path, f"line {number}: a number that is not finite")
        if any(row[i] != int(row[i]) or abs(row[i]) > _MOST_NUMBER for i in (0, 1, 6)):
            raise SourceError(path, f"line {number}: number, type and parent are whole numbers")
        yield number, row, len(words) > _COLUMNS


def _parents(values: NDArray[np.float64], numbers: Sequence[int], path: str) -> NDArray[np.int64]:
    """Return for each node where its parent is among them, -1 for roots."""
    ids, parents = values[:, 0].astype("int64"), values[:, 6].astype("int64")
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(twice):
        line = numbers[order[twice[0] + 1]]
        raise SourceError(path, f"line {line}: node {ranked[twice[0]]} is there twice")
    places = np.searchsorted(ranked, parents).clip(max=len(ids) - 1)
    root = parents == _ROOT
    lost = np.flatnonzero(~root & (ranked[places] != parents))
    if len(lost):
        line = numbers[lost[0]]
        raise SourceError(path, f"line {line}: its parent {parents[lost[0]]} is not there")
    return np.where(root, _ROOT, order[places])


def _check_circles(parents: NDArray[np.int64], numbers: Sequence[int], path: str) -> None:
    """Go up from all nodes at once, twice as far each time, until all are above a root."""
    above = np.append(parents, _ROOT)
    for _ in range(len(parents).bit_length()):
        above = above[above]
    astray = np.flatnonzero(above[:-1] != _ROOT)
    if len(astray):
        line = numbers[astray[0]]
        raise SourceError(path, f"line {line}: its parents go round in a circle")


def _unit(lines: Iterable[str]) -> tuple[str | None, float]:
    """Return the unit that a comment names, and how many of it a coordinate of 1 is."""
    for line in lines:
        match = _UNIT.match(_words_of_meta(line.strip()))
        if match and (unit := length_unit(match[2])):
            factor = float(match[1] or 1)
            return (unit, factor) if isfinite(factor) and factor > 0 else (None, 1.0)
    return None, 1.0


def _words_of_meta(line: str) -> str:
    """Return the unit in a comment of JSON, as navis writes it, in the words of others."""
    match = _META.match(line)
    if not match:
        return line
    try:
        found = json.loads(match[1])
    except (ValueError, RecursionError):
        return line
    return f"# units: {found.get('units', '')}" if isinstance(found, dict) else line


def _notes(values: NDArray[np.float64], wide: bool) -> tuple[str, ...]:
    notes = []
    if wide:
        notes.append(f"some lines have more than {_COLUMNS} columns: only the file keeps them")
    count = int((values[:, 5] <= 0).sum())
    if count:
        notes.append(f"{count} nodes have no radius (0 or less)")
    return tuple(notes)
