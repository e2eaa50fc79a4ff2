"""``microtome info SOURCE``."""

import argparse
import json
from contextlib import closing
from typing import Any

from microtome_cli import recordings
from microtome_cli.options import add_host_argument, storage_options
from microtome_cli.skeletons import skeletons_of, tell, text_of
from microtome_core.addresses import without_secrets
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.report import report, report_text, scenes_text
from microtome_ingest.source import Scene


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("source", help="file, folder, s3://… or synthetic:// to look at")
    parser.add_argument("--scene", type=int, help="which image of a source that holds several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_host_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the source says of itself, and what an ingest of it would still need."""
    options = storage_options(arguments)
    if paths := skeletons_of(arguments.source, options):
        skeletons = tell(paths, options)
        print(_json(skeletons) if arguments.json else text_of(skeletons))
        return 0
    if (recording := recordings.look(arguments)) is not None:
        print(_json(recording) if arguments.json else recordings.text_of(recording))
        return 0
    found = scenes(arguments.source, options)
    if len(found) > 1 and arguments.scene is None:
        print(_list(arguments.source, found, as_json=arguments.json))
        return 0
    with closing(open_source(arguments.source, arguments.scene, options)) as source:
        told = report(source.description, found)
    print(_json(told) if arguments.json else report_text(told))
    return 0


def _list(path: str, found: tuple[Scene, ...], *, as_json: bool) -> str:
    path = without_secrets(path)
    if as_json:
        return _json({"files": [path], "scenes": found})
    count = f"{path} holds {len(found)} images"
    how = "look at one with --scene N, ingest each into its own layer with --scene all"
    return f"{count}; {how}:\n{scenes_text(found)}"


def _json(value: Any) -> str:  # noqa: ANN401 - a report is JSON of any depth
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON does not know
    if isinstance(value, Scene):
        return {name: getattr(value, name) for name in Scene.__slots__}
    return str(value)
