"""``microtome get URL REGION --out FILE``: voxels of a layer into a file, in bounded memory."""

import argparse
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import microtome
from microtome.ahead import ahead
from microtome.errors import Conflict, InputError
from microtome.indexing import Cut
from microtome.named import cut_of, voxels_of
from microtome.order import in_order
from microtome_cli.blocks import WRITERS, Block, Parts, place
from microtome_cli.remote import add_service_arguments
from microtome_core.units import bytes_text

# Bytes of voxels that are read at once; as many are read ahead.
_PART = 32 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("url", help="of a layer")
    parser.add_argument(
        "region",
        nargs="*",
        help="such as z=0:10,y=0:512,x=0:512 or c=GFP; half-open, in voxels of the level or in "
        "--unit; one number drops its axis, one that is not named is whole; level=1 is --level 1",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help=f"ends in {', '.join(WRITERS)}"
    )
    parser.add_argument("--level", type=int, default=0, help="0 is the finest, -1 the coarsest")
    parser.add_argument("--unit", help="positions are physical, in this unit, such as um")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    add_service_arguments(parser)
    parser.set_defaults(anywhere="region")  # before options and after them


def run(arguments: argparse.Namespace) -> int:
    """Say what is fetched and how large it is, and fetch it."""
    words = _words(arguments.region)
    level = _whole("level", words.pop("level", str(arguments.level)))
    volume = microtome.open(
        arguments.url,
        level=level,
        token=arguments.token,
        timeout=arguments.timeout,
        retries=arguments.retries,
    )
    if not isinstance(volume, microtome.Volume):
        raise InputError(
            f"{volume.id} is a recording, whose trials have unequal lengths: read it in Python, or "
            f"one variable of a trial with curl -O {volume.address.api}/trials/0/VARIABLE"
        )
    block = described(volume, words, arguments.unit)
    out: Path = arguments.out
    writer = _writer(out)
    if out.exists() and not arguments.overwrite:
        raise Conflict(f"{out}: is there already: pass --overwrite to replace it")
    print(f"{block.text} → {out}", file=sys.stderr)
    with place(out) as beside, closing(parts(volume, block.cut)) as voxels:
        writer(beside, block, voxels)
    print(f"wrote {out}: {bytes_text(_size(out))}")
    return 0


def described(volume: "microtome.Volume", words: Mapping[str, str], unit: str | None) -> Block:
    """Return what a region of a volume holds.

    Raises
    ------
    RegionError
        An axis that there is not, or a range out of bounds.
    """
    positions = {axis: _position(axis, word, unit) for axis, word in words.items()}
    cut = voxels_of(volume, positions) if unit is None else cut_of(volume, positions, unit)
    kept = [i for i, dropped in enumerate(cut.dropped) if not dropped]
    level = volume.levels[volume.level_index]
    names = [channel.name for channel in volume.channels]
    own = cut.ranges[volume.axes.index("c")] if "c" in volume.axes else range(len(names))
    return Block(
        name=f"{volume.id} level {volume.level_index}",
        axes="".join(volume.axes[i] for i in kept),
        shape=cut.shape,
        dtype=volume.dtype,
        scale=tuple(float(level.scale[i]) for i in kept),
        offset=tuple(level.translation[i] + cut.ranges[i][0] * level.scale[i] for i in kept),
        units=tuple(volume.info.units[i] for i in kept),
        channels=tuple(volume.channels[i] for i in own if i < len(names)),
        kind=volume.kind,
        chunk=tuple(level.chunk[i] for i in kept),
        cut=cut,
    )


def parts(volume: "microtome.Volume", cut: Cut) -> Generator[NDArray[Any], None, None]:
    """Yield the voxels of a cut in C order, part by part, one read ahead; axes are all there."""
    chunk = volume.levels[volume.level_index].chunk
    yield from ahead(volume._voxels, in_order(cut, chunk, volume.dtype.itemsize, _PART), 1)


def _words(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in filter(None, ",".join(given).split(",")):
        name, equals, value = word.strip().partition("=")
        if not equals or not name or not value:
            raise InputError(f"region {word!r}: expected such as z=0:10, c=GFP or level=1")
        if name in found:
            raise InputError(f"region: {name} is given twice")
        found[name] = value
    return found


def _position(axis: str, word: str, unit: str | None) -> Any:  # noqa: ANN401 - a position of `sel`
    if axis == "c" and not all(part.isdecimal() for part in word.split(":") if part):
        return word
    low, colon, high = word.partition(":")
    number = _whole if unit is None or axis == "c" else _number
    if not colon:
        return number(axis, low)
    return slice(*(number(axis, end) if end else None for end in (low, high)))


def _whole(axis: str, word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise InputError(f"{axis}={word}: expected a whole number, or pass --unit") from error


def _number(axis: str, word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise InputError(f"{axis}={word}: expected a number") from error


def _writer(out: Path) -> Callable[[Path, Block, Parts], None]:
    for ending, writer in WRITERS.items():
        if out.name.lower().endswith(ending):
            return writer
    raise InputError(f"{out}: expected a name that ends in {', '.join(WRITERS)}")


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return os.stat(path).st_size
