"""Which plane of an Olympus image lies in which member: axes from the main file and the names.

Source of the names: Olympus FluoView: ``AxisOrder`` has the fastest axis first; each plane is a
TIFF such as ``s_C001Z012T003.tif``, and a ``MaxSize`` of 0 means 1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from microtome_core.errors import SourceError
from microtome_ingest.sources.oif_members import Members, Settings

_NAME = re.compile(r"(?P<prefix>.*?)(?P<numbers>(?:[A-Z]\d+)+)\.(?:tif|pty)$")
_NUMBER = re.compile(r"([A-Z])(\d+)")
_CODES = "XYZCTALPQ"


@dataclass(frozen=True, slots=True)
class OifGrid:
    """The planes of an image.

    Parameters
    ----------
    axes : str
        The outermost first: those that count planes, rows, a y that was not scanned, columns.
    shape : tuple of int
    counts : tuple of int
        Extents of the axes that count planes.
    page : (int, int)
        Rows and columns of a plane.
    names : tuple of str
        Members in C order of `counts`.
    """

    axes: str
    shape: tuple[int, ...]
    counts: tuple[int, ...]
    page: tuple[int, int]
    names: tuple[str, ...]

    @property
    def rows(self) -> str:
        """The axis along which a plane's rows lie."""
        return self.axes[len(self.counts)]

    def first(self, axis: str, index: int) -> str:
        """Return the first plane at an index of an axis that counts planes, or the first one."""
        place = self.axes.index(axis) if axis in self.axes else len(self.counts)
        return self.names[index * prod(self.counts[place + 1 :]) if place < len(self.counts) else 0]


def read_grid(source: Members, main: Settings) -> OifGrid:
    """Arrange the planes.

    Raises
    ------
    SourceError
        Planes that are missing, or another number of them than the main file says.
    """
    sizes = axis_sizes(main)
    order = [code for code in str(main["Axis Parameter Common"]["AxisOrder"]) if code in sizes]
    found, counted = _numbered(source, main)
    _check_declared(source, counted, sizes)
    row, rows, columns = _page(source, order, counted, sizes)
    outer = [code for code in counted if code not in order]
    outer += [code for code in reversed(order) if code in counted]
    names = _complete(source, found, outer, counted)
    kept = [code for code in outer if counted[code] > 1]
    counts = tuple(counted[code] for code in kept)
    added = "" if row == "Y" else "y"
    axes = "".join(kept).lower() + row.lower() + added + "x"
    return OifGrid(
        axes, (*counts, rows, *(1 for _ in added), columns), counts, (rows, columns), names
    )


def prefix_of(name: str) -> str:
    """Return what stands before the numbers in the name of a plane."""
    match = _NAME.fullmatch(name)
    return match["prefix"] if match else ""


def axis_sizes(main: Settings) -> dict[str, int]:
    """Return the extent of every axis by Olympus's letter."""
    tables = (main.get(f"Axis {i} Parameters Common", {}) for i in range(len(_CODES) + 1))
    return {
        str(table["AxisCode"]): max(1, int(table["MaxSize"]))
        for table in tables
        if "AxisCode" in table and "MaxSize" in table
    }


def _numbered(
    source: Members, main: Settings
) -> tuple[dict[tuple[tuple[str, int], ...], str], dict[str, int]]:
    """Return the planes by the numbers in their names, and how far each letter counts.

    Names with other letters are those of thumbnails and reference images.
    """
    start = str(main.get("ProfileSaveInfo", {}).get("PtyFileNameS", "")).replace("\\", "/")
    template = _NAME.fullmatch(start.rpartition("/")[2])
    found: dict[tuple[tuple[str, int], ...], str] = {}
    prefixes, letters = set[str](), set[str]()
    for name in source.sizes:
        match = _NAME.fullmatch(name)
        if match is None or name.endswith(".pty") or not _is_plane(match, template):
            continue
        numbers = [(code, int(digits)) for code, digits in _NUMBER.findall(match["numbers"])]
        prefixes.add(match["prefix"])
        letters.add("".join(code for code, _ in numbers))
        found[tuple(sorted(numbers))] = name
    if len(prefixes) != 1 or len(letters) != 1 or len(set(*letters)) < len(next(iter(letters))):
        reason = f"planes named {sorted(prefixes)} and counted by {sorted(letters)}"
        raise SourceError(source.path, f"{reason}: expected one kind of names")
    counted = {code: max(dict(n)[code] for n in found) for code in next(iter(letters))}
    return found, counted


def _is_plane(match: re.Match[str], template: re.Match[str] | None) -> bool:
    if any(code not in _CODES for code, _ in _NUMBER.findall(match["numbers"])):
        return False
    return template is None or template["prefix"] == match["prefix"]


def _check_declared(source: Members, counted: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    for code, count in counted.items():
        if sizes.get(code, 1) != count:
            reason = f"declares {sizes.get(code, 1)} along {code}, but has planes up to {count}"
            raise SourceError(source.path, f"{reason}: incomplete or interrupted")


def _page(
    source: Members, order: Sequence[str], counted: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[str, int, int]:
    """Return the axis of the rows, and rows and columns."""
    inner = [code for code in order if code not in counted and (sizes[code] > 1 or code == "X")]
    if inner[:1] != ["X"] or len(inner) > 2:
        reason = f"a scan along {''.join(order)} with planes of {''.join(inner) or 'nothing'}"
        raise SourceError(source.path, f"{reason} is not supported")
    row = inner[1] if len(inner) > 1 else "Y"
    return row, sizes.get(row, 1) if len(inner) > 1 else 1, sizes["X"]


def _complete(
    source: Members,
    found: Mapping[tuple[tuple[str, int], ...], str],
    outer: Sequence[str],
    counted: Mapping[str, int],
) -> tuple[str, ...]:
    """Return the members in order; numbers begin at 1."""
    expected = prod(counted.values())
    if len(found) != expected:
        # Not every number is there, so the first gap is among the first that are asked for.
        ranges = (range(1, counted[code] + 1) for code in outer)
        keys = (tuple(sorted(zip(outer, at, strict=True))) for at in product(*ranges))
        gap = next(key for key in keys if key not in found)
        place = " ".join(f"{code}{number}" for code, number in gap)
        raise SourceError(source.path, f"{len(found)} of {expected} planes: {place} is missing")
    ranges = (range(1, counted[code] + 1) for code in outer)
    keys = (tuple(sorted(zip(outer, at, strict=True))) for at in product(*ranges))
    return tuple(found[key] for key in keys)
