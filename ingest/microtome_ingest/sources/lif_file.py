"""Leica's LIF and LOF files: the container, its images, and where their voxels lie.

Source of the format: Leica Microsystems, "LIF File Format" and "LOF File Format"; liffile. Blocks
that begin with 0x70 follow each other: the first one is XML, each other one the memory of an image.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from liffile import LifFile, LifFileType

from microtome_core.errors import SourceError
from microtome_ingest.files import Bytes
from microtome_ingest.sources.damage import strict
from microtome_ingest.stream import told

_IMAGE = "./Data/Image"
_MARK, _TEXT = 0x70, 0x2A
_MOST_XML = 128 << 20
_XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\0<", b"\0<")
_LOF = "LMS_Object_File".encode("utf-16-le")


@dataclass(frozen=True, eq=False, slots=True)
class Container:
    """What a file holds.

    Parameters
    ----------
    kind : str
        ``LIF`` or ``LOF``.
    root : Element
        Of its XML.
    blocks : dict
        Offset and size of each memory block by its id.
    """

    kind: str
    root: Element
    blocks: Mapping[str, tuple[int, int]]

    def block(self, element: Element, path: str, name: str) -> tuple[int, int]:
        """Return where the memory of an image lies.

        Raises
        ------
        SourceError
            It is not in the file, or smaller than the XML says.
        """
        memory = element.find("./Memory")
        key = "" if memory is None else memory.get("MemoryBlockID", "")
        if self.kind == "LOF":
            key = next(iter(self.blocks))
        if key not in self.blocks:
            raise SourceError(path, f"{name}: its memory {key!r} is not in the file: truncated")
        offset, size = self.blocks[key]
        declared = None if memory is None else memory.get("Size")
        if declared is not None and int(declared) > size:
            raise SourceError(path, f"{name}: declares {declared} bytes, but {key} has {size}")
        return offset, size


def read_container(data: Bytes) -> Container:
    """Read the XML and the list of memory blocks.

    Raises
    ------
    SourceError
        Damage, or one of Leica's files that only refer to others.
    """
    path = data.path
    with strict(path, "header", log="liffile"):
        _check_header(data)
        with data.stream() as stream, told(stream), LifFile(stream, squeeze=False) as file:
            if file.type not in (LifFileType.LIF, LifFileType.LOF):
                reason = f"is a {file.type.name} file, which holds no images of its own"
                raise SourceError(path, f"{reason}: give the LIF or LOF file")
            blocks = {key: (block.offset, block.size) for key, block in file.memory_blocks.items()}
            root = file.xml_element
    # Parsers seek beyond the end of a file without noticing.
    whole = {k: (at, size) for k, (at, size) in blocks.items() if at + size <= data.stamp.size}
    return Container(file.type.name, root, whole)


def _check_header(data: Bytes) -> None:
    """Refuse files of XML alone, and a header that is longer than it can be, before it is read."""
    head = bytes(data.read(0, min(64, data.stamp.size)))
    if head.startswith(_XML):
        reason = "is XML that refers to other files (XLIF, XLEF, XLCF): not supported"
        raise SourceError(data.path, f"{reason}; give the LOF or TIFF files that it names")
    mark, _, text, count = struct.unpack_from("<IIBI", head.ljust(13, b"\0"))
    if mark != _MARK or text != _TEXT:
        raise SourceError(data.path, f"is no LIF file: it starts with {head[:8]!r}")
    if head[13:].startswith(_LOF):
        at = 13 + len(_LOF)
        size = struct.unpack_from("<Q", data.read(at, 19), 11)[0]
        at += 19 + size
        _check_xml(data, at + 13, struct.unpack("<IIBI", data.read(at, 13))[3])
        return
    _check_xml(data, 13, count)
    after = 13 + 2 * count
    if after < data.stamp.size and data.read(after, 1)[0] != _MARK:
        raise SourceError(data.path, f"its XML of {count} characters ends in no block: damaged")


def _check_xml(data: Bytes, start: int, count: int) -> None:
    if start + 2 * count > data.stamp.size:
        end = start + 2 * count
        raise SourceError(
            data.path, f"ends at byte {data.stamp.size}, but its XML at {end}: truncated"
        )
    if 2 * count > _MOST_XML:
        raise SourceError(data.path, f"its XML has {2 * count} bytes, more than {_MOST_XML}")


def images(root: Element) -> Iterator[tuple[str, Element]]:
    """Yield name, with those of the folders above it, and element of every image."""
    for element in root.findall("./Element"):
        # The outermost element is the file itself, unless it is an image, as in LOF files.
        if element.find(_IMAGE) is not None:
            yield element.get("Name", ""), element
        yield from _below(element, "")


def photon_counts(root: Element) -> int:
    """Return how many sets of photon counts (FLIM) there are, which are no images yet."""
    return len(root.findall(".//Data/SingleMoleculeDetection[@IsImage='true']"))


def _below(parent: Element, prefix: str) -> Iterator[tuple[str, Element]]:
    for element in parent.findall("./Children/Element"):
        name = prefix + element.get("Name", "")
        if element.find(_IMAGE) is not None:
            yield name, element
        yield from _below(element, f"{name}/")
