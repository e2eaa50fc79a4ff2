"""A layer's voxels against its source, and every coarser level against the one below it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError
from microtome_core.region import Region
from microtome_core.store.ledger import Entry
from microtome_core.store.voxels import Voxels
from microtome_ingest.audit import Finding
from microtome_ingest.budget import Budget
from microtome_ingest.canonical import canonical_source
from microtome_ingest.observer import Observer
from microtome_ingest.origin import changed_files
from microtome_ingest.plan import Plan
from microtome_ingest.resolve import Resolution
from microtome_ingest.source import Source
from microtome_ingest.target import Target
from microtome_ingest.units import Stage, Step, steps, whole
from microtome_ingest.verify import each
from microtome_ingest.write import Below, Readable

# Keys of shards that cannot be read, or not be believed.
Wrong = frozenset[str]


def check_source(target: Target, source: Source) -> tuple[str, ...]:
    """Refuse a source that the layer was not made of.

    Returns
    -------
    tuple of str
        What could not be decided without reading voxels, in words.

    Raises
    ------
    InputError
        Another image, or files of other bytes.
    """
    facts, found = target.manifest.source, source.description
    pairs = (
        ("format", facts.format, found.format),
        ("image", facts.image, found.image),
        ("axes", facts.axes, found.axes),
        ("shape", facts.shape, found.shape),
        ("dtype", target.plan.spec.dtype, check_dtype(found.dtype).name),
    )
    faults = [f"{name} is {now}, was {was}" for name, was, now in pairs if was != now]
    if not faults and len(facts.files) != len(found.files):
        faults = [f"it has {len(found.files)} files, had {len(facts.files)}"]
    notes = []
    for number, change in _changes(target, source) if not faults else ():
        if number in target.ledger.files:
            faults.append(change)
        else:
            notes.append(f"{change} or was copied, and no hash tells: the voxels decide")
    if faults:
        raise InputError(f"layer {target.layer_id} was made of another source: {'; '.join(faults)}")
    return tuple(notes)


def reader(target: Target, source: Source) -> Readable:
    """Return the source in the layer's axes, by the answers that were given to the ingest."""
    manifest = target.manifest
    resolution = Resolution(manifest.spec, manifest.channels, manifest.source.order)
    return canonical_source(source, resolution)


def below(target: Target, level: int, source: Readable | None) -> Readable:
    """Return what a level is made of: the source, or the level below as it is stored.

    Raises
    ------
    StorageError
    """
    if level:
        return Below(target.plan, level, target.voxels(level - 1))
    if source is None:
        raise RuntimeError("level 0 is made of the source")
    return source


def compare_voxels(
    target: Target, source: Readable, wrong: Wrong, budget: Budget, observer: Observer
) -> Iterator[Finding]:
    """Yield every shard that holds other voxels than what it was made of.

    Parameters
    ----------
    target : Target
    source : Readable
        In the layer's axes.
    wrong : set of str
        Shards that are left out, with those made of them.
    budget : Budget
    observer : Observer
        Is told of every shard that was compared.

    Raises
    ------
    SourceError, StorageError
    """
    plan = target.manifest.plan(budget.batch_bytes)
    for level in range(len(plan.levels)):
        comparison = _Level(target, plan, level, below(target, level, source), wrong, observer)
        todo = steps(plan, whole(plan, Stage(level, level)))
        for faults in each(comparison.compare, todo, budget.threads):
            yield from faults


def covered(plan: Plan, level: int, region: Region) -> Region:
    """Return the voxels one level down of which a region of `level` was made."""
    bins, finer = plan.bins(level), plan.arrays[level - 1].shape
    start = tuple(low * n for low, n in zip(region.start, bins, strict=True))
    ends = (high * n for high, n in zip(region.stop, bins, strict=True))
    return Region(region.axes, start, tuple(map(min, ends, finer)))


def keys_below(plan: Plan, level: int, region: Region) -> Iterator[str]:
    """Yield the keys of the shards one level down of which a region was made; none of level 0."""
    if level:
        for index in plan.shards(level - 1).touched(covered(plan, level, region)):
            yield Entry(level - 1, index, 0, "").key


class _Level:
    """Compares the shards of one level; may be called from several threads."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        level: int,
        source: Readable,
        wrong: Wrong,
        observer: Observer,
    ) -> None:
        self._plan, self._level, self._source = plan, level, source
        self._stored: Voxels = target.voxels(level)
        self._wrong, self._observer = wrong, observer
        self._name = f"level {level - 1}" if level else "the source"

    def compare(self, step: Step) -> list[Finding]:
        """Return what differs in one batch of whole shards."""
        grid = self._plan.shards(self._level)
        todo = [index for index in grid.touched(step.region) if self._comparable(index)]
        if not todo:
            return []
        block = self._source.read(step.region)
        faults = map(partial(self._shard, step.region, block), todo)
        return [fault for fault in faults if fault is not None]

    def _comparable(self, index: tuple[int, ...]) -> bool:
        region = self._plan.shards(self._level).region(index)
        needed = keys_below(self._plan, self._level, region)
        key = Entry(self._level, index, 0, "").key
        return key not in self._wrong and self._wrong.isdisjoint(needed)

    def _shard(self, batch: Region, block: NDArray[Any], index: tuple[int, ...]) -> Finding | None:
        region = self._plan.shards(self._level).region(index)
        expected = block[region.relative_to(batch.start).slices]
        stored = self._stored.load(region)
        entry = Entry(self._level, index, 0, "")
        self._observer.advance(entry, stored.nbytes)
        # Bits, so that NaN equals itself and zeros of either sign do not.
        bits = np.dtype(f"u{stored.itemsize}")
        unequal = np.ascontiguousarray(expected).view(bits) != stored.view(bits)
        count = int(np.count_nonzero(unequal))
        if not count:
            return None
        first = tuple(map(int, np.unravel_index(int(unequal.argmax()), unequal.shape)))
        place = ",".join(
            f"{axis}={low + i}"
            for axis, low, i in zip(region.axes, region.start, first, strict=True)
        )
        return Finding(
            entry.key,
            "differs",
            f"{count} of {region.size} voxels differ from {self._name}, the first at {place}: "
            f"{stored[first]}, expected {expected[first]}",
        )


def _changes(target: Target, source: Source) -> Iterator[tuple[int, str]]:
    """Yield number and words of each file that is not as it was."""
    paths, hashes = source.description.files, target.ledger.files
    there = zip(target.manifest.source.files, paths, strict=True)
    for number, (old, path) in enumerate(there):
        known = {0: hashes[number]} if number in hashes else {}
        for change in changed_files([old], {path: source.stamps[path]}, known):
            yield number, change
