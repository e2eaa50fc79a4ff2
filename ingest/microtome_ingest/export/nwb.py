"""NWB: layers of a dataset in one HDF5 file, through pynwb and its extension ndx-microscopy.

Images and movies become acquisitions, a channel an object; labels become segmentations in the
processing module ``ophys``. Every layer's record lies whole, as JSON, in ``scratch``.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pynwb import NWBHDF5IO, NWBFile
from pynwb.image import ImageSeries

from microtome_core.errors import InputError
from microtome_core.store.location import Store
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import Facts, history, how_to_tell
from microtome_ingest.export.nwb_file import add_rig, make_file, plain_name
from microtome_ingest.export.nwb_images import (
    Picture,
    described,
    image,
    pictures,
    segmentation,
    timing,
)
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

    Raises
    ------
    InputError
        Metadata that NWB or DANDI needs are not there, a layer that NWB cannot hold.
    Conflict, StorageError
        As `whole_file`, or reading failed.
    """
    facts = Facts([cut.record for cut in cuts])
    _check(facts, cuts, incomplete=incomplete)
    nwb = make_file(facts, _name(cuts), [cut.info.version for cut in cuts])
    shown = _pictures(cuts)
    rig, indicators = add_rig(nwb, facts, [one.indicator for one in shown])
    for cut in cuts:
        _add_record(nwb, cut)
        if link is not None:
            nwb.add_acquisition(_linked(cut, path, link, nwb, incomplete=incomplete))
        elif cut.info.kind == "labels":
            _add_labels(nwb, cut)
    for one in [] if link else shown:
        nwb.add_acquisition(image(one, rig, indicators, timing(one.cut, guess=incomplete)))
    with whole_file(path, overwrite=overwrite) as part:
        _write(nwb, part)
    return [path]


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


def _check(facts: Facts, cuts: Sequence[Cut], *, incomplete: bool) -> None:
    lacking = facts.missing()
    if not cuts:
        raise InputError("there is no layer to export")
    if lacking and not incomplete:
        raise InputError(
            f"{cuts[0].info.layer_id.parent}: DANDI needs {', '.join(lacking)}: fill them with "
            f"{how_to_tell(cuts[0])}, or leave them out with --allow-incomplete"
        )


def _name(cuts: Sequence[Cut]) -> str:
    if len(cuts) == 1:
        return cuts[0].info.id
    return f"{cuts[0].info.layer_id.parent} ({', '.join(cut.name for cut in cuts)})"


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


def _add_record(nwb: NWBFile, cut: Cut) -> None:
    text = json.dumps(history(cut, "nwb"), ensure_ascii=False)
    words = f"All that is known of {cut.info.id}, as JSON: its NWB-style record."
    nwb.add_scratch(text, name=f"record_{plain_name(cut.name)}", description=words)


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
