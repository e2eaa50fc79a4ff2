"""``microtome commit ROOT collection/dataset/layer``: joins the parts of an ingest."""

import argparse
import os

from microtome_cli.convert import say_outcome
from microtome_cli.engines import add_grace_argument, add_work_arguments, memory, stoppable, view
from microtome_cli.progress import ProgressObserver
from microtome_core.names import LayerId
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.claim import Part
from microtome_ingest.join import commit
from microtome_ingest.options import IngestOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("root", help="folder, file:///… or s3://bucket/… below which the parts lie")
    parser.add_argument("layer", metavar="COLLECTION/DATASET/LAYER", help="the layer to make")
    add_grace_argument(parser)
    add_work_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Join, and print the layer that came of it."""
    layer_id = LayerId.parse(arguments.layer)
    options = IngestOptions(
        memory=memory(arguments), threads=arguments.threads, grace=arguments.grace
    )
    store = Store(arguments.root, StorageOptions.from_environment(os.environ))
    title = str(layer_id)
    with stoppable(), ProgressObserver(title, view(arguments, title)) as observer:
        outcome = commit(store, layer_id, options, observer)
        say_outcome(observer, outcome, Part(), store.url)
    return 0
