"""NIfTI: ``.nii`` or, deflated, ``.nii.gz``.

Source: https://nifti.nimh.nih.gov/nifti-2. Axes are x, y, z, t and, for channels, the fifth;
sizes are in micrometers. The record is an extension of the header, a comment that is JSON.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from microtome_core.dtypes import little_endian
from microtome_core.errors import InputError
from microtome_ingest.export.cut import Cut
from microtome_ingest.export.facts import history
from microtome_ingest.export.output import whole_file
from microtome_ingest.export.raw import write_file

# An extent of the first version is an int16.
_MOST = 32767
_COMMENT = "comment"
_FIVE = "xyztc"


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
    header.set_zooms([_size(cut, axis) for axis in _FIVE[: last + 1]])
    header.set_xyzt_units("micron" if _known(cut, "xy") else 0, "sec" if _known(cut, "t") else 0)
    affine = _affine(cut)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
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


def _affine(cut: Cut) -> np.ndarray:
    affine = np.eye(4)
    for place, axis in enumerate("xyz"):
        affine[place, place] = _size(cut, axis)
        if axis in cut.axes:
            affine[place, 3] = _length(cut, axis, cut.translation)
    return affine


def _size(cut: Cut, axis: str) -> float:
    return _length(cut, axis, cut.scale) if axis in cut.axes else 1.0


def _length(cut: Cut, axis: str, values: tuple[float, ...]) -> float:
    if axis == "c":
        return 1.0
    told = cut.along(axis, values, "second" if axis == "t" else "micrometer")
    return values[cut.axes.index(axis)] if told is None else told


def _known(cut: Cut, axes: str) -> bool:
    unit = "second" if axes == "t" else "micrometer"
    return all(cut.along(axis, cut.scale, unit) is not None for axis in axes)
