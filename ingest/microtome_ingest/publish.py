"""The last step: the ledger sealed, the metadata written, by which the layer becomes visible."""

import time
from typing import Any

import tensorstore as ts

from microtome_core.names import LayerId
from microtome_core.store.empty import write_empty
from microtome_core.store.jobs import forget_failures
from microtome_core.store.layer import publish_layer
from microtome_core.store.ledger import forget_journal, seal
from microtome_core.store.location import Store
from microtome_core.store.record import Conversion, SourceFile
from microtome_core.store.record_changes import replayed
from microtome_ingest.attributes import ome_attributes, record, shown_channels, shown_level
from microtome_ingest.carried import carry_history
from microtome_ingest.manifest import Manifest
from microtome_ingest.parts import ended_folder
from microtome_ingest.place import Place, sweep, visible_place
from microtome_ingest.run import Run


def publish(run: Run, manifest: Manifest) -> None:
    """Show a version of which every shard is known. Nothing of it is visible before.

    Raises
    ------
    StorageError
        Shards are not known, or storage failed.
    """
    store, place, ledger = run.store, run.place, run.ledger
    seal(store, place.folder, ledger)
    empty = [ledger.empty(level) for level in range(len(run.plan.levels))]
    count = sum(int(level.sum()) for level in empty)
    if count:
        write_empty(store, place.folder, empty)
    attributes = {
        **_described(run, manifest),
        "microtome": {"version": place.prefix.rstrip("/"), "empty_shards": count},
    }
    publish_layer(store, place.layer, attributes)
    tidy(store, place)


def finish(run: Run, manifest: Manifest, grace: float | None) -> None:
    """Show a version, and remove those that it replaces `grace` seconds later; None: it is new."""
    if grace is not None:
        visible = visible_place(run.store, run.place.layer)
        carry_history(run.store, visible, run.place, manifest.carried)
    publish(run, manifest)
    if grace is not None:
        # Those who have opened the old version are still reading it.
        time.sleep(grace)
        sweep(run.store, run.place)


def tidy(store: Store, place: Place) -> None:
    """Remove what only an unfinished version needs."""
    forget_journal(store, place.folder)
    store.delete(ended_folder(place.folder))
    forget_failures(store, place.folder)
    store.sweep(place.layer)


def _described(run: Run, manifest: Manifest) -> dict[str, Any]:
    plan, place = run.plan, run.place
    coloured = manifest.channels if manifest.kind == "image" else ()
    ome = ome_attributes(
        LayerId.parse(manifest.layer).layer,
        manifest.kind,
        plan,
        shown_channels(plan, coloured, _readable(run, shown_level(plan))),
        nested=manifest.labels_of is not None,
        prefix=place.prefix,
    )
    history = Conversion(
        tool="microtome",
        version=manifest.version,
        timestamp=manifest.started,
        parameters=manifest.settings(),
    )
    facts = (manifest.source, manifest.spec, manifest.told_channels)
    files, data = _files(run, manifest), f"{place.prefix}0"
    nwb = record(*facts, files, history, data=data, given=manifest.given)
    # Changes are made again: of a layer whose metadata were lost, and those that the version which
    # is replaced has seen since this one was begun.
    nwb = replayed(run.store, place.folder, nwb)
    return {"ome": ome, "nwb": nwb}


def _readable(run: Run, level: int) -> ts.TensorStore:
    """Return an array in which a lost shard is an error, unless the level has empty ones."""
    return run.arrays[level] if run.ledger.empty(level).any() else run.voxels(level).array


def _files(run: Run, manifest: Manifest) -> list[SourceFile]:
    return [
        SourceFile(name=file.name, size=file.size, sha256=run.ledger.files.get(i), etag=file.etag)
        for i, file in enumerate(manifest.source.files)
    ]
