"""What an HDF5 dataset says of itself: axes, attributes, and traps of known programs."""

from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from microtome_ingest.sources.hdf5_kinds import kind
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.tiff_tags import plain

_LETTERS = "tczyx"
# How HDF5 itself ties dimension scales to datasets.
_PLUMBING = {"DIMENSION_LIST", "REFERENCE_LIST"}
_MOST_NUMBERS = 10_000
_PROGRAMS = {
    "imaris": "an Imaris file",
    "bdv": "a BigDataViewer file",
    "nwb": "an NWB file",
}


def axes(dataset: Any) -> str:  # noqa: ANN401 - h5py has no types
    """Return a letter an axis: what a label or a dimension scale names t, c, z, y or x, else open.

    Notes
    -----
    HDF5 Dimension Scale Specification: labels are in the attribute ``DIMENSION_LABELS``.
    """
    named = [_named(dataset, i) for i in range(dataset.ndim)]
    known = [letter for letter in named if letter]
    if len(set(known)) < len(known):
        return open_letters(dataset.ndim)
    spare = iter(open_letters(dataset.ndim))
    return "".join(letter or next(spare) for letter in named)


def attributes(file: Any, dataset: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the attributes of a dataset and of all groups above it, by path; as JSON holds them.

    Long arrays are named and left out.
    """
    found: dict[str, Any] = {}
    path = ""
    for part in ["", *dataset.name.strip("/").split("/")]:
        path = f"{path.rstrip('/')}/{part}"
        if words := attributes_of(file[path]):
            found[path] = words
    return found


def attributes_of(item: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the attributes of a group or dataset as JSON holds them."""
    return {_text(name): attribute(item, name) for name in item.attrs if name not in _PLUMBING}


def notes(file: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Say where the program that wrote a file means more than is in the array."""
    program = _PROGRAMS.get(kind(file))
    if program is None:
        return ()
    return (f"one array of {program}, as it is stored: without ::/path it is read as it is meant",)


def _named(dataset: Any, axis: int) -> str | None:  # noqa: ANN401
    labels = dataset.attrs.get("DIMENSION_LABELS", ())
    label = _text(labels[axis]) if len(labels) == dataset.ndim else ""
    scales = list(dataset.dims[axis].keys())
    names = [label] if label else [str(scale) for scale in scales]
    letter = names[0].lower() if len(names) == 1 else ""
    return letter if len(letter) == 1 and letter in _LETTERS else None


def attribute(item: Any, name: str) -> Any:  # noqa: ANN401
    """Return one attribute as JSON holds it; in words where it is long or cannot be shown."""
    try:
        value = item.attrs[name]
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # a type that NumPy lacks
        return f"cannot be shown: {error}"
    return as_json(value)


def small(item: Any, most: int = _MOST_NUMBERS) -> Any:  # noqa: ANN401
    """Return an array of no more than `most` elements that lies in the file itself, or None."""
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.size > most:
        return None
    return None if item.external or item.is_virtual else item[()]


def as_json(value: Any) -> Any:  # noqa: ANN401
    """Return what h5py reads as JSON holds it; in words where it is long."""
    if isinstance(value, np.ndarray) and value.size > _MOST_NUMBERS:
        return f"left out: {value.dtype} {value.shape}"
    return plain(_texts(value))


def _texts(value: Any) -> Any:  # noqa: ANN401
    """Return a value with bytes that are text as text."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSV":
        return [_texts(item) for item in value.tolist()]
    if isinstance(value, list | tuple):
        return [_texts(item) for item in value]
    return _text(value) if isinstance(value, bytes) else value


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return value.hex()
