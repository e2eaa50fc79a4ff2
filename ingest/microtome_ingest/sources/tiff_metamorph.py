"""MetaMorph's STK and Aperio's SVS: where they keep the pixel size.

Sources: Molecular Devices, "MetaMorph Stack (STK) Image File Format"; Aperio, "Digital slides and
third-party data interchange" (``MPP`` is micrometers per pixel).
"""

import numpy as np
from tifffile import TiffFile

from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit
from microtome_ingest.sources.tiff_facts import Facts
from microtome_ingest.sources.tiff_tags import notes, plain, verbatim


def stk_facts(tif: TiffFile) -> Facts:
    """Return what the UIC tags of a MetaMorph stack say."""
    meta = tif.stk_metadata or {}
    unit = length_unit(meta.get("CalibrationUnits"))
    sizes: dict[str, tuple[float, str | None]] = {}
    if meta.get("SpatialCalibration") and unit:
        sizes = {axis: (float(meta.get(f"{axis.upper()}Calibration", 0)), unit) for axis in "yx"}
    steps = np.unique(np.asarray(meta.get("ZDistance", ()), "float64"))
    if len(steps) == 1 and unit:
        sizes["z"] = abs(float(steps[0])), unit
    name = meta.get("Name")
    return Facts(
        format="MetaMorph STK",
        voxel_size=sizes,
        channels=(SourceChannel(name=str(name)),) if name else (),
        metadata={"MetaMorph": plain(meta), "TIFF": verbatim(tif.pages.first)},
        notes=notes(tif.pages.first),
    )


def svs_facts(tif: TiffFile, scene: int) -> Facts:
    """Return what the description of an Aperio slide says; only its first image is measured."""
    words = [part.partition("=") for part in tif.pages.first.description.split("|")]
    texts = [value.strip() for key, _, value in words if key.strip() == "MPP"]
    try:
        size = float(texts[0])
    except (IndexError, ValueError):
        size = 0.0
    return Facts(
        format="Aperio SVS",
        voxel_size=dict.fromkeys("yx", (size, "micrometer")) if scene == 0 else {},
        metadata={"Aperio": verbatim(tif.pages.first)},
        notes=notes(tif.pages.first),
    )
