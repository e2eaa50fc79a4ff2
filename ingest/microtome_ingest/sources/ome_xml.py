"""OME-XML: the images it describes, and where their planes are.

Source of names and defaults: OME data model 2016-06, ome.xsd: lengths are in µm, times in s and
wavelengths in nm unless a ``...Unit`` attribute says otherwise; colours are signed RGBA integers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from microtome_core.errors import InputError, SourceError
from microtome_core.units import convert
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources.lengths import length_unit, plausible


@dataclass(frozen=True, slots=True)
class TiffData:
    """A run of planes in one file; None where the XML is silent."""

    first: Mapping[str, int]
    ifd: int
    count: int | None
    file: str | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of an OME-XML document.

    Parameters
    ----------
    axes : str
        Slowest first, lower case: the reverse of DimensionOrder, with s where pixels have samples.
    shape : tuple of int
        In the order of `axes`; c counts channels, not samples.
    voxel_size : dict
        (size, standard unit) by axis.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    voxel_size: Mapping[str, tuple[float, str | None]]
    time_step: float | None
    channels: tuple[SourceChannel, ...]
    data: tuple[TiffData, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse(xml: str, path: str) -> Element:
    """Return the root of an OME-XML document.

    Raises
    ------
    SourceError
        Not well formed, or with entities of its own, which OME-XML never has.
    """
    if "<!ENTITY" in xml or "<!DOCTYPE" in xml:
        raise SourceError(path, "its OME-XML declares entities: refused")
    try:
        return fromstring(xml)  # noqa: S314 - documents with entities are refused above
    except ParseError as error:
        raise SourceError(path, f"its OME-XML is not well formed: {error}") from error


def companion_of(root: Element) -> str | None:
    """Return the file that holds the metadata of a BinaryOnly file."""
    only = next(children(root, "BinaryOnly"), None)
    return None if only is None else only.get("MetadataFile")


def children(element: Element, name: str) -> Iterator[Element]:
    """Yield the direct children of that name in any namespace."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)


def images(root: Element, path: str, planes: str = "TiffData") -> tuple[OmeImage, ...]:
    """Return every image that has planes in TIFF files, or whose pixels hold another element.

    Parameters
    ----------
    root : Element
    path : str
        For messages.
    planes : str
        ``MetadataOnly`` for documents that lie beside Zarr arrays.

    Raises
    ------
    SourceError
        Attributes that are missing or contradict each other.
    """
    try:
        found = [(image, p) for image in children(root, "Image") for p in children(image, "Pixels")]
        return tuple(_image(root, i, p) for i, p in found if list(children(p, planes)))
    except (KeyError, ValueError) as error:
        raise SourceError(path, f"its OME-XML is incomplete: {error!r}") from error


def _image(root: Element, image: Element, pixels: Element) -> OmeImage:
    order = pixels.attrib["DimensionOrder"]
    channels = list(children(pixels, "Channel"))
    samples = {int(channel.get("SamplesPerPixel", 1)) for channel in channels} or {1}
    if len(samples) > 1:
        raise ValueError(f"channels of {sorted(samples)} samples in one image")
    extents = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in order}
    extents["C"] //= max(samples)
    axes, shape = order[::-1].lower(), tuple(extents[axis] for axis in order[::-1])
    return OmeImage(
        name=image.get("Name", ""),
        axes=axes + ("s" if max(samples) > 1 else ""),
        shape=shape + ((max(samples),) if max(samples) > 1 else ()),
        dtype=_DTYPES.get(pixels.attrib["Type"], pixels.attrib["Type"]),
        voxel_size=_voxel_size(pixels),
        time_step=_quantity(pixels, "TimeIncrement", "s", "second"),
        channels=tuple(map(_channel, channels)),
        data=tuple(map(_tiff_data, children(pixels, "TiffData"))),
        metadata=_facts(root, image, pixels),
        notes=_modulo(root),
    )


_DTYPES = {"float": "float32", "double": "float64", "bit": "bool", "complex": "complex64",
           "double-complex": "complex128"}  # fmt: skip


def _voxel_size(pixels: Element) -> dict[str, tuple[float, str | None]]:
    sizes: dict[str, tuple[float, str | None]] = {}
    for axis in "zyx":
        size = _number(pixels.get(f"PhysicalSize{axis.upper()}"))
        unit = length_unit(pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm"))
        if unit and plausible(size, unit):  # "pixel" and "reference frame" are no lengths
            sizes[axis] = float(size), unit
    return sizes


def _tiff_data(element: Element) -> TiffData:
    uuid = next(children(element, "UUID"), None)
    count = element.get(
        "PlaneCount", element.get("NumPlanes", "1" if "IFD" in element.attrib else None)
    )
    return TiffData(
        first={axis: int(element.get(f"First{axis.upper()}", 0)) for axis in "tcz"},
        ifd=int(element.get("IFD", 0)),
        count=None if count is None else int(count),
        file=None if uuid is None else uuid.get("FileName"),
        uuid=None if uuid is None else (uuid.text or "").strip(),
    )


def _channel(element: Element) -> SourceChannel:
    facts = {
        "emission_wavelength_in_nm": _quantity(element, "EmissionWavelength", "nm", "nanometer"),
        "excitation_wavelength_in_nm": _quantity(
            element, "ExcitationWavelength", "nm", "nanometer"
        ),
        "indicator": element.get("Fluor"),
        "contrast_method": element.get("ContrastMethod"),
        "acquisition_mode": element.get("AcquisitionMode"),
    }
    known = {key: value for key, value in facts.items() if value is not None}
    return SourceChannel(
        name=element.get("Name"), color=_color(element.get("Color")), metadata=known
    )


def _color(text: str | None) -> str | None:
    if text is None:
        return None
    value = int(text) & 0xFFFFFFFF
    # Fully transparent: early writers stored it where no colour was chosen.
    return f"{value >> 8:06X}" if value & 0xFF else None


def _quantity(element: Element, name: str, default: str, unit: str) -> float | None:
    value = _number(element.get(name))
    if not plausible(value, None):
        return None
    try:
        return convert(value, element.get(f"{name}Unit", default), unit)
    except InputError:
        return None


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _facts(root: Element, image: Element, pixels: Element) -> dict[str, Any]:
    dates = [*children(image, "AcquisitionDate"), *children(image, "AcquiredDate")]
    facts = {
        "name": image.get("Name"),
        "description": next((e.text for e in children(image, "Description")), None),
        "acquisition_date": next((e.text for e in dates), None),
        "significant_bits": int(pixels.get("SignificantBits", 0)) or None,
        "instrument": _instrument(root, image),
        "objective": _objective(root, image),
        **_experimenter(root, image),
    }
    return {key: value for key, value in facts.items() if value}


def _instrument(root: Element, image: Element) -> dict[str, str]:
    instrument = _referred(root, image, "Instrument")
    if instrument is None:
        return {}
    return {k: v for e in children(instrument, "Microscope") for k, v in e.attrib.items()}


def _objective(root: Element, image: Element) -> dict[str, str]:
    settings = [*children(image, "ObjectiveSettings"), *children(image, "ObjectiveRef")]
    wanted = {element.get("ID") for element in settings}
    every = (o for i in children(root, "Instrument") for o in children(i, "Objective"))
    return next((dict(o.attrib) for o in every if o.get("ID") in wanted), {})


def _experimenter(root: Element, image: Element) -> dict[str, str]:
    """Return who took an image, family name first, and where; a login name is no name."""
    found = _referred(root, image, "Experimenter")
    if found is None or not found.get("LastName"):
        return {}
    given = " ".join(filter(None, (found.get("FirstName"), found.get("MiddleName"))))
    name = ", ".join(filter(None, (found.get("LastName"), given)))
    return {"experimenter": name, "institution": found.get("Institution") or ""}


def _referred(root: Element, image: Element, kind: str) -> Element | None:
    wanted = {element.get("ID") for element in children(image, f"{kind}Ref")}
    return next((e for e in children(root, kind) if e.get("ID") in wanted), None)


def _modulo(root: Element) -> tuple[str, ...]:
    spaces = (e.get("Namespace", "") for s in children(root, "StructuredAnnotations") for e in s)
    if any("modulo" in space.lower() for space in spaces):
        return (
            "a further dimension lies inside an axis (OME Modulo annotation): it is not split off",
        )
    return ()
