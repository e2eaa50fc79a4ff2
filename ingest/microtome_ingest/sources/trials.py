"""Folders of trials, and zip files of them, as of the Sensorium challenge: each video an image.

``data/videos/<n>.npy`` is y, x, t and padded with NaN at its end; ``meta`` describes the trials.
The other groups of ``data`` (responses, behavior, pupil_center) are no images and stay there.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region, check_region
from microtome_ingest.files import Files, Stamp, is_remote
from microtome_ingest.source import Description, Scene, Source
from microtome_ingest.sources import npy, trials_facts
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.members import SEPARATOR, split
from microtome_ingest.sources.parallel import run
from microtome_ingest.sources.trials_facts import VIDEOS
from microtome_ingest.sources.trials_tree import Tree, ZipTree, groups_of, header_of, tree_of

_REQUESTS = 16
# Voxels looked at together for the padding.
_WINDOW = 4 << 20


class TrialSource:
    """One video; what is beyond its true length is not part of it.

    Parameters
    ----------
    description : Description
    voxels : Source
        The array as it is stored.
    """

    def __init__(self, description: Description, voxels: Source) -> None:
        self._description, self._voxels = description, voxels

    @property
    def description(self) -> Description:
        """What the folder says of the trial."""
        return self._description

    @property
    def decoded(self) -> int:
        """Bytes of voxels read or inflated, the padding included."""
        return self._voxels.decoded

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """The file as it was when it was opened."""
        return self._voxels.stamps

    def close(self) -> None:
        """Release the file; a later read opens it again."""
        self._voxels.close()

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region in native byte order."""
        whole = self._description
        check_region(region, whole.axes, whole.shape)
        axes = self._voxels.description.axes
        return self._voxels.read(Region(axes, region.start, region.stop))


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the videos, each with its true length."""
    files = files or Files()
    path, name = split(path, files)
    tree = tree_of(path, files)
    trials = _trials(tree, groups_of(tree))
    numbers = [_chosen(tree, trials, name)] if name else range(len(trials))
    found: dict[int, Scene] = {}

    def look(number: int) -> None:
        voxels = _voxels(tree, trials[number], files)
        try:
            axes, shape = _extent(voxels)
            dtype = voxels.description.dtype
            found[number] = Scene(number, f"{VIDEOS}/{trials[number]}", axes, shape, dtype)
        finally:
            voxels.close()

    jobs: list[Callable[[], None]] = [partial(look, number) for number in numbers]
    run(jobs, _REQUESTS if is_remote(path) else None)
    # One that was named is the only one there is.
    return tuple(replace(found[n], index=i) for i, n in enumerate(sorted(found)))


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> TrialSource:
    """Open the video that `scene` or ``folder::videos/<n>`` chooses, or the only one.

    Raises
    ------
    SourceError
        Damage, none or several videos and none chosen, or a group that holds no images.
    """
    files = files or Files()
    path, name = split(path, files)
    tree = tree_of(path, files)
    groups = groups_of(tree)
    trials = _trials(tree, groups)
    trial = trials[_chosen(tree, trials, name, groups) if name else _numbered(tree, trials, scene)]
    voxels = _voxels(tree, trial, files)
    try:
        return TrialSource(_describe(tree, groups, trial, voxels), voxels)
    except BaseException:
        voxels.close()
        raise


def _trials(tree: Tree, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if VIDEOS not in groups:
        found = ", ".join(f"data/{group}" for group in groups) or "no arrays"
        raise SourceError(tree.path, f"has no data/{VIDEOS} with .npy files in it; it has {found}")
    return groups[VIDEOS]


def _numbered(tree: Tree, trials: tuple[str, ...], scene: int | None) -> int:
    if scene is None and len(trials) > 1:
        few = ", ".join(f"{i}: {VIDEOS}/{trial}" for i, trial in enumerate(trials[:6]))
        raise SourceError(
            tree.path,
            f"holds {len(trials)} videos, choose with --scene N or "
            f"{tree.path}{SEPARATOR}{VIDEOS}/NAME: {few}{' …' if len(trials) > 6 else ''}",
        )
    if not 0 <= (scene or 0) < len(trials):
        raise SourceError(tree.path, f"has no scene {scene}: it holds {len(trials)} videos")
    return scene or 0


def _chosen(
    tree: Tree,
    trials: tuple[str, ...],
    name: str,
    groups: Mapping[str, tuple[str, ...]] | None = None,
) -> int:
    """Return the number of the video that ``::`` names."""
    group, _, trial = name.removeprefix("data/").removesuffix(".npy").rpartition("/")
    if group in (groups or groups_of(tree)) and group != VIDEOS:
        raise SourceError(
            tree.path, f"{group} are no images and are not ingested: choose {VIDEOS}/NAME"
        )
    if group not in ("", VIDEOS) or trial not in trials:
        raise SourceError(tree.path, f"has no {name}: its videos are {trials[0]} to {trials[-1]}")
    return trials.index(trial)


def _voxels(tree: Tree, trial: str, files: Files) -> Source:
    name = f"data/{VIDEOS}/{trial}.npy"
    _, dtype = header_of(tree, name)
    if dtype.hasobject:
        raise SourceError(f"{tree.path}/{name}", "holds pickled objects: refused")
    if isinstance(tree, ZipTree) and (offset := tree.stored(name)) is not None:
        _check_sum(tree, name, offset, files)
        return npy.open_within(tree.path, offset, tree.member(name).file_size, files)
    return npy.open_image(tree.address(name), files=files)


def _check_sum(tree: ZipTree, name: str, offset: int, files: Files) -> None:
    """Verify the checksum of a stored member, where looking at all of it costs no transfer."""
    member = tree.member(name)
    with strict(tree.path, name), files.open(tree.path) as data:
        if data.mapped and zlib.crc32(data.read(offset, member.file_size)) != member.CRC:
            raise SourceError(f"{tree.path}{SEPARATOR}{member.filename}", "its checksum is wrong")


def _extent(voxels: Source) -> tuple[str, tuple[int, ...]]:
    """Return axes, and shape without the padding: frames of NaN alone at the end."""
    found = voxels.description
    if len(found.shape) != 3:
        return open_letters(len(found.shape)), found.shape
    if np.dtype(found.dtype).kind != "f":
        return "yxt", found.shape
    filled = np.zeros(found.shape[-1], bool)
    whole = Region.whole(found.axes, found.shape)
    rows = max(1, _WINDOW // prod(found.shape[1:]))
    for part in whole.split((rows, *found.shape[1:])):
        filled |= ~np.isnan(voxels.read(part)).all(axis=(0, 1))
    if not filled.any():
        raise SourceError(found.name, "holds nothing but NaN")
    return "yxt", (*found.shape[:2], int(filled.nonzero()[0][-1]) + 1)


def _describe(
    tree: Tree, groups: Mapping[str, tuple[str, ...]], trial: str, voxels: Source
) -> Description:
    stored = voxels.description
    axes, shape = _extent(voxels)
    facts, notes = trials_facts.metadata_of(tree, groups, trial)
    facts["stored_shape"] = list(stored.shape)
    if shape != stored.shape:
        facts["true_length"] = shape[-1]
        padding = f"{stored.shape[-1] - shape[-1]} of {stored.shape[-1]} frames are padding (NaN)"
        notes = (f"{padding} and are left out", *notes)
    return replace(
        stored,
        format="Sensorium trials",
        axes=axes,
        shape=shape,
        block=tuple(map(min, stored.block, shape)),
        image=f"{VIDEOS}/{trial}",
        time_step=trials_facts.time_step(facts),
        metadata={"name": f"{VIDEOS}/{trial}", "Sensorium": facts},
        notes=(*notes, *trials_facts.notes_of(tree, groups)),
    )
