"""LIF files that are damaged, hostile or no images: refused with the reason, never shorter."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.counted import Counted
from tests.ingest.leica import Image, header, lif

RANDOM = np.random.default_rng(17)


def noise(*shape: int) -> NDArray[Any]:
    """Return voxels of which no two planes are alike."""
    return RANDOM.integers(0, 250, shape).astype("uint16")


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def saved(folder: Path, content: bytes, name: str = "a.lif") -> str:
    """Write a file and return its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)


def test_more_memory_than_voxels_is_noted(tmp_path: Path) -> None:
    """Bytes behind the last voxel of a block are told."""
    array = noise(4, 5)
    image = Image("a", array, "yx", array.tobytes() + bytes(7))
    source = open_source(saved(tmp_path, lif(image)))
    np.testing.assert_array_equal(whole(source), array)
    assert source.description.notes == ("its memory block holds 7 bytes more, which are not read",)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("at", [0.02, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_file_cut_off_is_refused(tmp_path: Path, version: int, at: float, place: str) -> None:
    """A block that is not all there is no image, wherever the file lies."""
    data = lif(Image.of("a", noise(30, 40), "yx"), version=version)
    assert whole(open_source(saved(tmp_path, data))).shape == (30, 40)
    Counted.reset()
    cut = data[: int(len(data) * at)]
    with pytest.raises(SourceError, match=r"a\.lif"):
        whole(open_source(saved(tmp_path, cut) if place == "local" else Counted.put("a.lif", cut)))


def test_whole_images_of_a_file_cut_off_are_read(tmp_path: Path) -> None:
    """Those whose memory is there are read, the one that was cut off is refused by name."""
    images = [Image.of(name, noise(30, 40), "yx") for name in "ab"]
    path = saved(tmp_path, lif(*images)[:-1])
    np.testing.assert_array_equal(whole(open_source(path, 0)), images[0].array)
    with pytest.raises(SourceError, match="b: its memory 'MemBlock_1_' is not in the file"):
        open_source(path, 1)


def replaced(image: Image | tuple[Image, ...], *pairs: tuple[str, str]) -> bytes:
    """Return a LIF file whose XML was changed in the first place that fits."""
    content = lif(*(image if isinstance(image, tuple) else (image,)))
    xml = content[13:].decode("utf-16-le", "ignore").partition("</LMSDataContainerHeader>")
    text = "".join(xml[:2])
    after = 13 + 2 * len(text)
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return header(text) + content[after:]


HOSTILE: dict[str, tuple[tuple[str, str], str]] = {
    "more rows than memory": (('NumberOfElements="30"', 'NumberOfElements="31"'), "more than its"),
    "a huge axis": (('NumberOfElements="30"', f'NumberOfElements="{10**15}"'), "more than its mem"),
    "no rows": (('NumberOfElements="30"', 'NumberOfElements="0"'), "an axis without voxels"),
    "backward": (('BytesInc="80"', 'BytesInc="-80"'), "a negative distance"),
    "overlap": (('BytesInc="80"', 'BytesInc="40"'), "voxels along y overlap"),
    "bits": (('BitInc="0"', 'BitInc="4"'), "not whole bytes"),
    "type": (('DataType="0"', 'DataType="2"'), "type 2 and 16 bits"),
    "no number": (('NumberOfElements="30"', 'NumberOfElements="x"'), "ValueError"),
    "no memory": (('MemoryBlockID="MemBlock_0_"', 'MemoryBlockID="x"'), "'x' is not in the file"),
    "another size": (('Size="2400"', 'Size="2402"'), "declares 2402 bytes, but MemBlock_0_ has 2"),
    "no channels": (("<ChannelDescription", "<Nothing"), "ParseError|no channels"),
    "photons": (("<Data><Image>", "<Data><Image><Nothing>"), "ParseError"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_numbers_that_contradict_each_other_are_refused(tmp_path: Path, name: str) -> None:
    """The error says what is wrong, before memory is asked for."""
    change, reason = HOSTILE[name]
    path = saved(tmp_path, replaced(Image.of("a", noise(30, 40), "yx"), change))
    with pytest.raises(SourceError, match=reason):
        open_source(path)


def test_channels_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    """One array has one type, and its channels lie at even distances."""
    image = Image.of("a", noise(3, 5, 6), "cyx")
    for change, reason in (
        (('Resolution="16"', 'Resolution="8"'), "channels of uint16 and uint8"),
        (('BytesInc="60"', 'BytesInc="62"'), r"uneven distances \[0, 62, 120\]"),
    ):
        with pytest.raises(SourceError, match=reason):
            open_source(saved(tmp_path, replaced(image, change)))


def test_photon_counts_are_told_and_left(tmp_path: Path) -> None:
    """Lifetime data are no image: beside one they are noted, alone they are refused by name."""
    flim = (
        ("<Data><Image>", '<Data><SingleMoleculeDetection IsImage="true">'),
        ("</Image></Data>", "</SingleMoleculeDetection></Data>"),
    )
    path = saved(tmp_path, replaced(Image.of("decay", noise(5, 6), "yx"), *flim))
    assert scenes(path) == ()
    with pytest.raises(SourceError, match=r"holds no image but photon counts \(FLIM\)"):
        open_source(path)
    images = (Image.of("decay", noise(5, 6), "yx"), Image.of("b", noise(3, 4), "yx"))
    source = open_source(saved(tmp_path, replaced(images, *flim)))
    np.testing.assert_array_equal(whole(source), images[1].array)
    assert source.description.notes[0].startswith("the file also holds 1 sets of photon counts")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'<?xml version="1.0"?><LMSDataContainerHeader/>', "XML that refers to other"),
        ('\ufeff<?xml version="1.0"?><a/>'.encode("utf-16-le"), "XML that refers to other"),
        (struct.pack("<IIBI", 0x70, 5, 0x2A, 2**31), "truncated"),
        (struct.pack("<IIBI", 0x70, 25, 0x2A, 10) + bytes(200), "ends in no block"),
        (header("<a><b></a>"), "ParseError"),
        (header('<LMSDataContainerHeader Version="2"><Element Name="a"/>') + b"", "ParseError"),
        (header('<LMSDataContainerHeader Version="2"/>'), "Element element not found"),
        (
            header('<LMSDataContainerHeader Version="2"><Element/></LMSDataContainerHeader>'),
            "no im",
        ),
    ],
    ids=range(8),
)
def test_what_is_no_lif_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """Files of references, and headers that claim more than there is, are named."""
    with pytest.raises(SourceError, match=reason):
        open_source(saved(tmp_path, content, "a.xlif" if "XML" in reason else "a.lif"))
