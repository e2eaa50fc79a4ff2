"""Video: every frame in order, by number, with its time; nothing of a file that was cut off."""

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source
from microtome_ingest.source import Source
from microtome_ingest.sources.video import open_image, scenes
from tests.counted import Counted

COUNT, HEIGHT, WIDTH = 40, 48, 64


@dataclass(frozen=True)
class Movie:
    """How a test movie is written."""

    ending: str
    codec: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)


GROUPS = {"bf": "2", "g": "12"}
MOVIES = {
    "b-frames": Movie("mp4", "libx264", "yuv420p", GROUPS),
    "b-frames in avi": Movie("avi", "libx264", "yuv420p", GROUPS),
    "mpeg-4 in avi": Movie("avi", "mpeg4", "yuv420p", GROUPS),
    "open groups": Movie(
        "mkv",
        "libx264",
        "yuv420p",
        {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"},
    ),
    "hidden frames": Movie(
        "webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "10", "g": "12"}
    ),
    "webm": Movie("webm", "libvpx-vp9", "yuv420p", {"g": "12"}),
    "motion jpeg": Movie("avi", "mjpeg", "yuvj420p"),
    "raw": Movie("avi", "rawvideo", "gray"),
    "colour": Movie("mov", "png", "rgb24"),
}


def moving(dtype: str = "uint8", samples: int = 0, bits: int = 8) -> NDArray[Any]:
    """Return frames in which each differs from every other, within `bits`."""
    t, y, x = np.indices((COUNT, HEIGHT, WIDTH))
    grey = (3 * x + 2 * y + 5 * t) * (1 << (bits - 8)) % (1 << bits)
    if not samples:
        return grey.astype(dtype)
    return np.stack([(grey * (i + 1) + i) % (1 << bits) for i in range(samples)], -1).astype(dtype)


def written(
    path: Path,
    movie: Movie,
    frames: Sequence[Any] | NDArray[Any],
    times: Sequence[int] | None = None,
    rate: Fraction | int = 25,
) -> str:
    """Write frames, each an array or what PyAV takes for one, and return the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(movie.codec, rate=rate, options=movie.options)
        stream.height, stream.width = HEIGHT, WIDTH
        stream.pix_fmt = movie.pixels
        for i, values in enumerate(frames):
            frame = values
            if isinstance(values, np.ndarray):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), name_of(values))
            if frame.format.name != movie.pixels:
                frame = frame.reformat(format=movie.pixels)
            frame.pts = i if times is None else times[i]
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def name_of(values: NDArray[Any]) -> str:
    """Return FFmpeg's name of an array's pixels."""
    deep = values.dtype.itemsize == 2
    if values.ndim == 2:
        return "gray16le" if deep else "gray"
    return "rgb48le" if deep else "rgb24"


def made(tmp_path: Path, name: str) -> str:
    """Write one of `MOVIES` and return its path."""
    movie = MOVIES[name]
    frames = moving(samples=3) if movie.pixels == "rgb24" else moving()
    return written(tmp_path / f"a.{movie.ending}", movie, frames)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def in_order(path: str, what: str, most: int | None = None) -> NDArray[Any]:
    """Return what PyAV gives of a file, from its first frame on: luma or colours."""
    with av.open(path) as container:
        frames = list(islice(container.decode(video=0), most))
    if what == "rgb":
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    planes = [np.frombuffer(f.planes[0], "u1").reshape(f.planes[0].height, -1) for f in frames]
    return np.stack([plane[:, : frames[0].width] for plane in planes])


def boxes(shape: Sequence[int], seed: int, count: int) -> list[tuple[tuple[int, ...], ...]]:
    """Return random boxes within a shape."""
    draw = np.random.default_rng(seed)
    edges = [[np.sort(draw.choice(n + 1, 2, replace=False)) for n in shape] for _ in range(count)]
    return [tuple(tuple(int(e[i]) for e in box) for i in (0, 1)) for box in edges]


@pytest.mark.parametrize("name", MOVIES)
def test_any_region_of_any_movie(tmp_path: Path, name: str) -> None:
    """A region is that of the frames as a player shows them, wherever reading begins."""
    path = made(tmp_path, name)
    expected = in_order(path, "rgb" if name == "colour" else "luma")
    source = open_image(path)
    found = source.description
    assert (found.shape, found.dtype) == (expected.shape, "uint8")
    assert found.axes == ("tyxs" if name == "colour" else "tyx")
    assert found.time_step == pytest.approx(0.04)
    for start, stop in boxes(found.shape, 4, 12):
        region = Region(found.axes, start, stop)
        voxels = source.read(region)
        np.testing.assert_array_equal(voxels, expected[region.slices], strict=True)
        assert voxels.flags.c_contiguous
        assert voxels.flags.writeable
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), expected)
    source.close()


LOSSLESS = {
    "gray": ("uint8", 0, 8),
    "gray10le": ("uint16", 0, 10),
    "gray12le": ("uint16", 0, 12),
    "gray16le": ("uint16", 0, 16),
    "bgr0": ("uint8", 3, 8),
    "gbrp10le": ("uint16", 3, 10),
    "gbrp16le": ("uint16", 3, 16),
}


@pytest.mark.parametrize("ending", ["avi", "mkv"])
@pytest.mark.parametrize("pixels", LOSSLESS)
def test_what_ffv1_keeps_is_kept(tmp_path: Path, pixels: str, ending: str) -> None:
    """Grey and colours of 8, 10, 12 and 16 bits come back to the bit; depth is told."""
    dtype, samples, bits = LOSSLESS[pixels]
    values = moving(dtype, samples, bits)
    frames: Any = values
    if pixels not in ("gray", "gray16le", "bgr0"):
        frames = [av.VideoFrame.from_ndarray(one, pixels) for one in values]
    movie = Movie(ending, "ffv1", pixels, {"g": "5"})
    source = open_source(written(tmp_path / f"a.{ending}", movie, frames))
    found = source.description
    assert (found.axes, found.dtype) == ("tyxs" if samples else "tyx", dtype)
    assert found.block[0] == 5
    assert found.metadata.get("significant_bits", bits) == bits
    assert ("significant_bits" in found.metadata) == (bits in (10, 12))
    assert not any("loss" in note for note in found.notes)
    np.testing.assert_array_equal(whole(source), values, strict=True)
    source.close()


def test_an_ingest_of_a_movie_is_that_movie(tmp_path: Path) -> None:
    """A lossless colour movie becomes a layer of three channels, equal to the bit."""
    values = moving(samples=3)
    path = written(tmp_path / "a.mkv", Movie("mkv", "ffv1", "bgr0", {"g": "5"}), values)
    words = ["ingest", path, str(tmp_path / "root"), "--as", "a/b/c", "--unit", "pixel"]
    assert main(words) == 0
    array = zarr.open_array(tmp_path / "root/a/b/c/0", mode="r")
    np.testing.assert_array_equal(array[...], np.moveaxis(values, -1, 1))


def test_frames_in_order_are_decoded_once(tmp_path: Path) -> None:
    """Reads that follow each other go on; a jump decodes from the key frame before it."""
    source = open_image(made(tmp_path, "b-frames"))
    found = source.description
    assert found.block == (12, HEIGHT, WIDTH)
    for start in range(0, COUNT, 5):
        source.read(Region("tyx", (start, 0, 0), (start + 5, 8, 8)))
    assert source.decoded == np.prod(found.shape)
    source.read(Region("tyx", (14, 0, 0), (15, 8, 8)))
    assert source.decoded - np.prod(found.shape) <= 4 * HEIGHT * WIDTH
    source.close()


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Many threads that read one movie at once get what one alone gets."""
    path = made(tmp_path, "b-frames")
    expected = in_order(path, "luma")
    source = open_image(path)
    parts = [Region("tyx", a, b) for a, b in boxes(expected.shape, 5, 40)]
    with ThreadPoolExecutor(8) as pool:
        for region, voxels in zip(parts, pool.map(source.read, parts), strict=True):
            np.testing.assert_array_equal(voxels, expected[region.slices])
    source.close()


@pytest.mark.parametrize("name", ["b-frames", "open groups", "mpeg-4 in avi"])
def test_a_movie_from_afar(tmp_path: Path, name: str) -> None:
    """A movie behind a URL is read by ranges and is the same; a failing service is told."""
    path = made(tmp_path, name)
    Counted.reset()
    url = Counted.put(Path(path).name, Path(path).read_bytes())
    source = open_image(url)
    np.testing.assert_array_equal(whole(source), in_order(path, "luma"))
    source.close()


def lossless(path: Path, planes: Sequence[NDArray[Any]]) -> str:
    """Write frames of luma and chroma (each 3, y, x) as they are, and return the path."""
    frames = []
    for values in planes:
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv444p")
        for plane, content in zip(frame.planes, values, strict=True):
            rows = np.zeros((plane.height, plane.line_size), "uint8")
            rows[:, :WIDTH] = content
            plane.update(rows)
        frames.append(frame)
    return written(path, Movie("mkv", "ffv1", "yuv444p", {"g": "1"}), frames)


def test_colours_are_those_of_the_formula(tmp_path: Path) -> None:
    """Luma and chroma become red, green and blue as ITU-R BT.601 says, within 2 of 255."""
    draw = np.random.default_rng(2)
    planes = draw.integers(80, 170, (4, 3, 1, 1)) * np.ones((1, 1, HEIGHT, WIDTH), int)
    source = open_image(lossless(tmp_path / "a.mkv", list(planes.astype("uint8"))))
    y, u, v = (planes[:, i] for i in range(3))
    luma, blue, red = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    green = luma - 0.344136 * blue - 0.714136 * red
    expected = np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], -1).clip(0, 255)
    voxels = whole(source)
    assert voxels.shape == (4, HEIGHT, WIDTH, 3)
    assert np.abs(voxels - expected).max() < 2
    assert "colours are computed from yuv444p" in source.description.notes[0]
    source.close()
    grey = open_image(f"{tmp_path / 'a.mkv'}::luma")
    np.testing.assert_array_equal(whole(grey), y)
    assert grey.description.image == "luma"
    grey.close()
    with pytest.raises(SourceError, match=r"::red: expected ::luma or ::rgb"):
        open_image(f"{tmp_path / 'a.mkv'}::red")


def test_a_grey_movie_is_its_luma_until_a_colour_comes(tmp_path: Path) -> None:
    """Neutral chroma is grey; a coloured frame that opening did not see is an error that helps."""
    planes = np.full((30, 3, HEIGHT, WIDTH), 128, "uint8")
    planes[:, 0] = moving()[:30]
    grey = open_image(lossless(tmp_path / "a.mkv", list(planes)))
    assert grey.description.axes == "tyx"
    assert grey.description.channels[0].window == (16, 235)
    assert "its luma is read" in grey.description.notes[0]
    np.testing.assert_array_equal(whole(grey), planes[:, 0])
    grey.close()
    planes[7, 1, 3, 3] = 150
    path = lossless(tmp_path / "b.mkv", list(planes))
    odd = open_image(path)
    odd.read(Region("tyx", (0, 0, 0), (7, 1, 1)))
    with pytest.raises(SourceError, match=r"frame 7 has colours.*::rgb or .*::luma"):
        whole(odd)
    odd.close()
    for view, shape in (("rgb", (30, HEIGHT, WIDTH, 3)), ("luma", (30, HEIGHT, WIDTH))):
        chosen = open_image(f"{path}::{view}")
        assert whole(chosen).shape == shape
        chosen.close()


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_times_are_even_or_kept(tmp_path: Path, ending: str) -> None:
    """A rate such as 30000/1001 is exact, whatever ticks a format has; uneven times are kept."""
    movie = Movie(ending, "libx264", "yuv420p", GROUPS)
    rate = Fraction(30000, 1001)
    even = open_image(written(tmp_path / f"a.{ending}", movie, moving(), rate=rate))
    assert even.description.time_step == pytest.approx(1001 / 30000, rel=1e-5)
    assert "time_points" not in even.description.metadata
    times = [i + (i > 9) * 3 + (i > 30) * 7 for i in range(COUNT)]
    uneven = open_image(written(tmp_path / f"b.{ending}", movie, moving(), times))
    found = uneven.description
    assert found.time_step is None
    np.testing.assert_allclose(found.metadata["time_points"], np.array(times) / 25, atol=1e-3)
    assert any("not even" in note for note in found.notes)
    np.testing.assert_array_equal(whole(uneven), in_order(str(tmp_path / f"b.{ending}"), "luma"))


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


def test_streams_are_chosen_by_number(tmp_path: Path) -> None:
    """Of two video streams one is named; the error lists them."""
    path = str(tmp_path / "a.mkv")
    frames = moving()[:5]
    with av.open(path, "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for i, stream in enumerate(streams):
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "gray"
            stream.metadata["title"] = f"eye {i}"
        for number, values in enumerate(frames):
            for i, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(values + np.uint8(i), "gray")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    assert [scene.name for scene in scenes(path)] == ["eye 0", "eye 1"]
    with pytest.raises(SourceError, match="--scene N: 0: eye 0, 1: eye 1"):
        open_source(path)
    with pytest.raises(SourceError, match="no scene 2"):
        open_source(path, 2)
    source = open_source(path, 1)
    assert source.description.image == "1"
    np.testing.assert_array_equal(whole(source), frames + np.uint8(1))
    source.close()


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


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "shape", "step", "group", "date"),
    [
        ("imageio/cockatoo.mp4", (280, 720, 1280, 3), 0.05, 24, None),
        ("imageio/realshort.mp4", (36, 240, 320, 3), 1499 / 45000, 30, "2014-11-05"),
        ("pims/bulk-water.mov", (480, 424, 640, 3), 1001 / 24000, 82, "2012-12-10"),
    ],
)
def test_samples(
    samples: Path, name: str, shape: tuple[int, ...], step: float, group: int, date: str | None
) -> None:
    """Real movies have the manifest's size, frames and rate; their luma is what PyAV decodes."""
    path = str(samples / "video" / name)
    source = open_source(path)
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("tyxs", shape, "uint8")
    assert found.time_step == pytest.approx(step)
    assert found.block[0] == group
    assert (found.metadata.get("acquisition_date") or "")[:10] == (date or "")
    assert "h264 compresses with loss" in found.notes[0]
    last = source.read(Region("tyxs", (shape[0] - 2, 0, 0, 0), shape))
    count = min(shape[0], 90)
    expected = in_order(path, "luma", count)
    assert last.std() > 1
    source.close()
    grey = open_source(f"{path}::luma")
    for start in (count - 9, 0, count // 2):
        region = Region("tyx", (start, 0, 0), (start + 9, *shape[1:3]))
        np.testing.assert_array_equal(grey.read(region), expected[region.slices])
    grey.close()
