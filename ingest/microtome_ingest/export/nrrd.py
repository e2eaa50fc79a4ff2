"""NRRD: one file with its header (``.nrrd``), or a header beside the voxels (``.nhdr``).

Source: https://teem.sourceforge.net/nrrd/format.html. Axes are listed fastest first, so that
``t c z y x`` in C order are x, y, z, c, t. Directions and origin are those of the source where the
record keeps them, else along the layer's axes in micrometers, in no named space. What is known of
channels and the record are key/value pairs, JSON in ASCII.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.placing import Matrix, Placing, not_known, placing
from microtome_ingest.export.raw import write_file

_TYPES = {"float32": "float", "float64": "double"}
_UNITS = {"micrometer": "microns", "millimeter": "mm", "nanometer": "nm", "meter": "m"}
_KINDS = {"c": "list", "t": "time"}


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
    axes = cut.axes[::-1]
    found = placing(cut) or _plain(cut)
    name = {"space": found.space} if found.space else {"space dimension": len(found.matrix)}
    fields: dict[str, Any] = {
        "type": _TYPES.get(cut.dtype.name, cut.dtype.name),
        "dimension": len(axes),
        **name,
        "sizes": " ".join(str(extent) for extent in cut.shape[::-1]),
        "space directions": " ".join(_direction(axis, found.matrix) for axis in axes),
        "kinds": " ".join(_KINDS.get(axis, "space") for axis in axes),
        "labels": " ".join(f'"{axis}"' for axis in axes),
        "space origin": _vector(found.matrix[:, 3]),
        "endian": "little",
        "encoding": "gzip" if compress else "raw",
    }
    if found.unit:
        fields["space units"] = " ".join(
            [f'"{_UNITS.get(found.unit, found.unit)}"'] * len(found.matrix)
        )
    if data_file:
        fields["data file"] = data_file
    lines = ["NRRD0005", *[f"{key}: {value}" for key, value in fields.items()]]
    pairs = {"microtome_layer": cut.info.id, "microtome_level": str(cut.level), **_pairs(cut)}
    lines += [f"{key}:={value}" for key, value in pairs.items()]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _pairs(cut: Cut) -> dict[str, str]:
    found = {"microtome_record": _json(history(cut, "nrrd"))}
    if cut.channels:
        found["microtome_channels"] = _json(
            [{"name": c.name, "color": c.color, "window": c.window} for c in cut.channels]
        )
    if "t" in cut.axes:
        found["microtome_seconds_per_frame"] = json.dumps(cut.along("t", cut.scale, "second"))
    return found


def _json(value: object) -> str:
    """Return JSON that is the same whether a reader takes back NRRD's escapes or, as some, not."""
    return json.dumps(value).replace("\\\\", "\\u005c").replace("\\n", "\\u000a")


def notes(cut: Cut) -> Sequence[str]:
    """Say what the file cannot tell of the cut."""
    found = placing(cut)
    if found is not None and found.space:
        return ()
    return not_known(cut, "the header names no space")


def _plain(cut: Cut) -> Placing:
    """Return where voxels lie along the axes of the layer, in micrometers where it has a unit."""
    space = [axis for axis in "xyz" if axis in cut.axes]
    measured = cut.micrometers("".join(space)) is not None
    matrix = np.zeros((len(space), 4))
    for row, axis in enumerate(space):
        size, place = (_length(cut, axis, v, measured) for v in (cut.scale, cut.translation))
        matrix[row, "xyz".index(axis)], matrix[row, 3] = size, place
    return Placing(matrix, "micrometer" if measured else None)


def _length(cut: Cut, axis: str, values: tuple[float, ...], measured: bool) -> float:
    told = cut.along(axis, values, "micrometer") if measured else None
    return values[cut.axes.index(axis)] if told is None else told


def _direction(axis: str, matrix: Matrix) -> str:
    step = matrix[:, "xyz".index(axis)] if axis in "xyz" else np.zeros(1)
    return _vector(step) if step.any() else "none"


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(f'{value:.15g}' for value in values)})"
