"""NRRD: one file with its header (``.nrrd``), or a header beside the voxels (``.nhdr``).

Source: https://teem.sourceforge.net/nrrd/format.html. Axes are listed fastest first, so that
``t c z y x`` in C order are x, y, z, c, t. Directions are in micrometers; what is known of
channels and the record are key/value pairs, JSON in ASCII.
"""

import json
from pathlib import Path
from typing import Any

from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.raw import write_file

_TYPES = {"float32": "float", "float64": "double"}
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
    space = [axis for axis in axes if axis in "xyz"]
    sizes = _lengths(cut, cut.scale, space)
    fields: dict[str, Any] = {
        "type": _TYPES.get(cut.dtype.name, cut.dtype.name),
        "dimension": len(axes),
        "space dimension": len(space),
        "sizes": " ".join(str(extent) for extent in cut.shape[::-1]),
        "space directions": " ".join(_direction(axis, space, sizes) for axis in axes),
        "kinds": " ".join(_KINDS.get(axis, "space") for axis in axes),
        "labels": " ".join(f'"{axis}"' for axis in axes),
        "space origin": _vector(_lengths(cut, cut.translation, space)),
        "endian": "little",
        "encoding": "gzip" if compress else "raw",
    }
    if _measured(cut, space):
        fields["space units"] = " ".join(['"microns"'] * len(space))
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


def _measured(cut: Cut, space: list[str]) -> bool:
    return cut.micrometers("".join(space)) is not None


def _lengths(cut: Cut, values: tuple[float, ...], space: list[str]) -> list[float]:
    """Return a length along each axis of space: in micrometers, or as it is without a unit."""
    found = [cut.along(axis, values, "micrometer") for axis in space]
    plain = [values[cut.axes.index(axis)] for axis in space]
    return [value for value in found if value is not None] if _measured(cut, space) else plain


def _direction(axis: str, space: list[str], sizes: list[float]) -> str:
    if axis not in space:
        return "none"
    return _vector(
        [size if axis == other else 0.0 for other, size in zip(space, sizes, strict=True)]
    )


def _vector(values: list[float]) -> str:
    return f"({','.join(f'{value:.15g}' for value in values)})"
