"""How a cut lies in space, as the file said that its layer came of.

A layer keeps its voxels in the order of the file; turns, flips and origin stand in its record
alone. The affine there leads from voxels to space; a region and a level are a shift and a scale
before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import MicrotomeError
from microtome_core.units import convert
from microtome_ingest.export.cut import Cut

Matrix = NDArray[np.float64]

# Of NIfTI's world, in NRRD's words.
WORLD = "right-anterior-superior"
_NIFTI_UNITS = {1: "meter", 2: "millimeter", 3: "micrometer"}
_SAME_SIZE = 1e-3


@dataclass(frozen=True, slots=True)
class Placing:
    """Where voxels lie.

    Parameters
    ----------
    matrix : ndarray
        Shape (dimension of space, 4): a step along x, y and z as columns, zeros where there is no
        such axis, and the place of the first voxel.
    unit : str, optional
        Of its numbers.
    space : str
        NRRD's name of the space, empty where nobody says.
    forms : dict
        Of a source that is NIfTI: (code, matrix) by ``sform`` and ``qform``, as far as it has them.
    """

    matrix: Matrix
    unit: str | None
    space: str = ""
    forms: Mapping[str, tuple[str, Matrix]] | None = None

    def moved(self, inner: Matrix) -> "Placing":
        """Return the same of voxels that `inner`, shape (4, 4), leads to the old ones."""
        forms = {name: (code, one @ inner) for name, (code, one) in (self.forms or {}).items()}
        return replace(self, matrix=self.matrix @ inner, forms=forms)


def placing(cut: Cut) -> Placing | None:
    """Return how a cut lies in the space of its source; None where that is not known.

    It is not where the source had no such space, and where the layer has other extents or voxel
    sizes than the source had: what was answered at ingest then holds, and not the affine.

    Raises
    ------
    MicrotomeError
        The source was NRRD, and pynrrd is not installed.
    """
    original = cut.record.get("original_metadata") or {}
    found = None
    if isinstance(told := original.get("NIfTI"), Mapping):
        found = _nifti(cut, told)
    elif isinstance(told := original.get("NRRD"), Mapping):
        found = _nrrd(cut, told)
    return found.moved(_inner(cut)) if found else None


def _nifti(cut: Cut, told: Mapping[str, Any]) -> Placing | None:
    header = told.get("header") or {}
    dim, pixdim = header.get("dim") or [0], header.get("pixdim") or [0]
    forms = {
        name: (str(told[name]["code"]), np.array(told[name]["affine"], np.float64))
        for name in ("qform", "sform")
        if name in told
    }
    # An ingest that could not use an affine kept it all the same.
    forms = {name: one for name, one in forms.items() if _is_space(one[1])}
    unit = _NIFTI_UNITS.get(int(header.get("xyzt_units", 0)) & 7, _unit(cut))
    count = int(dim[0])
    extents = dict(zip("xyz", dim[1 : count + 1], strict=False))
    sizes = {axis: abs(float(size)) for axis, size in zip(extents, pixdim[1:], strict=False)}
    if not forms or not _fits(cut, extents, sizes, unit):
        return None
    best = forms.get("sform") or forms["qform"]
    return Placing(best[1][:3], unit, WORLD, forms)


def _nrrd(cut: Cut, told: Mapping[str, Any]) -> Placing | None:
    try:
        from microtome_ingest.sources.nrrd_facts import space_units, steps  # noqa: PLC0415 - needs pynrrd
        from microtome_ingest.sources.nrrd_header import told_header  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise MicrotomeError(
            f"{cut.info.id}: its space, as NRRD tells it, needs {error.name}: "
            "install the extra 'nrrd' of microtome"
        ) from error
    header = told_header(told)
    space = steps(header)
    if header.has_time_in_space or not space:
        return None
    units = space_units(header)
    unit = next(iter(units), None) or _unit(cut)
    extents = {axis: size for axis, (size, _) in space.items()}
    sizes = {axis: float(np.linalg.norm(step)) for axis, (_, step) in space.items()}
    if len(units) > 1 or not _fits(cut, extents, sizes, unit):
        return None
    origin = np.asarray(header.values.get("space origin", ()), np.float64)
    depth = len(next(iter(space.values()))[1])
    matrix = np.zeros((depth, 4))
    for axis, (_, step) in space.items():
        matrix[:, "xyz".index(axis)] = step
    if origin.shape == (depth,) and np.isfinite(origin).all():
        matrix[:, 3] = origin
    return Placing(matrix, unit, header.texts.get("space", ""))


def _fits(
    cut: Cut, extents: Mapping[str, int], sizes: Mapping[str, float], unit: str | None
) -> bool:
    """Tell whether the layer has the source's extents and voxel sizes in space."""
    info = cut.info
    own = dict(zip(info.axes, info.shape, strict=True))
    if any(own.get(axis, 1) != extents.get(axis, 1) for axis in "xyz"):
        return False
    scales = zip(info.axes, info.levels[0].scale, info.units, strict=True)
    for axis, scale, own_unit in scales:
        if axis not in sizes:
            continue
        size = convert(scale, own_unit, unit) if own_unit and unit else scale
        if abs(size - sizes[axis]) > _SAME_SIZE * size:
            return False
    return True


def _is_space(affine: Matrix) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]))


def _unit(cut: Cut) -> str | None:
    """Return the unit of the layer's axes in space, if they have one in common."""
    units = {u for a, u in zip(cut.info.axes, cut.info.units, strict=True) if a in "xyz"}
    return units.pop() if len(units) == 1 else None


def _inner(cut: Cut) -> Matrix:
    """Return the matrix from x, y, z of the cut to those of level 0, in voxels."""
    level, base = cut.info.levels[cut.level], cut.info.levels[0]
    inner = np.eye(4)
    for place, axis in enumerate("xyz"):
        if axis not in cut.info.axes:
            continue
        i = cut.info.axes.index(axis)
        shift = level.translation[i] - base.translation[i]
        inner[place, place] = level.scale[i] / base.scale[i]
        inner[place, 3] = (shift + cut.region.start[i] * level.scale[i]) / base.scale[i]
    return inner


def not_known(cut: Cut, what: str) -> Sequence[str]:
    """Return the note that nobody knows how voxels are turned."""
    return (f"{cut.info.id}: which way its axes point in the body is not known: {what}",)
