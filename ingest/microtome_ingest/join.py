"""Joining the parts of an ingest: coarser levels made from the store, then the layer shown."""

from collections.abc import Iterator

from microtome_core.errors import InUse, NotFound, StorageError
from microtome_core.names import LayerId
from microtome_core.store.layer import find_layer, labels_path, read_layer
from microtome_core.store.ledger import Journal, Ledger, journal_folder, load_journal
from microtome_core.store.location import Store
from microtome_ingest.audit import reconcile
from microtome_ingest.budget import choose_budget, shard_bytes
from microtome_ingest.claim import Claim, Part
from microtome_ingest.job import Outcome, noting, tidy_up
from microtome_ingest.manifest import Manifest, read_manifest
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions
from microtome_ingest.parts import all_ended, divisions, unfinished
from microtome_ingest.place import Place, next_place
from microtome_ingest.publish import finish
from microtome_ingest.run import Run
from microtome_ingest.units import stages, whole


def commit(store: Store, layer_id: LayerId, options: IngestOptions, observer: Observer) -> Outcome:
    """Make a layer of its parts, which have written level 0 and perhaps some levels above.

    Parameters
    ----------
    store, layer_id
        Where the parts lie.
    options : IngestOptions
        Of these `memory`, `threads` and `grace`.
    observer : Observer

    Raises
    ------
    NotFound
        No layer of that name has been begun.
    Conflict
        A part is being written.
    StorageError
        Parts are not done, or storage failed; what is done is kept.
    """
    while True:
        found = _unfinished_place(store, layer_id)
        if found is None:
            return _committed(store, layer_id)
        place, visible, manifest = found
        with Claim(store, place.folder, Part()) as claim:
            # Another process may just have joined them.
            if next_place(store, place.layer) == (place, visible):
                _join(store, place, manifest, options, observer, claim, replaces=bool(visible))
                return Outcome(read_layer(store, layer_id).info, written=True)


def commit_last(
    store: Store, layer_id: LayerId, part: Part, options: IngestOptions, observer: Observer
) -> Outcome | None:
    """Make the layer if `part` was the last of all to end; None while others are at work.

    Each part calls it when it has ended: the last to do so finds all the others noted. Of several
    that end at once one joins them; if that one dies, it is begun again as its part is.

    Raises
    ------
    StorageError
        As `commit`.
    """
    found = _unfinished_place(store, layer_id)
    if found is not None and not all_ended(store, found[0].folder, part.count):
        return None
    try:
        return commit(store, layer_id, options, observer)
    except InUse:
        return None


def is_ended(store: Store, layer_id: LayerId, part: Part) -> bool:
    """Tell whether all parts of a layer have ended, so that `part` has nothing left to write."""
    found = _unfinished_place(store, layer_id)
    return found is not None and all_ended(store, found[0].folder, part.count)


def _join(
    store: Store,
    place: Place,
    manifest: Manifest,
    options: IngestOptions,
    observer: Observer,
    claim: Claim,
    *,
    replaces: bool,
) -> None:
    plan = manifest.plan()
    budget = choose_budget(options.memory, options.threads, shard_bytes(plan))
    ledger = Ledger(plan.grids)
    load_journal(store, place.folder, ledger)
    lost = reconcile(store, place.folder, ledger)
    with Journal(store, place.folder, ledger, claim.writer) as journal:
        done = noting(claim, journal, observer)
        run = Run.open(store, place, plan, ledger, done, claim.check)
        observer.resume(ledger, lost)
        if lost:
            _note_anew(run, journal)
        _check_whole(run, manifest)
        observer.begin(plan, ledger)
        for stage in stages(plan, 1)[1:]:
            run.write(whole(plan, stage), None, budget.threads)
    claim.confirm()
    finish(run, manifest, options.grace if replaces else None)


def _note_anew(run: Run, journal: Journal) -> None:
    """Note all that is left in this journal and remove the others: they know what was lost."""
    folder = journal_folder(run.place.folder)
    old = [key for key, _ in run.store.sizes(folder) if key.endswith(".jsonl")]
    for level in range(len(run.plan.levels)):
        for entry in run.ledger.entries(level):
            journal.add(entry)
    for number, sha256 in run.ledger.files.items():
        journal.add_file(number, sha256)
    journal.flush()
    for key in old:
        run.store.remove(key)


def _unfinished_place(
    store: Store, layer_id: LayerId
) -> tuple[Place, Place | None, Manifest] | None:
    """Return the version of a layer that has been begun, and the one that is visible, if any."""
    for layer in _folders(store, layer_id):
        place, visible = next_place(store, layer)
        manifest = read_manifest(store, place.folder)
        if manifest is not None:
            return place, visible, manifest
    return None


def _folders(store: Store, layer_id: LayerId) -> Iterator[str]:
    """Yield where a layer may lie: in its dataset, or as labels below an image."""
    yield str(layer_id)
    for image in store.children(str(layer_id.parent)):
        if "labels" in store.children(f"{layer_id.parent}/{image}"):
            yield labels_path(LayerId(layer_id.collection, layer_id.dataset, image), layer_id.layer)


def _committed(store: Store, layer_id: LayerId) -> Outcome:
    """Accept a layer that was joined before; what a process that died then left is removed."""
    path = find_layer(store, layer_id)
    if path is None:
        raise NotFound(
            f"no layer {layer_id} has been begun below {store.url}: run microtome ingest with "
            "--array-index first"
        )
    _, visible = next_place(store, path)
    if visible is not None:
        tidy_up(store, visible, Part())
    return Outcome(read_layer(store, layer_id).info, written=False)


def _check_whole(run: Run, manifest: Manifest) -> None:
    """Refuse to go on while shards of level 0 or the hashes of files are missing.

    Raises
    ------
    StorageError
        Says how many, and which parts were to make them.
    """
    ledger, total = run.ledger, run.ledger.grids[0].size
    shards, files = total - ledger.count(0), _unhashed(manifest, ledger)
    missing = [f"{shards} of {total} shards of level 0"] if shards else []
    if files:
        missing.append(f"the hashes of {len(files)} of {len(manifest.source.files)} files")
    if not missing:
        return
    found = divisions(run.store, run.place.folder)
    parts = [
        f"{index}/{division.count}"
        for division in found
        for index in sorted(
            {*unfinished(run, division), *(number % division.count for number in files)}
        )
    ]
    again = f"--array-index {_list(parts)}" if parts else "as before"
    raise StorageError(
        f"{manifest.layer}: {' and '.join(missing)} are missing: run microtome ingest {again} "
        "again, then commit"
    )


def _unhashed(manifest: Manifest, ledger: Ledger) -> list[int]:
    """Return the files whose hashes are to be found yet: only local ones are hashed."""
    files = enumerate(manifest.source.files)
    return [n for n, file in files if file.mtime_ns is not None and n not in ledger.files]


def _list(parts: list[str]) -> str:
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
