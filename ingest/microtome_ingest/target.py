"""What a visible layer is to be: its version, its manifest and its sealed ledger."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from microtome_core.errors import InputError, MicrotomeError, NotFound, StorageError
from microtome_core.grid import Grid
from microtome_core.names import LayerId
from microtome_core.store.array import open_array
from microtome_core.store.layer import find_layer, labels_path
from microtome_core.store.ledger import FOLDER, Ledger, load_sealed
from microtome_core.store.location import Store
from microtome_core.store.record import Record
from microtome_core.store.voxels import Voxels
from microtome_ingest.audit import Finding
from microtome_ingest.manifest import MANIFEST, Manifest, parse_manifest
from microtome_ingest.place import Place, visible_place
from microtome_ingest.plan import Plan


class Unverifiable(MicrotomeError):
    """Damage beyond which nothing can be compared.

    Parameters
    ----------
    finding : Finding
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.key}: {finding.detail}")
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Target:
    """A layer and what is known of it.

    Parameters
    ----------
    store : Store
    layer_id : LayerId
    place : Place
        Of the version that is visible.
    manifest : Manifest
    plan : Plan
    ledger : Ledger
        Sealed; where that is lost, empty at first.
    lost : Finding or None
        What is wrong with the sealed ledger.
    """

    store: Store
    layer_id: LayerId
    place: Place
    manifest: Manifest
    plan: Plan
    ledger: Ledger
    lost: Finding | None

    @property
    def folder(self) -> str:
        """The folder of the version below the root."""
        return self.place.folder

    def path(self, key: str) -> str:
        """Return the path below the root of a key below the version."""
        return f"{self.folder}/{key}"

    def voxels(self, level: int) -> Voxels:
        """Open a level; a shard that is lost cannot be read.

        Raises
        ------
        StorageError
        """
        array = open_array(self.store, self.place.array(level), complete=True)
        return Voxels(array, self.plan.shards(level), self.ledger.empty(level))

    def check_reachable(self) -> None:
        """Tell storage that fails, which may work later, from an object that is damaged.

        Raises
        ------
        StorageError
            Nothing of the version can be read.
        """
        if self.store.read(self.path(MANIFEST)) is None:
            raise StorageError(f"layer {self.layer_id} was removed meanwhile")

    def check_current(self) -> None:
        """Refuse what was found if the layer has been replaced meanwhile.

        Raises
        ------
        StorageError
        """
        if visible_place(self.store, self.place.layer) != self.place:
            raise StorageError(f"layer {self.layer_id} was replaced meanwhile: verify it again")


def open_target(store: Store, layer_id: LayerId) -> Target:
    """Find a layer's version, its manifest and its ledger.

    Raises
    ------
    NotFound
        No such layer; says so if its shards lie there unseen.
    InputError
        It has no ledger: microtome did not make it, or an older one did.
    Unverifiable
        Its manifest is lost or damaged.
    StorageError
        Storage failed.
    """
    place = _place(store, layer_id)
    manifest, plan = _manifest(store, layer_id, place)
    grids = [plan.shards(level) for level in range(len(plan.levels))]
    ledger, lost = _ledger(store, place, grids)
    return Target(store, layer_id, place, manifest, plan, ledger, lost)


def _place(store: Store, layer_id: LayerId) -> Place:
    try:
        path = find_layer(store, layer_id)
        place = visible_place(store, path) if path else None
    except StorageError as error:
        # Its metadata cannot be read, or nothing can, which the search then finds out.
        sealed = next(_versions(store, layer_id, sealed=True), None)
        if sealed is None:
            raise InputError(f"layer {layer_id} has no ledger, and {error}") from error
        return sealed
    if place is None:
        unseen = next(_versions(store, layer_id, sealed=False), None)
        raise NotFound(f"no layer {layer_id}{_advice(unseen) if unseen else ''}")
    return place


def _advice(unseen: Place) -> str:
    kept = ", which goes on with what is there" if unseen.number == 1 else ""
    return (
        f", though shards of it lie in {unseen.folder}: {unseen.layer}/zarr.json is lost, or an "
        f"ingest was not finished; run the same ingest again{kept}"
    )


def _versions(store: Store, layer_id: LayerId, *, sealed: bool) -> Iterator[Place]:
    """Yield versions of a layer that have a manifest, newest first, wherever they may lie."""
    images = (LayerId(layer_id.collection, layer_id.dataset, n) for n in _names(store, layer_id))
    for path in (str(layer_id), *(labels_path(image, layer_id.layer) for image in images)):
        names = [f"{name}/" for name in store.children(path)]
        later = [Place(path, name) for name in names if Place(path, name).number > 1]
        for place in (*sorted(later, key=lambda p: -p.number), Place(path)):
            if store.read(f"{place.folder}/{MANIFEST}") is None:
                continue
            if not sealed or _parts(store, place):
                yield place


def _names(store: Store, layer_id: LayerId) -> Iterator[str]:
    for name in store.children(str(layer_id.parent)):
        if store.children(f"{layer_id.parent}/{name}/labels"):
            yield name


def _parts(store: Store, place: Place) -> list[str]:
    """Return the files of a sealed ledger."""
    folder = f"{place.folder}/{FOLDER}"
    return sorted(key for key, _ in store.sizes(folder) if key.startswith(f"{folder}/shards-"))


def _manifest(store: Store, layer_id: LayerId, place: Place) -> tuple[Manifest, Plan]:
    document = store.read(f"{place.folder}/{MANIFEST}")
    if document is None and not _parts(store, place):
        raise InputError(
            f"layer {layer_id} has no ledger to compare it with: it was made by another program or "
            "by an older microtome; ingest it again with --restart"
        )
    if document is None:
        raise Unverifiable(Finding(MANIFEST, "missing", "the manifest of the ingest"))
    try:
        manifest = parse_manifest(document)
        return manifest, manifest.plan()
    except (ValueError, ArithmeticError, LookupError) as error:
        raise Unverifiable(Finding(MANIFEST, "unreadable", _line(error))) from error


def _ledger(store: Store, place: Place, grids: list[Grid]) -> tuple[Ledger, Finding | None]:
    parts = _parts(store, place)
    try:
        return load_sealed(store, place.folder, grids), None
    except StorageError as error:
        for part in parts:
            store.read(part)  # raises where it is storage that fails
        guilty = next((part for part in parts if part in str(error)), f"{place.folder}/{FOLDER}")
        key = guilty.removeprefix(f"{place.folder}/")
        ledger = Ledger(grids)
        ledger.files.update(_hashes(store, place))
        return ledger, Finding(key, "unreadable" if parts else "missing", _line(error))


def _hashes(store: Store, place: Place) -> Iterator[tuple[int, str]]:
    """Yield the hashes of the source's files that the layer's record knows, too."""
    try:
        record = json.loads(store.read(f"{place.layer}/zarr.json") or b"")["attributes"]["nwb"]
        files = Record.model_validate(record).source_files
    except (ValueError, LookupError, TypeError):
        return
    yield from ((number, file.sha256) for number, file in enumerate(files) if file.sha256)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
