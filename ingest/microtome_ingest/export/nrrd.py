"""NRRD: one file with its header (``.nrrd``), or a header beside the voxels (``.nhdr``).

Directions and origin are those of the source where the
record keeps them, else along the layer's axes in micrometers, in no named space. What is known of
channels and the record are key/value pairs, JSON in ASCII.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from microtome_core.nrrd import along_axes, channel_pairs, nrrd_header, pair_text
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.placing import Placing, not_known, placing
from microtome_ingest.export.raw import write_file


def export_nrrd(
    cut: Cut, path: Path, *, overwrite: bool = False, compress: bool = False
) -> list[Path]:
    """Write a file, or two of them; return them."""
    if path.suffix.lower() != ".nhdr":
        with whole_file(path, overwrite=overwrite) as part:
            head = _head(cut, None, compress=compress)
            write_file(part, head, cut, "voxels" if compress else "")
        return [path]
    beside = path.with_suffix(".raw.gz" if compress else ".raw")
    with (
        whole_file(path, overwrite=overwrite) as described,
        whole_file(beside, overwrite=overwrite) as part,
    ):
        write_file(part, b"", cut, "all" if compress else "")
        described.write_bytes(_head(cut, beside.name, compress=compress))
    return [path, beside]


def _head(cut: Cut, data_file: str | None, *, compress: bool) -> bytes:
    found = placing(cut) or _plain(cut)
    return nrrd_header(
        cut.shape,
        cut.dtype,
        cut.axes,
        matrix=found.matrix,
        units=[found.unit] * len(found.matrix),
        space=found.space,
        encoding="gzip" if compress else "raw",
        data_file=data_file,
        pairs=_pairs(cut),
    )


def _pairs(cut: Cut) -> dict[str, str]:
    found = {"microtome_layer": cut.info.id, "microtome_level": str(cut.level)}
    found["microtome_record"] = pair_text(history(cut, "nrrd"))
    found |= channel_pairs(cut.channels)
    if "t" in cut.axes:
        found["microtome_seconds_per_frame"] = json.dumps(cut.along("t", cut.scale, "second"))
    return found


def notes(cut: Cut) -> Sequence[str]:
    """Say what the file cannot tell of the cut."""
    found = placing(cut)
    if found is not None and found.space:
        return ()
    return not_known(cut, "the header names no space")


def _plain(cut: Cut) -> Placing:
    """Return where voxels lie along the axes of the layer, in micrometers where it has a unit."""
    measured = cut.micrometers("".join(axis for axis in "xyz" if axis in cut.axes)) is not None
    scale, origin = (
        {axis: _length(cut, axis, values, measured) for axis in cut.axes if axis in "xyz"}
        for values in (cut.scale, cut.translation)
    )
    return Placing(along_axes(cut.axes, scale, origin), "micrometer" if measured else None)


def _length(cut: Cut, axis: str, values: tuple[float, ...], measured: bool) -> float:
    told = cut.along(axis, values, "micrometer") if measured else None
    return values[cut.axes.index(axis)] if told is None else told
