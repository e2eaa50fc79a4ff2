"""What a file says and what the user says, brought together: every question answered or asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isclose

from microtome_core.axes import ORDER, SPATIAL, check_axes
from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, MissingMetadata, SourceError
from microtome_core.units import LENGTHS, convert, unit_name
from microtome_ingest.answers import EXAMPLE, positive, voxel_size_by_axis
from microtome_ingest.channels import resolve_channels
from microtome_ingest.options import SourceOptions, VolumeSpec
from microtome_ingest.source import Description, SourceChannel
from microtome_ingest.sources.lengths import plausible
from microtome_ingest.sources.letters import KNOWN

DEFAULT_UNIT = "micrometer"
_UNKNOWN = ("pixel", "pixels", "px")


@dataclass(frozen=True, slots=True)
class Resolution:
    """A source's image as it will be stored, and how to get there.

    Parameters
    ----------
    spec : VolumeSpec
    channels : tuple of SourceChannel
        One for each index of axis c, a single one where that is absent; with name and colour.
    order : tuple of int
        For each axis of `spec`, the source's axis that it comes from.
    """

    spec: VolumeSpec
    channels: tuple[SourceChannel, ...]
    order: tuple[int, ...]


def resolve(description: Description, options: SourceOptions) -> Resolution:
    """Answer every question about an image.

    Parameters
    ----------
    description : Description
    options : SourceOptions
        Overrides the file.

    Raises
    ------
    MissingMetadata
        Neither says what an axis means, how large a voxel is, or in which unit; the message names
        the option that does.
    InputError
        Options that do not fit the image, or a type of voxel that is not stored.
    """
    letters = _letters(description, options)
    stored = letters.replace("s", "c")
    axes = check_axes("".join(axis for axis in ORDER if axis in stored))
    order = tuple(stored.index(axis) for axis in axes)
    spec = _spec(description, options, letters, order)
    count = dict(zip(axes, spec.shape, strict=True)).get("c", 1)
    samples = spec.dtype if "s" in letters else None
    channels = resolve_channels(description.channels, count, options, samples=samples)
    return Resolution(spec, channels, order)


def _spec(
    description: Description, options: SourceOptions, letters: str, order: tuple[int, ...]
) -> VolumeSpec:
    # Numbers alone are in the order of the source's own axes, as the user sees them.
    sizes, unit = _voxel_size(description, options, "".join(a for a in letters if a in SPATIAL))
    axes = "".join(letters[i] for i in order).replace("s", "c")
    step = _time_step(description, options, axes)
    sizes["t"] = step or 1.0
    units = dict.fromkeys(SPATIAL, unit) | {"t": "second" if step else None}
    return VolumeSpec(
        axes=axes,
        shape=tuple(description.shape[i] for i in order),
        dtype=_dtype(description),
        scale=tuple(sizes.get(axis, 1.0) for axis in axes),
        units=tuple(units.get(axis) for axis in axes),
        block=tuple(description.block[i] for i in order),
    )


def _dtype(description: Description) -> str:
    try:
        return check_dtype(description.dtype).name
    except InputError as error:
        raise SourceError(description.name, f"has {error}") from error


def overruled(description: Description, spec: VolumeSpec) -> tuple[str, ...]:
    """Say which voxel sizes of the file will not be stored, for the user asked otherwise."""
    told = []
    for axis, scale, unit in zip(spec.axes, spec.scale, spec.units, strict=True):
        says = description.voxel_size.get(axis)
        if axis not in SPATIAL or not plausible(says, description.unit) or not description.unit:
            continue
        own = convert(float(says or 0), description.unit, unit) if unit else None
        if own is None or not isclose(own, scale, rel_tol=1e-6):
            stored = f"{scale:g} {unit or 'of unknown unit'}"
            told.append(f"{axis}={says:g} {description.unit}, stored is {stored}")
    return (f"the file says {'; '.join(told)}, as asked for",) if told else ()


def missing(description: Description) -> tuple[str, ...]:
    """Say what the file leaves open and which options answer it; empty if nothing is."""
    try:
        axes = "".join(axis for axis in _letters(description, SourceOptions()) if axis in SPATIAL)
    except InputError as error:
        return (_reason(error),)
    checks: tuple[Callable[[], object], ...] = (
        lambda: check_dtype(description.dtype),
        lambda: _voxel_size(description, SourceOptions(), axes),
    )
    return tuple(reason for check in checks if (reason := _failure(check)))


def _failure(check: Callable[[], object]) -> str | None:
    try:
        check()
    except InputError as error:
        return _reason(error)
    return None


def _reason(error: InputError) -> str:
    return error.reason if isinstance(error, MissingMetadata) else str(error)


def _letters(description: Description, options: SourceOptions) -> str:
    """Return one letter for each of the source's axes; ``-`` for those that are dropped."""
    axes = description.axes if options.axes is None else _check_answer(description, options.axes)
    pairs = list(zip(axes, description.shape, strict=True))
    opened = [axis for axis, extent in pairs if axis not in KNOWN and extent > 1]
    if opened or not {"y", "x"} <= set(axes):
        question = _question(description, opened) + _then(description, options)
        raise MissingMetadata(description.name, question)
    letters = "".join(a if _is_kept(a, n, description, options) else "-" for a, n in pairs)
    if {"c", "s"} <= set(letters):
        extents = dict(pairs)
        smaller = min("cs", key=lambda axis: extents[axis])
        if extents[smaller] > 1:
            raise InputError(
                f"{description.name}: {extents['c']} channels of {extents['s']} colour samples "
                "each: expected one or the other"
            )
        letters = letters.replace(smaller, "-")
    return letters


def _is_kept(axis: str, extent: int, description: Description, options: SourceOptions) -> bool:
    if axis not in KNOWN:
        return False
    # One plane that nobody measured: nothing is lost without its axis.
    unmeasured = (
        axis == "z" and extent == 1 and not plausible(description.voxel_size.get("z"), None)
    )
    asked = options.axes is not None or "z" in _named(options)
    return asked or not unmeasured


def _named(options: SourceOptions) -> str:
    return "".join(options.voxel_size) if isinstance(options.voxel_size, Mapping) else ""


def _check_answer(description: Description, axes: str) -> str:
    letters = axes.strip().lower()
    shape = description.shape
    if (
        len(letters) != len(shape)
        or len(set(letters)) < len(letters)
        or not set(letters) <= set(KNOWN)
    ):
        raise InputError(
            f"--axes {axes[:40]}: expected {len(shape)} different letters of t, c, z, y, x and s, "
            f"one for each axis of the shape {shape}, in its order"
        )
    if not {"y", "x"} <= set(letters):
        raise InputError(f"--axes {axes[:40]}: expected y and x among the letters")
    return letters


def _question(description: Description, opened: list[str]) -> str:
    what = "which axis is which" if not opened else f"what axis {', '.join(opened)} means"
    return (
        f"does not say {what} (axes {description.axes!r}, shape {description.shape}): "
        f"pass --axes {_proposal(description)}, one letter of t, c, z, y, x, s an axis"
    )


def _then(description: Description, options: SourceOptions) -> str:
    """Return what will be asked for once the axes are known, as far as it shows already."""
    if options.voxel_size is not None:
        return ""
    axes = "".join(axis for axis in _proposal(description) if axis in SPATIAL)
    try:
        _voxel_size(description, options, axes)
    except MissingMetadata as error:
        return f"; it {error.reason}"
    return ""


def _proposal(description: Description) -> str:
    """Return letters of the right number, known ones kept: an example, not a guess."""
    known = [axis if axis in KNOWN else None for axis in description.axes]
    spare = [axis for axis in "yxztcs" if axis not in known]
    places = [i for i, axis in enumerate(known) if axis is None]
    chosen = sorted(spare[: len(places)], key="tczyxs".index)
    for place, axis in zip(places, chosen, strict=False):
        known[place] = axis
    return "".join(axis or "?" for axis in known)


def _voxel_size(
    description: Description, options: SourceOptions, axes: str
) -> tuple[dict[str, float], str | None]:
    """Return the size by axis and its unit: the user's numbers over the file's.

    The unit ``pixel`` is the user's word that nobody knows: no unit, and 1 where no ratio is given.
    """
    given = voxel_size_by_axis(options.voxel_size, axes)
    if options.unit is not None and options.unit.strip().lower() in _UNKNOWN:
        return {axis: given.get(axis, 1.0) for axis in axes}, None
    answer = None if options.unit is None else _length(options.unit)
    from_file = {
        axis: float(description.voxel_size[axis])
        for axis in axes
        if axis not in given and plausible(description.voxel_size.get(axis), description.unit)
    }
    absent = [axis for axis in axes if axis not in given and axis not in from_file]
    if absent:
        raise MissingMetadata(description.name, _size_question(absent))
    # A unit that comes with sizes is theirs; alone, it is that of the file's numbers.
    file_unit = description.unit if given else answer or description.unit
    if from_file and file_unit is None:
        file_unit = answer if given else None
    if from_file and file_unit is None:
        raise MissingMetadata(description.name, _unit_question(from_file))
    own = answer or DEFAULT_UNIT
    unit = file_unit if from_file and file_unit else own
    return {a: from_file.get(a) or convert(given[a], own, unit) for a in axes}, unit


def _length(text: str) -> str:
    name = unit_name(text)
    if name not in LENGTHS:
        raise InputError(f"--unit {text[:40]!r}: expected a length, such as micrometer, or pixel")
    return name


def _size_question(absent: list[str]) -> str:
    example = ",".join(part for part in EXAMPLE.split(",") if part[0] in absent)
    return (
        f"does not say how large a voxel is along {', '.join(absent)}: "
        f"pass --voxel-size {example} (micrometers, or another --unit), "
        "or --unit pixel if nobody knows"
    )


def _unit_question(sizes: Mapping[str, float]) -> str:
    numbers = ", ".join(f"{axis}={size:g}" for axis, size in sizes.items())
    return f"has voxel sizes without a unit ({numbers}): pass --unit micrometer, or another length"


def _time_step(description: Description, options: SourceOptions, axes: str) -> float | None:
    if options.time_step is not None:
        if "t" not in axes:
            raise InputError(
                f"--time-step {options.time_step}: the image has no axis t, but {axes!r}"
            )
        return positive(options.time_step, "time step")
    return description.time_step if plausible(description.time_step, None) else None
