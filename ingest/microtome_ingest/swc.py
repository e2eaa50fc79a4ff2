"""SWC: skeletons of neurons, checked and kept as they are.

Source of the format: Cannon et al. 1998, J. Neurosci. Methods 84, and the specification of the SWC+
extension (neuroinformatics.nl/swcPlus): a node a line, of number, type, x, y, z, radius and the
number of its parent, which is -1 for a root; ``#`` begins a comment.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from glob import has_magic
from hashlib import sha256
from math import isfinite

import numpy as np

from microtome_core.errors import InputError, MissingMetadata, SourceError
from microtome_core.store.annotations import Annotation, Box
from microtome_core.store.record import SourceFile
from microtome_core.swc import COLUMNS, ROOT, Nodes, parse_nodes, text_lines
from microtome_core.units import LENGTHS, unit_name
from microtome_ingest.files import Files, is_remote, name_of
from microtome_ingest.sources.lengths import length_unit

ENDING = ".swc"
# A million nodes take 40 MB, and no neuron has as many.
_MOST_BYTES = 128 << 20
_NOBODY_KNOWS = ("pixel", "pixels", "px", "voxel", "voxels")
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
    nodes = parse_nodes(content, path)
    low, high = (tuple(map(float, edge(nodes.points, axis=0))) for edge in (np.min, np.max))
    unit, factor = _unit(text_lines(content))
    return Skeleton(
        nodes=len(nodes),
        roots=int((nodes.parents == ROOT).sum()),
        types=dict(sorted(Counter(nodes.types.tolist()).items())),
        low=(low[0], low[1], low[2]),
        high=(high[0], high[1], high[2]),
        unit=unit,
        factor=factor,
        notes=_notes(nodes),
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


def _notes(nodes: Nodes) -> tuple[str, ...]:
    notes = []
    if nodes.wide:
        notes.append(f"some lines have more than {COLUMNS} columns: only the file keeps them")
    count = int((nodes.radii <= 0).sum())
    if count:
        notes.append(f"{count} nodes have no radius (0 or less)")
    return tuple(notes)
