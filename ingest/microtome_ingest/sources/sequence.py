"""A folder of pictures as one array: TIFF, PNG or JPEG files, numbered by name."""

import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import RegionError, SourceError
from microtome_core.region import Region, check_inside
from microtome_ingest.source import Description, Scene, Source
from microtome_ingest.sources import picture, tiff
from microtome_ingest.sources.letters import KNOWN, open_letters
from microtome_ingest.sources.names import FileGrid, arrange
from microtome_ingest.sources.parallel import run

_OPENERS: dict[str, Callable[[str], Source]] = {
    ".tif": tiff.open_image,
    ".tiff": tiff.open_image,
    ".png": picture.open_image,
    ".jpg": picture.open_image,
    ".jpeg": picture.open_image,
}


@dataclass(frozen=True, slots=True)
class _Member:
    """What all files must share."""

    axes: str
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, description: Description) -> "_Member":
        return cls(description.axes, description.shape, description.dtype)

    def __str__(self) -> str:
        return f"{self.axes} {self.shape} {self.dtype}"


class SequenceSource:
    """Files of one shape and type, laid out by the numbers in their names."""

    def __init__(self, description: Description, grid: FileGrid) -> None:
        self._description = description
        self._grid = grid

    @property
    def description(self) -> Description:
        """What the first file and the names say."""
        return self._description

    def close(self) -> None:
        """Do nothing: each read opens and closes its own files."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; only files that it touches are opened."""
        whole = self._description
        if region.axes != whole.axes:
            raise RegionError(f"region {region}: expected axes {whole.axes!r}")
        check_inside(region, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        run(list(self._jobs(region, result)))
        return result

    def _jobs(self, region: Region, result: NDArray[Any]) -> Iterator[Callable[[], None]]:
        count = len(self._grid.axes)
        box = Region(region.axes[count:], region.start[count:], region.stop[count:])
        for at in np.ndindex(*region.shape[:count]):
            index = [low + i for low, i in zip(region.start, at, strict=False)]
            file = self._grid.files[
                int(np.ravel_multi_index(index, self._grid.shape)) if index else 0
            ]
            yield partial(self._copy, file, box, result[at])

    def _copy(self, file: str, box: Region, target: NDArray[Any]) -> None:
        source = _open(file)
        count = len(self._grid.axes)
        expected = self._description.axes[count:], self._description.shape[count:]
        found = source.description
        if (found.axes, found.shape) != expected or found.dtype != self._description.dtype:
            raise SourceError(file, "changed since the sequence was opened")
        target[...] = source.read(box)


def scenes(path: str) -> tuple[Scene, ...]:
    """List the one image that the files make up."""
    found = open_image(path).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(path: str, scene: int | None = None) -> SequenceSource:
    """Open a folder, or the files that a pattern such as ``raw/z*.tif`` finds.

    Raises
    ------
    SourceError
        No files, several kinds, a file that is empty, damaged or of another shape or type than
        the first, or numbers with a gap.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a sequence is one image")
    files = _files(path)
    for file in files:
        if Path(file).stat().st_size == 0:
            raise SourceError(file, "is empty (0 bytes); the sequence cannot be read without it")
    grid = arrange(files, path)
    first = _open(grid.files[0]).description
    grid = replace(grid, axes=_apart(grid.axes, first.axes))
    _check_member(first, grid, path)
    _check_uniform(grid, _Member.of(first))
    return SequenceSource(_describe(first, grid), grid)


def is_sequence(path: str) -> bool:
    """Tell whether `path` is a pattern, or a folder that holds pictures."""
    if Path(path).is_dir():
        return bool(_pictures(map(str, Path(path).iterdir())))
    return glob.has_magic(path) and not Path(path).exists()


def _files(path: str) -> list[str]:
    folder = Path(path).is_dir()
    files = _pictures(map(str, Path(path).iterdir()) if folder else glob.glob(path))
    if not files:
        raise SourceError(path, f"holds no files of {', '.join(_OPENERS)}")
    kinds = sorted({Path(file).suffix.lower().replace("jpeg", "jpg")[:4] for file in files})
    if len(kinds) > 1:
        raise SourceError(path, f"holds files of {' and '.join(kinds)}: choose with a pattern")
    return files


def _pictures(files: Iterable[str]) -> list[str]:
    # Names with a leading dot are what macOS leaves beside the files it copies.
    return sorted(
        file
        for file in files
        if Path(file).suffix.lower() in _OPENERS and not Path(file).name.startswith(".")
    )


def _open(file: str) -> Source:
    return _OPENERS[Path(file).suffix.lower()](file)


def _apart(axes: str, inside: str) -> str:
    """Return the axes of the names with other letters for those that stay open in files too."""
    spare = iter(open_letters(len(axes), axes + inside))
    return "".join(next(spare) if a in inside and a not in KNOWN else a for a in axes)


def _check_member(first: Description, grid: FileGrid, path: str) -> None:
    if len(first.files) > 1:
        raise SourceError(path, f"{grid.files[0]} is part of a multi-file OME-TIFF: give that file")
    doubled = set(first.axes) & set(grid.axes)
    if doubled:
        axis = min(doubled)
        raise SourceError(path, f"axis {axis} is counted by the names and also inside of each file")


def _check_uniform(grid: FileGrid, expected: _Member) -> None:
    def check(file: str) -> None:
        found = _Member.of(_open(file).description)
        if found != expected:
            raise SourceError(file, f"is {found}, but {Path(grid.files[0]).name} is {expected}")

    run([partial(check, file) for file in grid.files[1:]])


def _describe(first: Description, grid: FileGrid) -> Description:
    note = ("voxel size, window and tags are those of the first file",)
    return replace(
        first,
        format=f"{first.format} sequence",
        axes=grid.axes + first.axes,
        shape=grid.shape + first.shape,
        block=(1,) * len(grid.shape) + first.block,
        files=grid.files,
        channels=() if "c" in grid.axes else first.channels,
        notes=first.notes + (note if first.voxel_size or first.channels else ()),
    )
