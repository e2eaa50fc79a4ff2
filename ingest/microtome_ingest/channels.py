"""Names and colours of channels: the user's, else the file's, else fixed ones."""

from collections.abc import Sequence
from dataclasses import replace

from microtome_core.errors import InputError
from microtome_core.names import numbered_channel
from microtome_ingest.answers import check_color
from microtome_ingest.options import SourceOptions
from microtome_ingest.source import SourceChannel

WHITE = "FFFFFF"
# Green and magenta first: the pair that colour-blind eyes tell apart best.
CYCLE = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "4080FF", "FF8000", "FFFFFF")
_SAMPLES = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", WHITE))


def resolve_channels(
    found: Sequence[SourceChannel],
    count: int,
    options: SourceOptions,
    *,
    samples: str | None = None,
) -> tuple[SourceChannel, ...]:
    """Return `count` channels, each with a name and a colour.

    Parameters
    ----------
    found : sequence of SourceChannel
        What the file says; left alone where it does not fit `count`.
    samples : str, optional
        The type of voxels where channels are the samples of colour pixels: red, green, blue and
        alpha. Bytes of colours are shown as they are: a range for each would change the hue.

    Raises
    ------
    InputError
        Another number of names or colours than channels, a name twice, or no colour.
    """
    _check_count("channels", options.channels, count)
    _check_count("colors", options.colors, count)
    if len(set(options.channels)) < len(options.channels):
        raise InputError(f"channel names {', '.join(options.channels)}: expected each once")
    known = list(found) if len(found) == count else [SourceChannel()] * count
    if samples and count in (3, 4):
        full = (0.0, 255.0) if samples == "uint8" else None
        known = [SourceChannel(name, color, full) for name, color in _SAMPLES[:3]]
        known += [SourceChannel(*_SAMPLES[3])] * (count - 3)
    defaults = [WHITE] if count == 1 else [CYCLE[i % len(CYCLE)] for i in range(count)]
    names = options.channels or [c.name or numbered_channel(i) for i, c in enumerate(known)]
    colors = options.colors or [c.color or d for c, d in zip(known, defaults, strict=True)]
    return tuple(
        replace(channel, name=name, color=check_color(color))
        for channel, name, color in zip(known, names, colors, strict=True)
    )


def _check_count(what: str, given: Sequence[str], count: int) -> None:
    if given and len(given) != count:
        raise InputError(
            f"--{what} {','.join(given)[:80]}: {len(given)} given, "
            f"but the image has {count} channels"
        )
