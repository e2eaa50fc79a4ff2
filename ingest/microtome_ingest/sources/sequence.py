"""A folder of files as one array, numbered by name: TIFF, PNG, JPEG or NPY."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from os.path import splitext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp, is_remote, name_of
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, Scene, Source
from microtome_ingest.sources import npy, picture, tiff
from microtome_ingest.sources.letters import KNOWN, open_letters
from microtome_ingest.sources.names import FileGrid, arrange
from microtome_ingest.sources.parallel import run

_TIFF, _PICTURE, _ARRAY = (".tif", ".tiff"), (".png", ".jpg", ".jpeg"), (".npy",)
# Planes whose places in their files are kept, so that files need not be looked into anew.
_KEPT_PLANES = 4096
# Files asked for at once where each waits for a network.
_REQUESTS = 16
# Folders that a message names.
_LISTED = 5


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
    """Files of one shape and type, laid out by the numbers in their names.

    Parameters
    ----------
    description : Description
    grid : FileGrid
    first : Source
        The first of the files.
    files : Files
    meter : Meter
        Is told what is decoded.
    """

    def __init__(
        self, description: Description, grid: FileGrid, first: Source, files: Files, meter: Meter
    ) -> None:
        self._description, self._grid, self._first = description, grid, first.description
        self._files, self._meter = files, meter
        planes = first.planes if isinstance(first, tiff.TiffSource) else 1
        self._member = lru_cache(max(_KEPT_PLANES // planes, 1))(self._open)

    @property
    def description(self) -> Description:
        """What the first file and the names say."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels, as each file counts them."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Every file as it was when the sequence was opened."""
        return self._files.stamps(self._grid.files)

    def close(self) -> None:
        """Forget what is known of single files; each read opens and closes its own."""
        self._member.cache_clear()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region; only files that it touches are opened."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        result = np.empty(region.shape, whole.dtype)
        run(list(self._jobs(region, result)), _threads(self._grid))
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
        member = self._member(file)
        target[...] = member.read(box)
        if isinstance(member, npy.NpySource):
            # What it maps; the others keep nothing open.
            member.close()

    def _open(self, file: str) -> Source:
        if _ending(file) in _PICTURE:
            # A picture says all it has to say only when it is decoded, which `read` does.
            described = replace(self._first, files=(file,))
            return picture.PictureSource(described, self._files, self._meter)
        source = _open(file, self._files, self._meter)
        if _Member.of(source.description) != _Member.of(self._first):
            raise SourceError(file, "changed since the sequence was opened")
        return source


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image that the files make up."""
    found = open_image(path, files=files).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> SequenceSource:
    """Open a folder, or the files that a pattern such as ``raw/z*.tif`` finds.

    Raises
    ------
    SourceError
        No files, several kinds, a file that is empty, damaged or of another shape or type than
        the first, or numbers with a gap.
    """
    if scene:
        raise SourceError(path, f"has no scene {scene}: a sequence is one image")
    files, meter = files or Files(), Meter()
    found = _found(path, files)
    for file, stamp in found.items():
        if stamp.size == 0:
            raise SourceError(file, "is empty (0 bytes); the sequence cannot be read without it")
    grid = arrange(list(found), path)
    first = _open(grid.files[0], files, meter)
    grid = replace(grid, axes=_apart(grid.axes, first.description.axes))
    _check_member(first.description, grid, path)
    _check_uniform(grid, first.description, files)
    return SequenceSource(_describe(first.description, grid), grid, first, files, meter)


def _found(path: str, files: Files) -> dict[str, Stamp]:
    """Return the pictures of a folder or pattern, by name."""
    folder = files.kind(path) == "folder"
    found = files.folder(path) if folder else files.matching(path)
    # Pictures may have arrays beside them, of tables or masks; arrays alone are planes.
    names = _named(found, _TIFF + _PICTURE) or _named(found, _ARRAY)
    pictures = {file: found[file] for file in names}
    if not pictures:
        endings = ", ".join(_TIFF + _PICTURE + _ARRAY)
        what = "a folder without pictures" if folder else "a pattern that finds nothing"
        raise SourceError(path, f"{what}: holds no files of {endings}{_folders(path)}")
    kinds = sorted({_ending(file).replace("jpeg", "jpg")[:4] for file in pictures})
    if len(kinds) > 1:
        raise SourceError(path, f"holds files of {' and '.join(kinds)}: choose with a pattern")
    return pictures


def _folders(path: str) -> str:
    """Say which folders are in one, since an image may lie deeper than it was looked for."""
    if is_remote(path) or not os.path.isdir(path):
        return ""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    more = " …" if len(names) > _LISTED else ""
    return f"; is it in one of its folders: {', '.join(names[:_LISTED])}{more}?" if names else ""


def _named(files: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    # Names with a leading dot are what macOS leaves beside the files it copies.
    return sorted(
        file for file in files if _ending(file) in endings and not name_of(file).startswith(".")
    )


def _ending(file: str) -> str:
    return splitext(file)[1].lower()


def _open(file: str, files: Files, meter: Meter) -> Source:
    if _ending(file) in _ARRAY:
        return npy.open_image(file, files=files, meter=meter)
    opener = tiff.open_image if _ending(file) in _TIFF else picture.open_image
    return opener(file, files=files, meter=meter)


def _threads(grid: FileGrid) -> int | None:
    return _REQUESTS if is_remote(grid.files[0]) else None


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


def _check_uniform(grid: FileGrid, first: Description, files: Files) -> None:
    """Compare every file with the first; of remote pictures only what their headers say."""
    expected = _Member.of(first)
    remote = is_remote(grid.files[0]) and _ending(grid.files[0]) in _PICTURE
    header = picture.frame(grid.files[0], files) if remote else b""

    def check(file: str) -> None:
        if remote:
            if picture.frame(file, files) != header:
                raise SourceError(file, f"is not {expected} as {name_of(grid.files[0])} is")
            return
        found = _Member.of(_open(file, files, Meter()).description)
        if found != expected:
            raise SourceError(file, f"is {found}, but {name_of(grid.files[0])} is {expected}")

    run([partial(check, file) for file in grid.files[1:]], _threads(grid))


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
