"""``microtome serve ROOT``."""

import argparse
import os

from microtome_service.server import serve
from microtome_service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments; every setting can also be given as ``MICROTOME_…``."""
    parser.add_argument(
        "root", nargs="?", help="folder, file:///…, s3://bucket/… that holds the layers"
    )
    parser.add_argument("--settings", help="TOML file of settings; the environment wins over it")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8000; 0: any free)")
    parser.add_argument("--workers", type=int, help="processes (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    given = {
        f"MICROTOME_{name.upper()}": str(getattr(arguments, name))
        for name in ("root", "settings", "host", "port", "workers")
        if getattr(arguments, name) is not None
    }
    return serve(Settings.from_environment({**os.environ, **given}))
