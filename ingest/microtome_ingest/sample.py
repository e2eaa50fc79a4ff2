"""The sample brain: a synthetic Brainbow volume and its labels, as OME-TIFF files.

OME-XML after the 2016-06 schema of the Open Microscopy Environment.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile
from numpy.typing import NDArray

from microtome_core import __version__
from microtome_core.region import Region
from microtome_ingest.sources.synthetic import DYES, SyntheticSource, open_synthetic

Progress = Callable[[int, int], None]

_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
_PLANES = 32


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The files of the sample brain.

    Parameters
    ----------
    image : Path
        uint16, axes c, z, y, x.
    labels : Path
        uint32, axes z, y, x: for every voxel the id of the neuron that covers it, 0 for none.
    """

    image: Path
    labels: Path


def write_sample(
    folder: str | os.PathLike[str],
    shape: tuple[int, int, int] = (128, 1024, 1024),
    channels: int = 3,
    seed: int = 7,
    progress: Progress | None = None,
) -> SampleFiles:
    """Write the sample brain into `folder`, or reuse it if it is there with the same settings.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    shape : (int, int, int)
        Voxels along z, y, x; a voxel is 1.0 × 0.4 × 0.4 µm.
    channels : int
        Fluorophores, 1 or more.
    seed : int
    progress : callable, optional
        Called with the planes written so far and the planes in all.

    Returns
    -------
    SampleFiles
        ``brain.ome.tif`` and ``neurons.ome.tif``.

    Raises
    ------
    InputError
        A shape, number of channels or seed out of range.
    """
    extents = ",".join(map(str, shape))
    image = open_synthetic(f"synthetic://neurons?shape={channels},{extents}&axes=czyx&seed={seed}")
    labels = open_synthetic(f"synthetic://neurons?shape={extents}&axes=zyx&seed={seed}&kind=labels")
    files = SampleFiles(Path(folder) / "brain.ome.tif", Path(folder) / "neurons.ome.tif")
    Path(folder).mkdir(parents=True, exist_ok=True)
    total = (channels + 1) * shape[0]
    tell = progress or (lambda _done, _total: None)
    _keep_or_write(files.image, image, None, lambda done: tell(done, total))
    # Labels shrink a hundredfold; an image hardly does, and uncompressed it can be mapped.
    _keep_or_write(
        files.labels, labels, "zlib", lambda done: tell(channels * shape[0] + done, total)
    )
    return files


def ome_xml(source: SyntheticSource, name: str) -> str:
    """Return the OME-XML of a synthetic volume; its description says what makes it again."""
    made = source.description
    extents = dict(zip(made.axes, made.shape, strict=True))
    root = ElementTree.Element("OME", {
        "xmlns": _OME, "xmlns:xsi": _SCHEMA, "xsi:schemaLocation": f"{_OME} {_OME}/ome.xsd",
        "Creator": f"microtome {__version__}",
    })  # fmt: skip
    if made.channels:
        _instrument(root)
    image = ElementTree.SubElement(root, "Image", {"ID": "Image:0", "Name": name})
    url = made.metadata["synthetic"]["url"]
    told = f"Synthetic neurons, each of a colour of its own, made by microtome of {url}"
    ElementTree.SubElement(image, "Description").text = told
    if made.channels:
        ElementTree.SubElement(image, "InstrumentRef", {"ID": "Instrument:0"})
        ElementTree.SubElement(image, "ObjectiveSettings", {"ID": "Objective:0"})
    pixels = ElementTree.SubElement(image, "Pixels", {
        "ID": "Pixels:0", "DimensionOrder": "XYZCT", "Type": made.dtype,
        **{f"Size{axis.upper()}": str(extents.get(axis, 1)) for axis in "xyzct"},
        **{f"PhysicalSize{a.upper()}": f"{size:g}" for a, size in made.voxel_size.items()},
        **{f"PhysicalSize{a.upper()}Unit": "µm" for a in made.voxel_size},
    })  # fmt: skip
    for c in range(extents.get("c", 1)):
        _channel(pixels, source, c)
    planes = str(extents.get("c", 1) * extents["z"])
    ElementTree.SubElement(pixels, "TiffData", {"IFD": "0", "PlaneCount": planes})
    text = ElementTree.tostring(root, encoding="unicode")
    # TIFF tags are ASCII, and XML can spell any character in it.
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _instrument(root: ElementTree.Element) -> None:
    parts = ElementTree.SubElement(root, "Instrument", {"ID": "Instrument:0"})
    ElementTree.SubElement(parts, "Microscope", {
        "Manufacturer": "microtome", "Model": "synthetic confocal", "Type": "Inverted",
    })  # fmt: skip
    ElementTree.SubElement(parts, "Objective", {
        "ID": "Objective:0", "Model": "20x/0.8", "NominalMagnification": "20", "LensNA": "0.8",
        "Immersion": "Air",
    })  # fmt: skip


def _channel(pixels: ElementTree.Element, source: SyntheticSource, index: int) -> None:
    words = {"ID": f"Channel:0:{index}", "SamplesPerPixel": "1"}
    channels = source.description.channels
    if channels:
        words["Name"] = channels[index].name or f"channel {index}"
    if channels and index < len(DYES) and channels[index].color:
        dye = channels[index]
        words |= {
            "Fluor": words["Name"],
            "AcquisitionMode": "LaserScanningConfocalMicroscopy",
            "Color": str(_signed_rgba(dye.color or "FFFFFF")),
            "ExcitationWavelength": f"{dye.metadata['excitation_wavelength_in_nm']:g}",
            "ExcitationWavelengthUnit": "nm",
            "EmissionWavelength": f"{dye.metadata['emission_wavelength_in_nm']:g}",
            "EmissionWavelengthUnit": "nm",
        }
    ElementTree.SubElement(pixels, "Channel", words)


def _signed_rgba(color: str) -> int:
    """Return a colour as OME-XML spells it: red, green, blue, alpha in a signed 32-bit number.

    >>> _signed_rgba("FF0000")
    -16776961
    """
    return int.from_bytes(bytes.fromhex(color + "FF"), "big", signed=True)


def _keep_or_write(
    path: Path, source: SyntheticSource, compression: str | None, done: Callable[[int], None]
) -> None:
    planes = source.description.shape[:-2]
    if not _is_same(path, source):
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _write(part, source, compression, done)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    done(prod(planes))


def _write(
    path: Path, source: SyntheticSource, compression: str | None, done: Callable[[int], None]
) -> None:
    made = source.description
    with tifffile.TiffWriter(path, bigtiff=True, ome=False) as tiff:
        tiff.write(
            _planes(source, done),
            shape=made.shape,
            dtype=made.dtype,
            photometric="minisblack",
            compression=compression,
            compressionargs={"level": 1} if compression else None,
            description=ome_xml(source, _stem(path)),
            metadata=None,
            maxworkers=2,
        )


def _planes(source: SyntheticSource, done: Callable[[int], None]) -> Iterator[NDArray[Any]]:
    """Yield every plane in C order, read a few at a time."""
    made = source.description
    step = (1,) * (len(made.shape) - 3) + (_PLANES, *made.shape[-2:])
    count = 0
    for region in Region.whole(made.axes, made.shape).split(step):
        for plane in source.read(region).reshape(-1, *made.shape[-2:]):
            yield plane
            count += 1
            done(count)


def _is_same(path: Path, source: SyntheticSource) -> bool:
    """Return whether `path` is a whole file with the volume that `source` makes."""
    with suppress(OSError, ValueError, IndexError, struct.error), tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages.first, tiff.pages[-1]
        ends = zip(last.dataoffsets, last.databytecounts, strict=True)
        whole = max(offset + count for offset, count in ends) <= path.stat().st_size
        pages = len(tiff.pages) == prod(source.description.shape[:-2])
        return whole and pages and first.description == ome_xml(source, _stem(path))
    return False


def _stem(path: Path) -> str:
    return path.name.strip(".").split(".")[0]
