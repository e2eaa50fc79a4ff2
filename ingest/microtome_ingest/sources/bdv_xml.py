"""What the XML of a BigDataViewer dataset says: file, view setups, time points, registrations.

Source of the format: Pietzsch et al., BigDataViewer, Nat. Methods 12 (2015), and the SpimData XML
that it writes. Sizes and matrices are x first; the voxels of a view are ``A`` times their index,
where ``A`` is the product of its transforms in the order of the file.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError

_LOADER = "bdv.hdf5"
_MOST_BYTES = 64 << 20
_MOST_TIMES = 1_000_000
_PLACE = ("angle", "tile", "illumination")


@dataclass(frozen=True, slots=True)
class Setup:
    """One view setup: an image in each time point.

    Parameters
    ----------
    number : int
    name : str
    shape : tuple of int, optional
        z y x.
    voxel_size : dict
        By axis.
    unit : str, optional
        As it is written.
    attributes : dict
        Numbers of its angle, tile, illumination, channel and whatever else is there.
    """

    number: int
    name: str = ""
    shape: tuple[int, ...] | None = None
    voxel_size: Mapping[str, float] = field(default_factory=dict)
    unit: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[object, ...]:
        """What channels of one image have in common."""
        alike = tuple(self.attributes.get(name) for name in _PLACE)
        return (*alike, self.shape, tuple(self.voxel_size.items()), self.unit)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as its XML describes it.

    Parameters
    ----------
    file : str
        The HDF5 file, relative to the XML.
    setups : tuple of Setup
    times : tuple of int
        Numbers of the time points.
    missing : frozenset
        (time point, setup) that were not recorded.
    transforms : dict
        Names and matrices of twelve numbers by (time point, setup).
    names : dict
        Of channels and the like by kind and number.
    text : str
        The XML itself.
    """

    file: str
    setups: tuple[Setup, ...]
    times: tuple[int, ...]
    missing: frozenset[tuple[int, int]] = frozenset()
    transforms: Mapping[tuple[int, int], list[dict[str, Any]]] = field(default_factory=dict)
    names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    text: str = ""


def parse(data: bytes, path: str) -> Dataset:
    """Read the XML.

    Raises
    ------
    SourceError
        Not well formed, incomplete, or of a dataset whose voxels are not in HDF5.
    """
    if len(data) > _MOST_BYTES:
        raise SourceError(path, f"{len(data)} bytes of XML: expected no more than {_MOST_BYTES}")
    if b"<!ENTITY" in data or b"<!DOCTYPE" in data:
        raise SourceError(path, "its XML declares entities: refused")
    try:
        root = fromstring(data)  # noqa: S314 - documents with entities are refused above
    except (ParseError, ValueError, LookupError) as error:
        raise SourceError(path, f"its XML is not well formed: {error}") from error
    try:
        return _dataset(root, path, data)
    except SourceError:
        raise
    except (ValueError, KeyError) as error:
        raise SourceError(path, f"its XML is incomplete or damaged: {error}") from error


def only_scale(transforms: list[dict[str, Any]]) -> bool:
    """Tell whether the product of matrices neither turns, shears nor moves."""
    product: NDArray[Any] = np.eye(4)
    with np.errstate(all="ignore"):  # absurd numbers are no scale
        for one in transforms:
            product = product @ np.vstack([np.reshape(one["affine"], (3, 4)), [0, 0, 0, 1]])
    return bool(np.allclose(product, np.diag(np.diag(product)), rtol=0, atol=1e-9))


def _dataset(root: Element, path: str, data: bytes) -> Dataset:
    sequence = _child(root, "SequenceDescription")
    views = _child(sequence, "ViewSetups")
    setups = tuple(map(_setup, views.findall("ViewSetup")))
    numbers = [setup.number for setup in setups]
    if not setups or len(set(numbers)) < len(numbers):
        raise ValueError(f"view setups {numbers}: expected different ones")
    return Dataset(
        file=_file(root, _child(sequence, "ImageLoader"), path),
        setups=setups,
        times=_times(_child(sequence, "Timepoints")),
        missing=frozenset(_view(e) for e in sequence.findall("MissingViews/MissingView")),
        transforms=dict(map(_registration, root.findall("ViewRegistrations/ViewRegistration"))),
        names=dict(_names(views)),
        text=data.decode("utf-8", errors="replace"),
    )


def _file(root: Element, loader: Element, path: str) -> str:
    kind = loader.get("format", "")
    if kind != _LOADER:
        where = ", ".join(_text(child) for child in loader if _text(child))
        raise SourceError(
            path,
            f"its voxels are read by {kind!r}, not {_LOADER!r}"
            + (f": ingest {where} itself" if where else ""),
        )
    file, base = _child(loader, "hdf5"), root.find("BasePath")
    folder = "." if base is None else _text(base) or "."
    for element in (file, base):
        if element is not None and element.get("type", "relative") != "relative":
            raise SourceError(path, f"leads to {_text(element)!r}, out of its folder: refused")
    name = _text(file)
    return name if folder == "." else f"{folder.rstrip('/')}/{name}"


def _setup(element: Element) -> Setup:
    size, voxels = element.find("size"), element.find("voxelSize")
    attributes = element.find("attributes")
    sizes = () if voxels is None else _numbers(_child(voxels, "size"), 3)
    unit = None if voxels is None else voxels.find("unit")
    return Setup(
        number=int(_text(_child(element, "id"))),
        name=_text(element.find("name")),
        shape=None if size is None else tuple(int(n) for n in reversed(_numbers(size, 3))),
        voxel_size=dict(zip("xyz", sizes, strict=False)),
        unit=_text(unit) or None,
        attributes={child.tag: _text(child) for child in attributes or ()},
    )


def _times(element: Element) -> tuple[int, ...]:
    kind = element.get("type")
    if kind == "range":
        first, last = (int(_text(_child(element, name))) for name in ("first", "last"))
        found = _span(first, last, 1)
    elif kind == "list":
        found = [int(_text(_child(one, "id"))) for one in element]
    elif kind == "pattern":
        found = list(_pattern(_text(_child(element, "integerpattern"))))
    else:
        raise ValueError(f"time points of type {kind!r}")
    if not found or min(found) < 0:
        raise ValueError("no time points")
    return tuple(sorted(set(found)))


def _pattern(text: str) -> Iterator[int]:
    """Yield the numbers of a pattern such as ``0, 2, 5-9, 10-20:5``."""
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", part.strip())
        if match is None:
            raise ValueError(f"time points {text[:80]!r}")
        first = int(match[1])
        yield from _span(first, int(match[2] or first), int(match[3] or 1))


def _span(first: int, last: int, step: int) -> list[int]:
    if last - first >= _MOST_TIMES:
        raise ValueError(f"time points {first} to {last}: too many")
    return list(range(first, last + 1, step))


def _registration(element: Element) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    found = [
        {"name": _text(e.find("Name")), "affine": list(_numbers(_child(e, "affine"), 12))}
        for e in element.findall("ViewTransform")
    ]
    return _view(element), found


def _view(element: Element) -> tuple[int, int]:
    return int(element.attrib["timepoint"]), int(element.attrib["setup"])


def _names(views: Element) -> Iterator[tuple[tuple[str, str], str]]:
    for kind in views.findall("Attributes"):
        for one in kind:
            yield (kind.get("name", ""), _text(one.find("id"))), _text(one.find("name"))


def _numbers(element: Element, count: int) -> tuple[float, ...]:
    found = tuple(float(part) for part in _text(element).replace(",", " ").split())
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{element.tag} {_text(element)[:80]!r}: expected {count} numbers")
    return found


def _child(element: Element, name: str) -> Element:
    found = element.find(name)
    if found is None:
        raise ValueError(f"{element.tag} has no {name}")
    return found


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()
