"""NWB: layers of a dataset in one HDF5 file, through pynwb and its extension ndx-microscopy.

Images and movies become acquisitions, a channel an object; labels become segmentations in the
processing module ``ophys``; a recording becomes stimuli, responses, behaviour and trials. Every
layer's record lies whole, as JSON, in ``scratch``.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pynwb import NWBHDF5IO, NWBFile
from pynwb.image import ImageSeries

from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import Facts, history, how_to_tell, recording_history
from microtome_ingest.export.nwb_file import add_rig, make_file, plain_name
from microtome_ingest.export.nwb_images import (
    Picture,
    described,
    image,
    pictures,
    segmentation,
    timing,
)
from microtome_ingest.export.nwb_trial_tables import LAID
from microtome_ingest.export.nwb_trials import trials_of
from microtome_ingest.export.output import whole_file

# The name that NWB has for what comes of images.
_MODULE = "ophys"


def export_nwb(
    cuts: Sequence[Cut],
    path: Path,
    *,
    overwrite: bool = False,
    incomplete: bool = False,
    link: Store | None = None,
    recordings: Sequence[Recording] = (),
    count: Callable[[int], None] = lambda _: None,
) -> list[Path]:
    """Write a file.

    Parameters
    ----------
    cuts : sequence of Cut
        Of layers of one dataset.
    path : Path
    overwrite : bool
    incomplete : bool
        Accept that DANDI would not take it.
    link : Store, optional
        The store of the layers: they are referred to instead of copied.
    recordings : sequence of Recording
        Of the same dataset; one at most.
    count : callable
        Is told of the bytes that were read of a recording.

    Raises
    ------
    InputError
        Metadata that NWB or DANDI needs are not there, a layer that NWB cannot hold.
    Conflict, StorageError
        As `whole_file`, or reading failed.
    """
    facts = Facts([*(cut.record for cut in cuts), *(one.record for one in recordings)])
    _check(facts, cuts, recordings, incomplete=incomplete, link=link is not None)
    nwb = _frame(facts, cuts, recordings)
    shown = _pictures(cuts)
    rig, indicators = add_rig(nwb, facts, [one.indicator for one in shown])
    for cut in cuts:
        _keep(nwb, cut.info.id, history(cut, "nwb"))
        if link is not None:
            nwb.add_acquisition(_linked(cut, path, link, nwb, incomplete=incomplete))
        elif cut.info.kind == "labels":
            _add_labels(nwb, cut)
    for one in [] if link else shown:
        nwb.add_acquisition(image(one, rig, indicators, timing(one.cut, guess=incomplete)))
    for recording in recordings:
        trials_of(recording, count, guess=incomplete).add_to(nwb)
        _keep(nwb, str(recording.id), recording_history(recording, "nwb"))
    with whole_file(path, overwrite=overwrite) as part:
        _write(nwb, part)
    return [path]


def _frame(facts: Facts, cuts: Sequence[Cut], recordings: Sequence[Recording]) -> NWBFile:
    versions = [cut.info.record_version for cut in cuts]
    versions += [one.record_version for one in recordings]
    what = "Images" if cuts else "Trials"
    return make_file(facts, _name(cuts, recordings), versions, what, [LAID] if recordings else [])


def _write(nwb: NWBFile, part: Path) -> None:
    io = NWBHDF5IO(str(part), "w")
    try:
        io.write(nwb)
        io.close()
    except BaseException:
        # HDF5 writes what it still holds when it is closed, and fails again where the disk is
        # full: there is room once what will be removed anyway is gone.
        os.truncate(part, 0)
        with suppress(OSError, RuntimeError):
            io.close()
        raise


def _check(
    facts: Facts,
    cuts: Sequence[Cut],
    recordings: Sequence[Recording],
    *,
    incomplete: bool,
    link: bool,
) -> None:
    lacking, ids = facts.missing(), _ids(cuts, recordings)
    if not ids:
        raise InputError("there is no layer to export")
    if len(recordings) > 1:
        names = ", ".join(one.id.layer for one in recordings)
        raise InputError(
            f"{ids[0].parent} has the recordings {names}, and an NWB file is of one session: "
            "export them one by one, as collection/dataset/layer"
        )
    if link and recordings:
        raise InputError("--link: NWB refers to images alone; leave it out to copy the recording")
    if lacking and not incomplete:
        raise InputError(
            f"{ids[0].parent}: DANDI needs {', '.join(lacking)}: fill them with "
            f"{how_to_tell(ids[0].parent)}, or leave them out with --allow-incomplete"
        )


def _ids(cuts: Sequence[Cut], recordings: Sequence[Recording]) -> list[LayerId]:
    return [*(cut.info.layer_id for cut in cuts), *(one.id for one in recordings)]


def _name(cuts: Sequence[Cut], recordings: Sequence[Recording]) -> str:
    ids = _ids(cuts, recordings)
    if len(ids) == 1:
        return str(ids[0])
    return f"{ids[0].parent} ({', '.join(one.layer for one in ids)})"


def _pictures(cuts: Sequence[Cut]) -> list[Picture]:
    found: list[Picture] = []
    for cut in cuts:
        if cut.info.kind == "image":
            found += pictures(cut, [one.name for one in found])
    return found


def _add_labels(nwb: NWBFile, cut: Cut) -> None:
    if _MODULE not in nwb.processing:
        nwb.create_processing_module(_MODULE, "Objects that were found in images.")
    module = nwb.processing[_MODULE]
    name = plain_name(cut.name, list(module.data_interfaces))
    module.add(segmentation(cut, name, cut.layer.segments))


def _keep(nwb: NWBFile, layer: str, record: dict[str, Any]) -> None:
    text = json.dumps(record, ensure_ascii=False)
    words = f"All that is known of {layer}, as JSON: its NWB-style record."
    name = f"record_{plain_name(layer.rpartition('/')[2])}"
    nwb.add_scratch(text, name=name, description=words)


def _linked(cut: Cut, path: Path, store: Store, nwb: NWBFile, *, incomplete: bool) -> Any:  # noqa: ANN401 - an object of an untyped library
    """Return a series whose voxels are those of the OME-Zarr image, where it lies."""
    folder = store.local(cut.layer.path)
    if folder is None:
        raise InputError(
            f"--link: {store.url} is no folder of a disk, and NWB refers to files: leave it out"
        )
    if not cut.whole:
        raise InputError("--link: refers to a whole layer: give neither --level nor --region")
    when = timing(cut, guess=incomplete) or {"timestamps": np.zeros(1)}
    sizes = cut.micrometers("".join(a for a in "xyz" if a in cut.axes))
    size = f" Voxel size in x, y, z: {sizes} µm." if sizes else ""
    return ImageSeries(
        name=plain_name(cut.name, list(nwb.acquisition)),
        description=f"OME-Zarr 0.5 image, to be read with a Zarr library: {described(cut)}{size}",
        external_file=[os.path.relpath(folder, path.absolute().parent)],
        format="external",
        starting_frame=[0],
        dimension=[cut.extent(axis) for axis in "xyz" if axis in cut.axes],
        device=next(iter(nwb.devices.values())),
        unit="n.a.",
        **when,
    )
