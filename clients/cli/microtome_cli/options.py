"""Arguments that commands share: what the user says of a source, and where it may be read from."""

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path

from microtome_core.errors import InputError
from microtome_core.store.location import StorageOptions
from microtome_ingest.answers import parse_voxel_size
from microtome_ingest.options import SourceOptions

# Every image of a source.
ALL = "all"
_SIZES = {"": 0, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_BYTES = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def add_source_arguments(parser: argparse.ArgumentParser, *, all_scenes: bool = False) -> None:
    """Add the options that answer what a source leaves open, or override it.

    `all_scenes`: ``--scene all`` is one.
    """
    group = parser.add_argument_group("what the source does not say, or says wrongly")
    group.add_argument("--axes", help="letters of the source's array in its own order, such as zyx")
    group.add_argument(
        "--voxel-size",
        metavar="SIZE",
        help="z=2,y=0.5,x=0.5 or three numbers in axes order; in micrometer unless --unit is given",
    )
    group.add_argument("--unit", help="unit of the voxel size, such as micrometer or nm")
    group.add_argument("--time-step", type=float, metavar="SECONDS", help="between time points")
    group.add_argument("--channels", metavar="NAMES", help="comma-separated, one a channel")
    group.add_argument("--colors", metavar="RRGGBB", help="comma-separated, one a channel")
    one = "which image of a source that holds several"
    each = "; all: each into a layer of its own, NAME-0, NAME-1 and so on" if all_scenes else ""
    kind = scene if all_scenes else int
    group.add_argument("--scene", metavar="N", type=kind, help=one + each)


def scene(text: str) -> int | str:
    """Read the number of an image, or ``all``.

    >>> scene("3"), scene(ALL)
    (3, 'all')
    """
    return text if text == ALL else int(text)


def source_options(arguments: argparse.Namespace) -> SourceOptions:
    """Return the options as given."""
    return SourceOptions(
        axes=arguments.axes,
        voxel_size=parse_voxel_size(arguments.voxel_size) if arguments.voxel_size else None,
        unit=arguments.unit,
        time_step=arguments.time_step,
        channels=_words(arguments.channels),
        colors=_words(arguments.colors),
    )


def add_host_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the hosts from which sources may be read."""
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="read http(s):// and bossdb:// from this host only, also if it is a private one; may "
        "be given more than once, and adds to MICROTOME_ALLOWED_HOSTS (default: all public hosts)",
    )


def storage_options(arguments: argparse.Namespace) -> StorageOptions:
    """Return how to reach storage, from the environment and `add_host_argument`."""
    options = StorageOptions.from_environment(os.environ)
    return replace(options, allowed_hosts=(*options.allowed_hosts, *arguments.allow_host))


def parse_bytes(text: str) -> int:
    """Read a number of bytes: ``512MiB``, ``4G``, ``1000000``.

    >>> parse_bytes("4GiB") == 4 * 2**30
    True
    """
    match = _BYTES.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text[:40]!r}: expected a number of bytes such as 512MiB or 4GiB")
    return int(float(match[1]) * 2 ** _SIZES[match[2].upper()])


def absolute(path: str) -> str:
    """Return a path for processes that work in another folder; addresses stay as they are.

    >>> absolute("s3://bucket/a.tif")
    's3://bucket/a.tif'
    """
    return path if "://" in path else str(Path(path).absolute())


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",")) if text else ()
