"""Movies that tests write, and what another reader makes of them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from microtome_core.region import Region
from microtome_ingest.source import Source

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
    container_options: dict[str, str] | None = None,
) -> str:
    """Write frames, each an array or what PyAV takes for one, and return the path."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
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


def avi(pieces: Sequence[bytes]) -> bytes:
    """Return an AVI file of Motion JPEG, 25 frames a second; an empty piece is a dropped frame."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    count = len(pieces)
    main = struct.pack("<14I", 40000, 0, 0, 16, count, 0, 1, 0, WIDTH, HEIGHT, 0, 0, 0, 0)
    stream = b"vidsMJPG" + struct.pack("<10I", 0, 0, 0, 1, 25, 0, count, 0, 0, 0) + bytes(8)
    kind = struct.pack("<IiiHH4sIiiII", 40, WIDTH, HEIGHT, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    lists = b"strl" + chunk(b"strh", stream) + chunk(b"strf", kind)
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + chunk(b"LIST", lists))
    movi, index = b"movi", b""
    for piece in pieces:
        index += b"00dc" + struct.pack("<3I", 16, len(movi), len(piece))
        movi += chunk(b"00dc", piece)
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", movi) + chunk(b"idx1", index))


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
