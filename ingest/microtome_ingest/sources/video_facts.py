"""What a video file says of itself: times, codec, tags; and what it does not keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from microtome_ingest.source import Description, SourceChannel
from microtome_ingest.sources.video_index import Index, times_of
from microtome_ingest.sources.video_pixels import Pixels, luma_window
from microtome_ingest.sources.video_whole import AVI, Container

# What clocks that were never set write.
_FIRST_YEAR = 1980


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """A stream of a file.

    Parameters
    ----------
    index : int
        Among all streams, sound included.
    name : str
    """

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the headers say."""

    container: str
    codec: str
    lossy: bool
    lossless: bool
    tick: Fraction
    rates: tuple[Fraction | None, ...]
    metadata: Mapping[str, Any]
    notes: tuple[str, ...]


def stream_facts(stream: Any) -> StreamFacts:  # noqa: ANN401 - of PyAV
    """Return number and name of a stream."""
    tags = stream.metadata
    return StreamFacts(stream.index, tags.get("title") or tags.get("handler_name") or "")


def is_cover(stream: Any) -> bool:  # noqa: ANN401 - of PyAV
    """Tell whether a stream is a picture that players show beside sound."""
    return "attached_pic" in str(stream.disposition)


def describe(container: Any, stream: Any, kind: Container) -> Facts:  # noqa: ANN401 - of PyAV
    """Return what the headers of a file say of a stream."""
    context = stream.codec_context
    codec = context.codec
    ratio = context.sample_aspect_ratio
    notes: tuple[str, ...] = ()
    if ratio and ratio not in (0, 1):
        notes = (f"pixels are {ratio} as wide as they are high: stored as they are",)
    return Facts(
        container=kind.name,
        codec=codec.canonical_name,
        lossy=codec.lossy,
        lossless=codec.lossless,
        tick=Fraction(stream.time_base),
        rates=tuple(map(_fraction, (stream.average_rate, stream.guessed_rate, stream.base_rate))),
        metadata=_metadata(container, stream, kind),
        notes=notes,
    )


def description(found: Facts, index: Index, how: Pixels, first: Any) -> Description:  # noqa: ANN401
    """Return the description of a stream, files and block still open."""
    times = times_of(index, found.tick, found.rates, fixed=found.container == AVI.name)
    frame = (first.height, first.width, *([how.samples] if how.samples else []))
    gray = not how.samples
    window = luma_window(how.format, int(first.color_range), how.bits) if gray else None
    return Description(
        format=f"{found.container} ({found.codec})",
        axes="tyx" if gray else "tyxs",
        shape=(len(index), *frame),
        dtype=how.dtype,
        block=(1, *frame),
        files=(),
        time_step=times.step,
        channels=(SourceChannel(window=window),) if window else (),
        metadata={
            **found.metadata,
            **({"significant_bits": how.bits} if how.bits not in (8, 16, 32) else {}),
            **({"time_points": list(times.points)} if times.points else {}),
            "video": {
                **found.metadata["video"],
                "pixel_format": how.format,
                "color_range": int(first.color_range),
                "colorspace": int(first.colorspace),
            },
        },
        notes=(*_loss(found), *times.notes, *found.notes, *_odd(first, index)),
    )


def _loss(found: Facts) -> tuple[str, ...]:
    if not found.lossy:
        return ()
    if found.lossless:
        return (f"{found.codec} compresses with loss unless told otherwise: voxels may have lost",)
    return (f"voxels were compressed with loss ({found.codec}) before they came here",)


def _odd(first: Any, index: Index) -> tuple[str, ...]:  # noqa: ANN401 - of PyAV
    notes = []
    if first.rotation:
        notes.append(f"players turn it by {first.rotation}°: stored as it was recorded")
    if first.interlaced_frame:
        notes.append("interlaced: the odd and even rows of a frame are of different times")
    if index.counted is not None:
        notes.append(
            "its packets do not tell their frames: all were decoded to count them, "
            "and a frame is reached from the first one"
        )
    return tuple(notes)


def _metadata(container: Any, stream: Any, kind: Container) -> dict[str, Any]:  # noqa: ANN401
    tags = {**container.metadata, **stream.metadata}
    date = _date(tags.get("creation_time") or tags.get("date") or tags.get("DATE"))
    named = {
        "name": tags.get("title"),
        "description": tags.get("comment") or tags.get("description"),
        "acquisition_date": date,
    }
    start = stream.start_time
    video = {
        "container": kind.name,
        "codec": stream.codec_context.codec.canonical_name,
        "profile": stream.codec_context.profile,
        "frames_in_header": stream.frames,
        "average_rate": _text(stream.average_rate),
        "start_in_seconds": None if start is None else float(start * stream.time_base),
        "tags": dict(container.metadata),
        "stream_tags": dict(stream.metadata),
    }
    told = {key: value for key, value in video.items() if value not in (None, {}, "")}
    return {**{key: value for key, value in named.items() if value}, "video": told}


def _date(text: str | None) -> str | None:
    try:
        date = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return text if date.year >= _FIRST_YEAR else None


def _fraction(value: Any) -> Fraction | None:  # noqa: ANN401 - of PyAV
    return Fraction(value) if value else None


def _text(value: Any) -> str | None:  # noqa: ANN401 - of PyAV
    return str(value) if value else None
