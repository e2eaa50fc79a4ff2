"""ND2: a frame that is missing, damaged or another one is refused, and never 0."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from tests.counted import Counted
from tests.ingest.nd2_made import (
    Recording,
    depth_loop,
    noise,
    time_loop,
)
from tests.ingest.test_nikon import RECORDINGS, judged, positions, saved, whole


def test_a_missing_frame_is_refused(tmp_path: Path) -> None:
    """The library gives zeros; positions that are whole can still be read."""
    recording = positions(missing=[3])
    path = saved(tmp_path, recording)
    assert not judged(path)[1, 1].any()
    with pytest.raises(SourceError, match=r"a\.nd2: frame 3 is missing: 5 of 6 frames are there"):
        open_source(path, 1)
    np.testing.assert_array_equal(whole(open_source(path, 0)), recording.frames[::2, ..., 0, 0])


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (Recording(noise((1, 9, 7, 1, 1)), attributes={"eCompression": 1}), "with loss"),
        (Recording(noise((1, 9, 7, 1, 1)), attributes={"uiBpcInMemory": 64}), "voxels of 64 bits"),
        (Recording(noise((1, 9, 7, 1, 1)), attributes={"uiWidthBytes": 13}), "rows of 13 bytes"),
        (Recording(noise((1, 9, 7, 1, 1)), attributes={"uiHeight": 0}), "7 × 0"),
        (Recording(noise((1, 9, 7, 1, 1)), missing=[0]), "holds no frames"),
        (
            Recording(noise((1, 9, 7, 1, 1)), [time_loop(2**31 - 1), depth_loop(2**31 - 1)]),
            "frame 1 is missing: 1 of 4611686014132420609",
        ),
    ],
    ids=["lossy", "bits", "rows", "height", "nothing", "loops"],
)
def test_what_cannot_be_is_refused(tmp_path: Path, recording: Recording, reason: str) -> None:
    """Numbers that contradict each other, and what is not read, are named."""
    with pytest.raises(SourceError, match=reason):
        open_source(saved(tmp_path, recording))


def test_metadata_of_another_kind_are_refused(tmp_path: Path) -> None:
    """A group of values where a number should stand."""
    odd = time_loop(3)
    odd["uLoopPars"]["dPeriod"] = {"a": 1.0}
    path = saved(tmp_path, Recording(noise((3, 9, 7, 1, 1)), [odd]))
    for call in (open_source, scenes):
        with pytest.raises(SourceError, match=r"a\.nd2: its metadata: TypeError"):
            call(path)


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    """A chunk too small for its rows, before anything is set aside for them."""
    tall = {"uiHeight": 1_000_000}
    frames, loops = noise((6, 9, 7, 2, 1)), [time_loop(2), depth_loop(3)]
    with pytest.raises(SourceError, match="frame 0 lies beyond its end"):
        open_source(saved(tmp_path, Recording(frames, loops, attributes=tall)))
    source = open_source(saved(tmp_path, Recording(frames, loops, True, attributes=tall)))
    with pytest.raises(SourceError, match="cannot hold the 28000000 of a frame"):
        source.read(Region("tzcyx", (0, 0, 0, 0, 0), (1, 1, 1, 2, 2)))


@pytest.mark.parametrize("damage", ["flip", "short", "more"])
def test_a_damaged_compressed_frame_is_refused(tmp_path: Path, damage: str) -> None:
    """Its checksum is looked at, and it must hold a frame and no more."""
    made = RECORDINGS["compressed"]
    content = bytearray(made.content())
    at = content.find(b"ImageDataSeq|2!") + 4072 + 8
    size = struct.unpack_from("<Q", content, at - 4072 - 16)[0] - 8
    rows = zlib.decompress(bytes(content[at : at + size]))
    if damage == "flip":
        content[at + size - 1] ^= 1
    else:
        other = zlib.compress(rows[:-1] if damage == "short" else bytes(len(rows) + 1), 9)
        content[at : at + size] = other.ljust(size, b"\0")[:size]
    path = tmp_path / "a.nd2"
    path.write_bytes(content)
    source = open_source(str(path))
    with pytest.raises(SourceError, match=r"a\.nd2: frame 2"):
        whole(source)


def test_a_frame_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    """Each frame bears its number."""
    made = RECORDINGS["stacks"]
    content = made.content().replace(b"ImageDataSeq|4!\0", b"ImageDataSeq|5!\0", 1)
    path = tmp_path / "a.nd2"
    path.write_bytes(content)
    source = open_source(str(path))
    with pytest.raises(SourceError, match="frame 4: no such frame at byte"):
        whole(source)


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Path, part: float, place: str) -> None:
    """Wherever it ends, wherever it lies."""
    content = RECORDINGS["stacks"].content()
    cut = content[: max(5, int(len(content) * part))]
    path = tmp_path / "a.nd2"
    path.write_bytes(cut)
    Counted.reset()
    url = Counted.put("a.nd2", cut)
    with pytest.raises(SourceError, match=r"a\.nd2"):
        whole(open_source(str(path) if place == "local" else url))


def test_metadata_that_grow_are_refused(tmp_path: Path) -> None:
    """Entities and zlib bombs, before they are read."""
    bomb = io.BytesIO()
    packer = zlib.compressobj(9)
    for _ in range(80):
        bomb.write(packer.compress(bytes(1 << 20)))
    bomb.write(packer.flush())
    chunks = {
        "entities": b'<!DOCTYPE a [<!ENTITY b "c">]><variant/>',
        "inflates": b"L" + bytes(11) + bomb.getvalue(),
    }
    for reason, data in chunks.items():
        made = Recording(noise((1, 9, 7, 1, 1)), chunks={b"ImageTextInfoLV!": data})
        with pytest.raises(SourceError, match=reason):
            open_source(saved(tmp_path, made))


def test_a_file_in_jpeg_2000_is_refused(tmp_path: Path) -> None:
    """It says what to do."""
    path = tmp_path / "old.nd2"
    path.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(600))
    with pytest.raises(SourceError, match="from before 2009: not read; save it anew"):
        open_source(str(path))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    path = saved(tmp_path, RECORDINGS["stacks"])
    source = open_source(path)
    whole(source)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)
