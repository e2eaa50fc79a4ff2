"""OME-Zarr: a region of any level as an image of its own, with a whole pyramid.

It is written as an ingest writes: sharded, compressed, every chunk checksummed, shards of zeros
left out and listed. The first voxel keeps its place: the translation of every level starts there.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from microtome_core.axes import check_axes
from microtome_core.layout import choose_layout
from microtome_core.store.binning import Method
from microtome_core.store.empty import write_empty
from microtome_core.store.layer import create_document
from microtome_core.store.ledger import Entry, Ledger
from microtome_core.store.location import Store
from microtome_core.store.ome import (
    Dataset,
    ImageLabel,
    LabelSource,
    Multiscale,
    Ome,
    Omero,
    Scale,
    Translation,
    multiscale,
    omero,
)
from microtome_core.store.record import SCHEMA
from microtome_ingest.budget import choose_budget, shard_bytes
from microtome_ingest.engine import Threads
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_folder
from microtome_ingest.options import VolumeSpec
from microtome_ingest.place import Place
from microtome_ingest.plan import Plan, Policy, make_plan
from microtome_ingest.run import Run

MARK = "zarr.json"
# Small enough that an export takes no more memory than others do.
_SHARD = 16 << 20
_MEMORY = 448 << 20


def export_ome_zarr(cut: Cut, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a folder."""
    with whole_folder(path, MARK, overwrite=overwrite) as part:
        write_image(cut, part)
    return [path]


def write_labels(image: Path, cuts: Sequence[Cut]) -> None:
    """Write labels into the folder of their image, and list them."""
    for cut in cuts:
        write_image(cut, image / "labels" / cut.name, LabelSource())
    if cuts:
        ome = {"version": "0.5", "labels": sorted(cut.name for cut in cuts)}
        (image / "labels" / MARK).write_bytes(create_document({"ome": ome}))


def write_image(cut: Cut, folder: Path, source: LabelSource | None = None) -> None:
    """Write an image, or labels of an image at `source`, into a new folder, its metadata last."""
    check_axes(cut.axes)
    plan = _plan(cut)
    store, place = Store(str(folder.parent)), Place(folder.name)
    ledger = Ledger(plan.grids)
    run = Run.open(store, place, plan, ledger, partial(_note, ledger))
    Threads().run(run, cut, choose_budget(_MEMORY, 2, shard_bytes(plan)))
    empty = [ledger.empty(level) for level in range(len(plan.levels))]
    count = sum(int(level.sum()) for level in empty)
    if count:
        write_empty(store, place.folder, empty)
    attributes = {
        "ome": _ome(cut, plan, source).to_json(),
        # Of this schema readers know that no shard is missing but those that are listed.
        "nwb": {**history(cut, "ome-zarr"), "schema_id": SCHEMA, "data": "0"},
        "microtome": {"version": "", "empty_shards": count},
    }
    _keep_segments(cut, attributes)
    store.write(f"{folder.name}/{MARK}", create_document(attributes))


def _note(ledger: Ledger, entry: Entry, _: int) -> None:
    ledger.add(entry)


def _plan(cut: Cut) -> Plan:
    spec = VolumeSpec(
        cut.axes,
        cut.shape,
        cut.dtype.name,
        cut.scale,
        cut.units,
        tuple(map(min, cut.chunk, cut.shape)),
    )
    layout = choose_layout(cut.axes, cut.shape, cut.scale, cut.dtype.itemsize, least=_SHARD)
    method: Method = "mode" if cut.info.kind == "labels" else "mean"
    return make_plan(spec, layout, Policy(method=method, batch_bytes=_SHARD))


def _ome(cut: Cut, plan: Plan, source: LabelSource | None) -> Ome:
    scales = multiscale(cut.name, plan.axes, plan.spec.units, plan.levels, plan.method)
    labels = cut.info.kind == "labels"
    return Ome.model_validate(
        {
            "multiscales": [_placed(scales, cut.translation)],
            "omero": None if labels or not cut.channels else _shown(cut),
            "image-label": ImageLabel(source=source) if labels else None,
        }
    )


def _placed(scales: Multiscale, start: tuple[float, ...]) -> Multiscale:
    """Return a pyramid of which the finest level's first voxel lies at `start`."""
    datasets = [
        Dataset(
            path=each.path,
            coordinateTransformations=[
                Scale(scale=list(each.scale)),
                Translation(
                    translation=[
                        float(f"{a + b:.15g}") for a, b in zip(each.translation, start, strict=True)
                    ]
                ),
            ],
        )
        for each in scales.datasets
    ]
    return scales.model_copy(update={"datasets": datasets})


def _shown(cut: Cut) -> Omero:
    if cut.dtype.kind == "f":
        windows = [channel.window for channel in cut.channels]
        return omero(cut.channels, min(w[0] for w in windows), max(w[1] for w in windows))
    limits = np.iinfo(cut.dtype)
    return omero(cut.channels, float(limits.min), float(limits.max))


def _keep_segments(cut: Cut, attributes: dict[str, Any]) -> None:
    if cut.info.kind == "labels" and cut.layer.segments:
        attributes["ome"]["image-label"]["properties"] = [dict(one) for one in cut.layer.segments]
