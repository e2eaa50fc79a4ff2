"""``microtome export FORMAT ROOT collection/dataset/layer --out PATH``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from microtome_cli import recordings
from microtome_cli.engines import stoppable
from microtome_core.errors import InputError
from microtome_core.store.location import StorageOptions, Store
from microtome_core.store.recording import Recording
from microtome_core.units import bytes_text
from microtome_ingest.export.cut import Cut, make_cut, parse_words
from microtome_ingest.export.formats import FORMATS, Format, find_format
from microtome_ingest.export.layers import Found, find

# Seconds between two lines.
_PACE = 5.0
# What is asked of a cut of voxels, and of a format.
_GIVEN = ("level", "region", "channel", "time", "pyramid", "compress", "link", "allow_incomplete")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    names = [*(one.name for one in FORMATS), recordings.SENSORIUM]
    parser.add_argument("format", choices=names, metavar="FORMAT", help=", ".join(names))
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… in which the layer lies")
    parser.add_argument(
        "layer",
        metavar="COLLECTION/DATASET[/LAYER]",
        help="the layer; of nwb, dandi and bids a dataset means all of its layers",
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="the file or folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    _add_cut_arguments(parser)
    _add_format_arguments(parser)


def _add_cut_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what of the layer (default: all of level 0)")
    group.add_argument("--level", type=int, default=0, metavar="N", help="0 is the finest")
    group.add_argument(
        "--region",
        metavar="RANGES",
        help="half-open, in voxels of the level: z=0:10,y=5:90; a single z drops the axis",
    )
    group.add_argument("--channel", metavar="NAME|N|A:B", help="by name, number or range")
    group.add_argument("--time", metavar="N|A:B", help="one time point or a range")


def _add_format_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what only some formats have")
    group.add_argument("--pyramid", action="store_true", help="tiff: with coarser levels")
    group.add_argument("--compress", action="store_true", help="nrrd: deflate the voxels")
    group.add_argument("--suffix", metavar="WORD", help="bids: how it was imaged, such as SPIM")
    group.add_argument(
        "--link", action="store_true", help="nwb: refer to the OME-Zarr layers, copy no voxels"
    )
    group.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="nwb: without what DANDI needs of the subject, with numbers for unknown times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print what was written."""
    if arguments.format == recordings.SENSORIUM:
        return recordings.export(arguments, _GIVEN)
    chosen = find_format(arguments.format)
    out = Path(arguments.out)
    chosen.check_name(out.name)
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    progress = _Progress(arguments.layer)
    found = find(store, arguments.layer, dataset=chosen.dataset, recordings=chosen.recordings)
    words = _words(arguments)
    _check_cut(words, arguments.level, found)
    cuts = [make_cut(layer, arguments.level, words, progress) for layer in found.layers]
    progress.total = sum(cut.nbytes for cut in cuts) + sum(map(_nbytes, found.recordings))
    options = _options(arguments, chosen, store)
    if chosen.recordings:
        options |= {"recordings": found.recordings, "count": progress}
    with stoppable():
        what: Any = list(cuts) if chosen.dataset else cuts[0]
        written = chosen.write(what, out, overwrite=arguments.overwrite, **options)
    for note in (note for cut in cuts for note in chosen.notes(cut)):
        print(f"note: {note}", file=sys.stderr)
    for path in written:
        text = _summary(cuts, found.recordings)
        print(f"wrote {path}: {text}" if path == out else f"wrote {path}")
    return 0


def _check_cut(words: dict[str, str], level: int, found: Found) -> None:
    if words and len(found.layers) + len(found.recordings) > 1:
        raise InputError("--region, --channel and --time: expected one layer")
    if (words or level) and found.recordings:
        raise InputError(
            f"{found.recordings[0].id} is a recording of trials, and is exported whole: leave out "
            "--level, --region, --channel and --time"
        )


def _nbytes(recording: Recording) -> int:
    """Return the bytes of all that can be read of a recording."""
    pieces = (piece for trial in recording.trials for piece in trial.pieces.values())
    return sum(piece.nbytes for piece in pieces if piece.state == "stored")


def _words(arguments: argparse.Namespace) -> dict[str, str]:
    words = parse_words(arguments.region)
    for axis, option in (("c", "channel"), ("t", "time")):
        value = getattr(arguments, option)
        if value is not None and axis in words:
            raise InputError(f"--{option}: --region says {axis} too")
        if value is not None:
            words[axis] = value
    return words


def _options(arguments: argparse.Namespace, chosen: Format, store: Store) -> dict[str, Any]:
    """Return the options of one format; those of others are refused.

    Raises
    ------
    InputError
        An option that the format has not.
    """
    given = {
        "pyramid": arguments.pyramid,
        "compress": arguments.compress,
        "link": store if arguments.link else None,
        "suffix": arguments.suffix,
        "incomplete": arguments.allow_incomplete,
    }
    named = {"incomplete": "allow-incomplete"}
    for name, value in given.items():
        if value and name not in chosen.options:
            raise InputError(f"--{named.get(name, name)}: {chosen.name} has no such option")
    return {name: given[name] for name in chosen.options}


def _summary(cuts: list[Cut], trials: Sequence[Recording]) -> str:
    if trials:
        layers = [f"{len(cuts)} layers"] if cuts else []
        return "; ".join([*layers, *(recordings.summary(one.facts) for one in trials)])
    if len(cuts) > 1:
        return f"{len(cuts)} layers, {bytes_text(sum(cut.nbytes for cut in cuts))} of voxels"
    cut = cuts[0]
    extent = " × ".join(map(str, cut.shape))
    return f"{' '.join(cut.axes)} {extent} {cut.dtype}, {bytes_text(cut.nbytes)} of voxels"


class _Progress:
    """Counts the bytes that were read, and says so now and then on standard error."""

    def __init__(self, title: str) -> None:
        self._title, self._lock = title, Lock()
        self._done, self._told = 0, monotonic()
        self.total = 0

    def __call__(self, count: int) -> None:
        """Count more; some formats read twice."""
        with self._lock:
            self._done += count
            if monotonic() - self._told > _PACE:
                self._told = monotonic()
                of = f" of {bytes_text(self.total)}"
                print(
                    f"{self._title}: read {bytes_text(self._done)}{of}", file=sys.stderr, flush=True
                )
