"""What the nd2 library tells of an ND2 file, taken over once and checked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import nd2
import numpy as np

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.sources import nikon_facts as facts
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.letters import open_letters
from microtome_ingest.sources.nikon_frames import Pixels
from microtome_ingest.stream import told

_LEGACY = b"\0\0\0\x0c"
_LETTERS = {"TimeLoop": "t", "NETimeLoop": "t", "ZStackLoop": "z", "XYPosLoop": "P"}
_TIMES = b"CustomData|AcqTimesCache!"


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of the recording: its letter, P for positions; its turns and how the file names it."""

    letter: str
    count: int
    found: Any = None


@dataclass(frozen=True, slots=True)
class Recording:
    """All that is read of a file when it is opened."""

    path: str
    size: int
    attributes: Any
    loops: tuple[Loop, ...]
    offsets: Mapping[int, int]
    times: Sequence[float]
    channels: Sequence[Any]
    raw: Mapping[str, Any]
    texts: Mapping[str, str]
    verbatim: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def positions(self) -> Loop | None:
        """The loop over positions of the stage."""
        return next((loop for loop in self.loops if loop.letter == "P"), None)


def load(path: str, files: Files) -> Recording:
    """Return what a file says.

    Raises
    ------
    SourceError
        Damage, or a file in JPEG 2000.
    """
    with files.open(path) as data:
        if bytes(data.read(0, min(4, data.stamp.size))) == _LEGACY:
            raise SourceError(
                path,
                "is an ND2 file in JPEG 2000, from before 2009: not read; "
                "save it anew with NIS-Elements",
            )
        with (
            strict(path, log="nd2"),
            data.stream() as stream,
            told(stream),
            _whole(path),
            nd2.ND2File(cast(Any, stream)) as file,
        ):
            return _recording(path, data.stamp.size, file)


@contextmanager
def _whole(path: str) -> Iterator[None]:
    """Say in words what the library says of a file whose end is lost, where the map of it lies."""
    try:
        yield
    except ValueError as error:
        if "ChunkMap signature" not in str(error):
            raise
        raise SourceError(
            path, "has no map of its chunks at its end: truncated or damaged"
        ) from error


def _recording(path: str, size: int, file: nd2.ND2File) -> Recording:
    reader: Any = file._rdr  # the library has no other way to the map of chunks
    chunks: Mapping[bytes, tuple[int, int]] = reader.chunkmap
    offsets = {
        int(name[13:-1]): offset
        for name, (offset, _) in chunks.items()
        if name.startswith(b"ImageDataSeq|")
    }
    if not offsets:
        raise SourceError(path, "holds no frames")
    for name in chunks:
        if name.startswith(facts.VERBATIM):
            facts.check_chunk(path, name, reader._load_chunk(name))
    loops, notes = _loops(path, file, offsets)
    names = [name[:-1].decode("utf-8", "replace") for name in chunks]
    if any(name.startswith("CustomDataSeq|RleZipBinarySequence") for name in names):
        notes += ("has binary layers (masks drawn on its frames), which are not read",)
    return Recording(
        path=path,
        size=size,
        attributes=file.attributes,
        loops=loops,
        offsets=offsets,
        times=_times(reader, chunks),
        channels=file.metadata.channels or (),
        raw=_raw(file, names),
        texts=cast(Mapping[str, str], file.text_info),
        verbatim=facts.verbatim(file, names),
        notes=notes,
    )


def _loops(
    path: str, file: nd2.ND2File, offsets: Mapping[int, int]
) -> tuple[tuple[Loop, ...], tuple[str, ...]]:
    """Return the loops, the outermost first; one open axis where they do not explain the frames."""
    found = [(_LETTERS.get(loop.type, "?"), loop) for loop in file.experiment]
    taken = "".join(letter for letter, _ in found)
    spare = iter(open_letters(len(found) + 1, taken + "tczyxs"))
    used: set[str] = set()
    loops = []
    for letter, loop in found:
        name = next(spare) if letter == "?" or letter in used else letter
        used.add(name)
        loops.append(Loop(name, int(loop.count), loop))
    total = prod(loop.count for loop in loops)
    frames = max(file.attributes.sequenceCount, len(offsets))
    if frames <= total:
        return tuple(loops), ()
    if frames > len(offsets):
        raise SourceError(path, f"says that it has {frames} frames, but holds {len(offsets)}")
    words = " × ".join(f"{loop.letter.lower()} {loop.count}" for loop in loops) or "none"
    note = (
        f"the loops in its metadata ({words}) explain {total} of {frames} frames, as after a pause "
        "or an edit: the frames are one axis, in the order in which they were stored"
    )
    return (Loop(next(spare), frames),), (note,)


def _times(reader: Any, chunks: Mapping[bytes, Any]) -> Sequence[float]:  # noqa: ANN401
    """Return milliseconds of each frame, or nothing."""
    if _TIMES not in chunks:
        return ()
    data = reader._load_chunk(_TIMES)
    times: list[float] = np.frombuffer(data[: len(data) // 8 * 8], "<f8").tolist()
    return times


def _raw(file: nd2.ND2File, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the metadata of the first frame under the names that the file uses."""
    known = ("ImageMetadataSeqLV|0", "ImageMetadataSeq|0")
    wanted = next((name for name in known if name in names), None)
    if wanted is None:
        return {}
    found = file.unstructured_metadata(strip_prefix=False, include={wanted})[wanted]
    inner: Mapping[str, Any] = found.get("SLxPictureMetadata", found)
    return inner


def pixels_of(recording: Recording) -> Pixels:
    """Return what frames are made of.

    Raises
    ------
    SourceError
        Numbers that contradict each other, or voxels that are not read.
    """
    found = recording.attributes
    bits, components, channels = (
        found.bitsPerComponentInMemory,
        found.componentCount,
        found.channelCount or 1,
    )
    if bits not in (8, 16, 32):
        raise SourceError(recording.path, f"voxels of {bits} bits: expected 8, 16 or 32")
    if found.compressionType == "lossy":
        raise SourceError(recording.path, "is compressed with loss, which is not read")
    colour = components == 3 * channels
    pixels = Pixels(
        height=found.heightPx,
        width=found.widthPx or 0,
        channels=channels if colour else components,
        samples=3 if colour else 1,
        dtype=np.dtype("<f4" if bits == 32 else f"<u{bits // 8}"),
        row=found.widthBytes or 0,
        compressed=found.compressionType == "lossless",
    )
    if min(pixels.shape) < 1 or pixels.row < pixels.row_used:
        raise SourceError(
            recording.path,
            f"frames of {pixels.width} × {pixels.height} with {components} components "
            f"in rows of {pixels.row} bytes: damaged",
        )
    return pixels
