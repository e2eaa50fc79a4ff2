"""LIF and LOF files, written as Leica's own description of them says."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

IDS = {"x": 1, "y": 2, "z": 3, "t": 4, "l": 5, "a": 6, "n": 7, "q": 8, "e": 9, "m": 10, "o": 11}
UNITS = {"t": "s", "m": "", "l": "m", "e": "m"}
COLORS = ("Green", "Red", "Blue", "Gray", "Cyan", "Magenta")


@dataclass(frozen=True)
class Image:
    """An image to be written: a view of memory, whose strides are what the XML tells.

    `axes` are those of `array`; c and s are channels. Lengths are by axis, from the first voxel to
    the last. `more` is put beside ImageDescription, `channel` into each ChannelDescription.
    """

    name: str
    array: NDArray[Any]
    axes: str
    memory: bytes
    lengths: Mapping[str, float] = field(default_factory=dict)
    tags: Sequence[int] = ()
    bits: int = 0
    more: str = ""
    channel: Sequence[str] = ()
    inside: tuple["Image", ...] = ()

    @classmethod
    def of(cls, name: str, array: NDArray[Any], axes: str, **options: Any) -> "Image":  # noqa: ANN401
        """Return an image whose memory is the array in C order."""
        packed = np.ascontiguousarray(array)
        return cls(name, packed, axes, packed.tobytes(), **options)

    def channels(self) -> list[int]:
        """Return where each channel begins."""
        counts = [(self.array.shape[i], self.array.strides[i]) for i in self._at("c")]
        samples = [(self.array.shape[i], self.array.strides[i]) for i in self._at("s")]
        outer, inner = (counts or [(1, 0)])[0], (samples or [(1, 0)])[0]
        return [i * outer[1] + j * inner[1] for i in range(outer[0]) for j in range(inner[0])]

    def _at(self, axis: str) -> list[int]:
        return [i for i, a in enumerate(self.axes) if a == axis]

    def xml(self, block: str) -> str:
        """Return its element."""
        children = "".join(one.xml(f"{block}{i}") for i, one in enumerate(self.inside))
        memory = f'<Memory Size="{len(self.memory)}" MemoryBlockID="{block}"/>'
        data = f"<Data><Image>{self.description()}{self.more}</Image></Data>"
        return (
            f"<Element Name={quoteattr(self.name)}>{data}{memory}"
            f"<Children>{children}</Children></Element>"
        )

    def description(self) -> str:
        """Return its channels and dimensions."""
        return (
            f"<ImageDescription><Channels>{self._channels()}</Channels>"
            f"<Dimensions>{self._dimensions()}</Dimensions></ImageDescription>"
        )

    def _channels(self) -> str:
        kind, itemsize = self.array.dtype.kind, self.array.dtype.itemsize
        bits, starts = self.bits or 8 * itemsize, self.channels()
        return "".join(
            f'<ChannelDescription DataType="{int(kind == "f")}" ChannelTag="{tag}" '
            f'Resolution="{bits}" NameOfMeasuredQuantity="" Min="0" Max="{2**bits - 1}" Unit="" '
            f'LUTName="{COLORS[i % 6]}" IsLUTInverted="0" BytesInc="{start}" BitInc="0">{inner}'
            "</ChannelDescription>"
            for i, (start, tag, inner) in enumerate(
                zip(
                    starts,
                    self.tags or [0] * len(starts),
                    self.channel or [""] * len(starts),
                    strict=True,
                )
            )
        )

    def _dimensions(self) -> str:
        triples = zip(self.axes, self.array.shape, self.array.strides, strict=True)
        return "".join(
            f'<DimensionDescription DimID="{IDS[axis]}" NumberOfElements="{extent}" Origin="0" '
            f'Length="{self.lengths.get(axis, 0)}" Unit="{UNITS.get(axis, "m")}" BitInc="0" '
            f'BytesInc="{step}"/>'
            for axis, extent, step in reversed(list(triples))
            if axis not in "cs"
        )

    def blocks(self, block: str) -> list[tuple[str, bytes]]:
        """Return the memory of it and of those inside."""
        inside = [b for i, one in enumerate(self.inside) for b in one.blocks(f"{block}{i}")]
        return [(block, self.memory), *inside]


def lif(*images: Image, folder: str = "", version: int = 2) -> bytes:
    """Return a LIF file."""
    elements = "".join(image.xml(f"MemBlock_{i}_") for i, image in enumerate(images))
    if folder:
        elements = f"<Element Name={quoteattr(folder)}><Children>{elements}</Children></Element>"
    xml = (
        f'<LMSDataContainerHeader Version="{version}"><Element Name="made"><Data><Experiment/>'
        f"</Data><Children>{elements}</Children></Element></LMSDataContainerHeader>"
    )
    blocks = [b for i, image in enumerate(images) for b in image.blocks(f"MemBlock_{i}_")]
    return header(xml) + b"".join(memory_block(*block, version) for block in blocks)


def header(xml: str) -> bytes:
    """Return the first block."""
    return struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le")


def memory_block(name: str, memory: bytes, version: int) -> bytes:
    """Return a block of voxels."""
    size = {1: "I", 2: "Q"}[version]
    head = struct.pack(f"<IIB{size}BI", 0x70, 10, 0x2A, len(memory), 0x2A, len(name))
    return head + name.encode("utf-16-le") + memory


def lof(image: Image) -> bytes:
    """Return a LOF file."""
    name = "LMS_Object_File"
    start = struct.pack("<IIBI", 0x70, 2 * len(name) + 5, 0x2A, len(name))
    start += name.encode("utf-16-le") + struct.pack("<BIBI", 0x2A, 2, 0x2A, 0)
    start += struct.pack("<BQ", 0x2A, len(image.memory)) + image.memory
    xml = f'<LMSDataContainerHeader Version="2">{image.xml("")}</LMSDataContainerHeader>'
    return start + header(xml)


def attachment(name: str, inner: str, attributes: str = "") -> str:
    """Return an attachment of an image."""
    return f"<Attachment Name={quoteattr(name)} {attributes}>{inner}</Attachment>"
