"""``microtome info SOURCE``."""

import argparse
import json

from microtome_cli.options import add_source_arguments, source_options
from microtome_ingest.report import describe, describe_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("source", help="file, folder or synthetic:// to look at")
    add_source_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Print what the source says of itself, and what an ingest of it would still need."""
    report = describe(arguments.source, arguments.scene, source_options(arguments))
    print(json.dumps(report, indent=2, default=str) if arguments.json else describe_text(report))
    return 0
