"""``microtome ingest SOURCE ROOT --as collection/dataset/layer``."""

import argparse

from microtome_cli.convert import convert
from microtome_cli.engines import add_engine_arguments, stoppable
from microtome_cli.layer_arguments import add_layer_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_layer_arguments(parser, all_scenes=True)
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print each layer, or annotation, that came of it."""
    with stoppable():
        convert(arguments)
    return 0
