"""NIfTI: ``.nii`` or, deflated, ``.nii.gz``.

Source: https://nifti.nimh.nih.gov/nifti-2. Axes are x, y, z, t and, for channels, the fifth;
lengths are in the unit of the source or the layer, else in micrometers. How the source lay in space
is written back; where that is not known, the codes of both affines are 0. The record is an
extension of the header, a comment that is JSON.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError
from microtome_core.units import convert
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.placing import Placing, not_known, placing
from microtome_ingest.export.raw import write_file

# An extent of the first version is an int16.
_MOST = 32767
_COMMENT = "comment"
_FIVE = "xyztc"
_UNITS = {"meter": "meter", "millimeter": "mm", "micrometer": "micron"}
# From NRRD's spaces that are those of a body, to that of NIfTI.
_SIGNS = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_ANATOMICAL = "aligned"


def export_nifti(cut: Cut, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write one file.

    Raises
    ------
    InputError
        64-bit integers, which few programs that read NIfTI know.
    """
    if cut.dtype.name in {"int64", "uint64"}:
        raise InputError(
            f"{cut.info.id}: {cut.dtype} in NIfTI is read by few programs and rounded by others: "
            "export nrrd, precomputed or ome-zarr"
        )
    turned = cut.turned("".join(axis for axis in "ctzyx" if axis in cut.axes))
    deflate = path.name.lower().endswith(".gz")
    with whole_file(path, overwrite=overwrite) as part:
        write_file(part, _head(cut), turned, "all" if deflate else "")
    return [path]


def _head(cut: Cut) -> bytes:
    last = max(_FIVE.index(axis) for axis in cut.axes)
    shape = tuple(cut.extent(axis) for axis in _FIVE[: last + 1])
    kind: Any = nibabel.Nifti2Header if max(shape) > _MOST else nibabel.Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(little_endian(cut.dtype))
    header.set_data_shape(shape)
    header.set_slope_inter(1.0, 0.0)
    found = _placing(cut)
    unit = _unit(cut, found)
    header.set_zooms([_size(cut, axis, unit) for axis in _FIVE[: last + 1]])
    header.set_xyzt_units(_UNITS.get(unit or "", 0), "sec" if _known(cut, "t") else 0)
    _set_forms(header, cut, found, unit)
    header["descrip"] = f"{cut.info.id} level {cut.level}".encode()[:79]
    text = json.dumps(history(cut, "nifti"), ensure_ascii=False)
    header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, text.encode()))
    # In one file the voxels follow what is said of them.
    header["magic"] = header.single_magic
    end = header.single_vox_offset + header.extensions.get_sizeondisk()
    header["vox_offset"] = -(-end // 16) * 16
    head = BytesIO()
    header.write_to(head)
    return head.getvalue().ljust(int(header["vox_offset"]), b"\0")


def notes(cut: Cut) -> Sequence[str]:
    """Say what the file cannot tell of the cut."""
    if _placing(cut) is not None:
        return ()
    return not_known(cut, "sform and qform have code 0, voxel sizes are right")


def _placing(cut: Cut) -> Placing | None:
    """Return how the cut lies in the world of NIfTI: x to the right, y to the front, z up."""
    found = placing(cut)
    signs = _SIGNS.get(found.space.lower()) if found else None
    if found is None or found.forms or signs is None:
        return found if found and found.forms else None
    if found.matrix.shape != (3, 4) or np.linalg.matrix_rank(found.matrix[:, :3]) < 3:
        return None
    affine = np.vstack([found.matrix * np.array(signs)[:, None], [0.0, 0.0, 0.0, 1.0]])
    return replace(found, forms={"sform": (_ANATOMICAL, affine)})


def _set_forms(header: Any, cut: Cut, found: Placing | None, unit: str | None) -> None:  # noqa: ANN401 - of an untyped library
    forms = dict(found.forms or {}) if found else {}
    if not forms:
        affine = np.eye(4)
        for place, axis in enumerate("xyz"):
            affine[place, place] = _size(cut, axis, unit)
            affine[place, 3] = _length(cut, axis, cut.translation, unit) if axis in cut.axes else 0
        forms = dict.fromkeys(("sform", "qform"), ("0", affine))
    factor = convert(1.0, found.unit, unit) if found and found.unit and unit else 1.0
    for name, (code, affine) in forms.items():
        lengths = np.diag([factor, factor, factor, 1.0]) @ affine
        getattr(header, f"set_{name}")(lengths, code=1)
        known = nibabel.nifti1.xform_codes.code
        header[f"{name}_code"] = known[code] if code in known else int(code)


def _unit(cut: Cut, found: Placing | None) -> str | None:
    """Return the unit of lengths in the file: that of the source, or of the layer."""
    own = {unit for axis, unit in zip(cut.axes, cut.units, strict=True) if axis in "xyz"}
    told = found.unit if found else next(iter(own)) if len(own) == 1 else "micrometer"
    if told is None or None in own:
        return None
    if told in _UNITS:
        return told
    return "millimeter" if found else "micrometer"


def _size(cut: Cut, axis: str, unit: str | None) -> float:
    return _length(cut, axis, cut.scale, unit) if axis in cut.axes else 1.0


def _length(cut: Cut, axis: str, values: tuple[float, ...], unit: str | None) -> float:
    if axis == "c":
        return 1.0
    into = "second" if axis == "t" else unit
    told = cut.along(axis, values, into) if into else None
    return values[cut.axes.index(axis)] if told is None else told


def _known(cut: Cut, axes: str) -> bool:
    return all(cut.along(axis, cut.scale, "second") is not None for axis in axes)
