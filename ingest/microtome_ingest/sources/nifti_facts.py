"""What a header of NIfTI or Analyze says: axes, type, sizes, space, and what is odd."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any

import numpy as np
from nibabel import nifti1
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, SourceError
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources import orientation
from microtome_ingest.sources.lengths import common_unit, length_unit, plausible
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.nifti_header import (
    Header,
    extensions,
    fields,
    label,
    shortest,
    text,
)
from microtome_ingest.sources.tiff_tags import plain

# Intents whose fifth axis is colour: nifti1.h, NIFTI_INTENT_RGB_VECTOR and RGBA_VECTOR.
_COLOR_VECTORS = {2003: 3, 2004: 4}
_SAME_SIZE = 1e-3


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes as they lie in memory, and what the voxels become.

    Parameters
    ----------
    axes : str
    shape : tuple of int
    stored : numpy.dtype
    dtype : str
        After scaling.
    scaling : (float, float), optional
        Slope and intercept.
    notes : tuple of str
    """

    axes: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    dtype: str
    scaling: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels as they are stored."""
        return prod(self.shape) * self.stored.itemsize


@dataclass(frozen=True, slots=True)
class NiftiFacts:
    """What goes into a description beside the layout."""

    voxel_size: Mapping[str, float]
    unit: str | None
    time_step: float | None
    channels: tuple[SourceChannel, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def lay(header: Header, path: str) -> Layout:
    """Return axes and types.

    Raises
    ------
    SourceError
        Fewer than two axes, more than six, no voxels, or a type that is not stored.
    """
    stored = header.dtype
    samples = len(stored.names or ())
    axes, shape = _axes(header, path, samples)
    slope, inter = (
        unset if value is None else float(value)
        for value, unset in zip(header.mended.get_slope_inter(), (1.0, 0.0), strict=True)
    )
    scaled = (slope, inter) != (1.0, 0.0)
    if samples:
        notes = ("scl_slope and scl_inter do not apply to colours: left out",) if scaled else ()
        return Layout(axes, shape, np.dtype("u1"), "uint8", notes=notes)
    if not scaled:
        return Layout(axes, shape, stored, _checked(stored, path))
    with np.errstate(all="ignore"):
        dtype = _checked(apply_read_scaling(np.zeros(1, stored), slope, inter).dtype, path)
    note = f"voxels are stored as {stored.name} and scaled as the header says: × {slope:g}"
    note += f" + {inter:g}, as {dtype}"
    return Layout(axes, shape, stored, dtype, (slope, inter), (note,))


def _checked(dtype: np.dtype[Any], path: str) -> str:
    try:
        return check_dtype(dtype).name
    except InputError as error:
        raise SourceError(path, str(error)) from error


def _axes(header: Header, path: str, samples: int) -> tuple[str, tuple[int, ...]]:
    """Return axes in the order of memory; of the fourth and later ones those longer than 1."""
    extents = header.shape
    if len(extents) < 2 or min(extents) < 1:
        raise SourceError(path, f"shape {extents}: an image needs x and y at least, and voxels")
    fifth = "s" if not samples and (_COLOR_VECTORS.get(header.intent),) == extents[4:5] else None
    named = ["x", "y", "z", None if header.no_time else "t", fifth, None, None]
    kept = [
        (name, extent)
        for i, (name, extent) in enumerate(zip(named, extents, strict=False))
        if i < 3 or extent > 1
    ][::-1]
    kept += [("s", samples)] if samples else []
    if len(kept) > 6:
        raise SourceError(path, f"shape {extents}: expected no more than 6 axes")
    spare = iter(open_letters(len(kept)))
    return "".join(name or next(spare) for name, _ in kept), tuple(extent for _, extent in kept)


def facts(header: Header, layout: Layout, block: bytes) -> NiftiFacts:
    """Return sizes, spaces and everything else.

    Parameters
    ----------
    header : Header
    layout : Layout
    block : bytes
        The file from its beginning to its voxels.
    """
    unit = length_unit(header.length_unit)
    sizes, unit = common_unit(
        {axis: (abs(header.step(i)), unit) for i, axis in enumerate("xyz") if axis in layout.axes}
    )
    step, time_notes = _time(header, layout)
    spaces, space_notes = _spaces(header)
    more, more_notes = extensions(block, header)
    kept = {
        "header": fields(header),
        "intent": None if header.is_analyze else label(nifti1.intent_codes, header.intent),
        **spaces,
        "extensions": more,
    }
    name = "Analyze" if header.is_analyze else "NIfTI"
    described = text(header.stored["descrip"].item())
    return NiftiFacts(
        voxel_size=sizes,
        unit=unit,
        time_step=step,
        channels=_window(header, layout),
        metadata=({"description": described} if described else {})
        | {name: {key: value for key, value in kept.items() if value}},
        notes=header.complaints + time_notes + space_notes + more_notes,
    )


def _time(header: Header, layout: Layout) -> tuple[float | None, tuple[str, ...]]:
    step = header.step(3)
    if header.no_time and len(header.shape) > 3 and header.shape[3] > 1:
        return None, (f"its fourth axis counts {header.no_time}, not time",)
    if "t" not in layout.axes or not plausible(step, None):
        return None, ()
    if header.seconds is None:
        return None, (f"its time step {step:g} has no unit of time: pass --time-step",)
    return float(f"{step * header.seconds:.12g}"), ()


def _window(header: Header, layout: Layout) -> tuple[SourceChannel, ...]:
    low, high = (shortest(header.stored[name][()]) for name in ("cal_min", "cal_max"))
    if not set(layout.axes) <= set("tzyx") or not (isfinite(low) and isfinite(high)) or low >= high:
        return ()
    return (SourceChannel(window=(low, high)),)


def _spaces(header: Header) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the affines of the header, x first, and what they say beside voxel sizes."""
    if header.is_analyze:
        return {}, ("Analyze has no affine: which way its axes point is not known",)
    found: dict[str, Any] = {}
    notes: list[str] = []
    best: NDArray[np.float64] | None = None
    for name in ("qform", "sform"):
        try:
            affine, code = getattr(header.mended, f"get_{name}")(coded=True)
        except (HeaderDataError, ValueError) as error:
            notes.append(f"its {name} is no affine ({error}): kept as numbers")
            continue
        if affine is not None:
            best = affine
            found[name] = {"code": label(nifti1.xform_codes, code), "affine": plain(affine)}
    if best is None:
        return found, (*notes, "it has no affine: which way its axes point is not known")
    letters = "xyz"[: len(header.shape)]
    steps = best[:3, : len(letters)]
    notes += orientation.notes(steps, letters)
    return found, (*notes, *_differing(header, steps, letters))


def _differing(header: Header, steps: NDArray[np.float64], letters: str) -> tuple[str, ...]:
    """Say where the affine has other voxel sizes than the header."""
    sizes = np.array([abs(header.step(i)) for i in range(len(letters))])
    lengths = np.linalg.norm(steps, axis=0)
    if not np.isfinite(lengths).all() or np.abs(lengths - sizes).max() <= _SAME_SIZE * sizes.max():
        return ()
    there = ", ".join(f"{a}={n:g}" for a, n in zip(letters, lengths, strict=True))
    return (f"its affine has voxel sizes {there}, unlike pixdim, which is taken",)
