"""Damaged videos: cut off, lying, flipped or none at all; each is an error that names the file."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source
from microtome_ingest.sources.video import open_image
from tests.counted import Counted
from tests.ingest.movies import COUNT, Movie, in_order, made, moving, whole, written


@pytest.mark.parametrize("told", [0, 7, 4000])
def test_counts_in_headers_are_not_believed(tmp_path: Path, told: int) -> None:
    """An AVI whose header tells of none, fewer or more frames has those that are there."""
    path = Path(made(tmp_path, "motion jpeg"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, told)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, told)
    path.write_bytes(data)
    source = open_image(str(path))
    assert source.description.shape[0] == COUNT
    np.testing.assert_array_equal(whole(source), in_order(str(path), "luma"))
    assert any(f"tells of {told}" in n for n in source.description.notes) == (told > 0)


@pytest.mark.parametrize("at", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, -5])
@pytest.mark.parametrize("name", ["b-frames", "open groups", "motion jpeg", "raw", "webm"])
def test_a_movie_cut_off_is_refused(tmp_path: Path, name: str, at: float) -> None:
    """A file that ends early is never a shorter movie, wherever it lies."""
    path = Path(made(tmp_path, name))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * at) if at > 0 else int(at)])
    Counted.reset()
    for place in (str(path), Counted.put(path.name, path.read_bytes())):
        with pytest.raises(SourceError, match=r"a\.\w+"):
            open_image(place)


def test_frames_without_packets_are_refused(tmp_path: Path) -> None:
    """An AVI from whose middle frames were cut, sizes mended, contradicts its own index."""
    path = Path(made(tmp_path, "motion jpeg"))
    data = path.read_bytes()
    start = data.index(b"00dc", data.index(b"movi"))
    length = struct.unpack_from("<I", data, start + 4)[0]
    piece = data[start : start + 8 + length + length % 2]
    path.write_bytes(data.replace(piece, b"JUNK" + piece[4:]))
    with pytest.raises(SourceError, match=rf"holds {COUNT - 1} of the {COUNT} frames"):
        open_image(str(path))


@pytest.mark.parametrize("name", ["b-frames", "webm"])
def test_frames_lost_on_the_way_are_missed(tmp_path: Path, name: str) -> None:
    """Where a table or a block is damaged so that FFmpeg goes on without, the movie is refused."""
    path = Path(made(tmp_path, name))
    data = bytearray(path.read_bytes())
    if name == "webm":
        with av.open(str(path)) as container:
            packet = next(p for i, p in enumerate(container.demux(video=0)) if i == 20)
            at = data.index(bytes(packet)) - 6
        assert data[at] == 0xA3
        data[at] = 0xA7
    else:
        struct.pack_into(">I", data, data.index(b"stts") + 12, COUNT - 10)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"damaged|contradict"):
        open_image(str(path))


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    """A frame whose checksum is wrong (FFV1) is an error that names it."""
    movie = Movie("mkv", "ffv1", "gray", {"g": "1", "level": "3", "slicecrc": "1"})
    path = Path(written(tmp_path / "a.mkv", movie, moving()))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        content = bytes(packets[30])
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    path.write_bytes(data)
    source = open_image(str(path))
    source.read(Region("tyx", (0, 0, 0), (25, 8, 8)))
    with pytest.raises(SourceError, match=r"a\.mkv: frame 30 cannot be decoded: slice CRC"):
        source.read(Region("tyx", (28, 0, 0), (33, 8, 8)))


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    path = Path(made(tmp_path, "raw"))
    source = open_image(str(path))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    """Sound alone, other programs' formats, and files of no format are told."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "b.seq").write_bytes(b"\xed\xfe\0\0" + b"N\0o\0r\0p\0i\0x\0" + bytes(2000))
    (tmp_path / "c.cine").write_bytes(b"CI\x2c\0" + bytes(2000))
    (tmp_path / "d.mkv").write_bytes(b"\x1aE\xdf\xa3" + bytes(200))
    cases = {"a.mp4": "no video stream", "b.seq": "NorPix", "c.cine": "Phantom", "d.mkv": "damaged"}
    for name, reason in cases.items():
        with pytest.raises(SourceError, match=reason):
            open_source(str(tmp_path / name))
