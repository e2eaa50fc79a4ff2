"""Video: every frame in order, by number, with its time; nothing of a file that was cut off."""

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
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
from microtome_ingest.sources.video import open_image, scenes
from tests.counted import Counted
from tests.ingest.movies import (
    COUNT,
    GROUPS,
    HEIGHT,
    MOVIES,
    WIDTH,
    Movie,
    avi,
    boxes,
    in_order,
    made,
    moving,
    whole,
    written,
)


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


def test_a_large_movie_is_open_at_once(tmp_path: Path) -> None:
    """Where its index tells of all frames, opening an AVI reads a part of it, as does a frame."""
    values = np.random.default_rng(3).integers(0, 255, (160, 512, 512), "uint8")
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 512, 512, "gray"
        for i, one in enumerate(values):
            frame = av.VideoFrame.from_ndarray(one, "gray")
            frame.pts = i
            container.mux(stream.encode(frame))
    data = (tmp_path / "a.avi").read_bytes()
    Counted.reset()
    source = open_image(Counted.put("a.avi", data))
    assert source.description.shape == values.shape
    opened = Counted.fetched()
    assert opened < len(data) / 2
    np.testing.assert_array_equal(
        source.read(Region("tyx", (70, 0, 0), (71, 512, 512))), values[70:71]
    )
    assert Counted.fetched() - opened < len(data) / 5
    source.close()


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


def test_dropped_frames_leave_a_gap_in_time(tmp_path: Path) -> None:
    """An AVI says by an empty chunk that nothing came: no frame is made up, its time is missing."""
    with av.open(made(tmp_path, "motion jpeg")) as container:
        pieces = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    (tmp_path / "b.avi").write_bytes(avi([*pieces[:5], b"", b"", *pieces[5:]]))
    source = open_image(str(tmp_path / "b.avi"))
    found = source.description
    assert found.shape[0] == COUNT
    times = np.array([*range(5), *range(7, COUNT + 2)]) / 25
    np.testing.assert_allclose(found.metadata["time_points"], times)
    np.testing.assert_array_equal(whole(source), in_order(str(tmp_path / "a.avi"), "luma"))


def test_what_an_edit_leaves_out_is_told(tmp_path: Path) -> None:
    """An MP4 whose list of edits shows a part has that part's frames, and a note."""
    path = Path(made(tmp_path, "b-frames"))
    assert not any("edits" in note for note in open_image(str(path)).description.notes)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] // 2)
    path.write_bytes(data)
    expected = in_order(str(path), "luma")
    assert 15 < len(expected) < 25
    source = open_image(str(path))
    np.testing.assert_array_equal(whole(source), expected)
    assert any("list of edits" in note for note in source.description.notes)


def test_movies_in_fragments(tmp_path: Path) -> None:
    """An MP4 that was written in fragments has all of them; cut off within one it is refused."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    for codec, pixels in (("libx264", "yuv420p"), ("mjpeg", "yuvj420p")):
        movie = Movie("mp4", codec, pixels, {"g": "12"})
        path = written(tmp_path / "a.mp4", movie, moving(), container_options=options)
        source = open_image(path)
        assert source.description.time_step == pytest.approx(0.04)
        np.testing.assert_array_equal(whole(source), in_order(path, "luma"))
        source.close()
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(SourceError, match="truncated"):
            open_image(path)


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
