"""Layers of many small shards in real stores, and what may happen to them."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.store.ledger import Entry
from microtome_core.store.location import Store
from microtome_ingest.audit import Finding
from microtome_ingest.budget import Budget
from microtome_ingest.compare import compare_voxels, reader
from microtome_ingest.extents import Extents
from microtome_ingest.formats import open_source
from microtome_ingest.job import ingest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions, SourceOptions
from microtome_ingest.repair import repair
from microtome_ingest.resolve import resolve
from microtome_ingest.target import Target, open_target
from microtome_ingest.verify import check_metadata, check_shards

BRAIN = LayerId("demo", "mouse", "brain")
LABELS = LayerId("demo", "mouse", "cells")
SIZES = SourceOptions(axes="zyx", voxel_size=(1.0, 1.0, 1.0))
BUDGET = Budget(3, 2**16)
SHAPE = (21, 40, 36)


def noise(seed: int = 0) -> NDArray[Any]:
    """Return a small stack of which the first shard is empty."""
    voxels = np.random.default_rng(seed).integers(1, 60000, SHAPE).astype("uint16")
    voxels[:16, :16, :16] = 0
    return voxels


@dataclass(frozen=True)
class Made:
    """A layer, the file that it was made of, and how to look at it."""

    store: Store
    layer: LayerId
    file: Path

    @property
    def target(self) -> Target:
        """Open it anew."""
        return open_target(self.store, self.layer)

    def find(self) -> list[Finding]:
        """Return what a verification finds."""
        target = self.target
        return [*check_metadata(target), *check_shards(target, 3, Observer())]

    def faults(self) -> dict[str, str]:
        """Return the same as keys and kinds."""
        return {found.key: found.fault for found in self.find()}

    def mend(self, source: Path | None) -> dict[str, str]:
        """Repair; return every finding's key with why it is left, or nothing."""
        target = self.target
        findings = [*check_metadata(target), *check_shards(target, 3, Observer())]
        with opened(source) as image:
            voxels = reader(target, image) if image else None
            return {m.finding.key: m.reason for m in repair(target, findings, voxels, BUDGET)}

    def compare(self, source: Path | None = None, wrong: Sequence[str] = ()) -> list[Finding]:
        """Return which shards differ from what they were made of."""
        target = self.target
        with opened(source or self.file) as image:
            voxels = reader(target, image)
            return list(compare_voxels(target, voxels, frozenset(wrong), BUDGET, Observer()))

    def objects(self) -> dict[str, bytes | None]:
        """Return every object of the store."""
        return {key: self.store.read(key) for key, _ in self.store.sizes(self.layer.collection)}

    def path(self, key: str) -> str:
        """Return where a key of the visible version lies."""
        return self.target.path(key)


@contextmanager
def opened(path: Path | None) -> Iterator[Any]:
    """Open a source, if there is one."""
    if path is None:
        yield None
        return
    with closing(open_source(str(path))) as source:
        yield source


def write(store: Store, file: Path, layer: LayerId, voxels: NDArray[Any], **options: Any) -> None:  # noqa: ANN401
    """Ingest an array from a file of chunks and shards so small that there are many."""
    np.save(file, voxels)
    layout = {"chunk": Extents.parse("8,8,8"), "shard": Extents.parse("16,16,16")}
    chosen = IngestOptions(**{"grace": 0.0, **layout, **options})
    with opened(file) as source:
        ingest(source, resolve(source.description, SIZES), store, layer, chosen, Observer())


def damage(made: Made, kind: str, key: str) -> None:
    """Damage one object."""
    path = made.path(key)
    good = made.store.read(path) or b""
    if kind == "missing":
        made.store.remove(path)
        return
    flipped = bytearray(good or b"?")
    flipped[len(flipped) // 3] ^= 4
    made.store.write(
        path,
        {
            "changed": bytes(flipped),
            "longer": good + b"?",
            "truncated": good[:-1],
            "empty": b"",
            "extra": b"?",
        }[kind],
    )


class Counter(Observer):
    """Remembers the shards that it was told of."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def advance(self, entry: Entry, size: int) -> None:
        """Note one."""
        self.seen.append(entry.key)


def on_disk(folder: Path) -> Made:
    """Return an image on disk."""
    return in_store(Store(str(folder / "root")), folder)


def in_store(store: Store, folder: Path) -> Made:
    """Return an image in a store, made of a file in a folder."""
    write(store, folder / "in.npy", BRAIN, noise())
    return Made(store, BRAIN, folder / "in.npy")


PLACES = ("first", "replaced", "labels")


def in_place(place: str, folder: Path) -> Made:
    """Return a layer on disk: a first version, a second one, or labels below their image."""
    store, file = Store(str(folder / "root")), folder / "in.npy"
    write(store, file, BRAIN, noise(1 if place == "replaced" else 0))
    if place == "replaced":
        write(store, file, BRAIN, noise(), restart=True)
    if place != "labels":
        return Made(store, BRAIN, file)
    write(store, folder / "cells.npy", LABELS, noise(), kind="labels", labels_of="brain")
    return Made(store, LABELS, folder / "cells.npy")
