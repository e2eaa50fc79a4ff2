"""Engines of many processes, from arguments; loaded only where they are asked for."""

import argparse

from microtome_cli.options import absolute, storage_options
from microtome_ingest.cluster import Cluster
from microtome_ingest.observer import Observer
from microtome_ingest.options import IngestOptions
from microtome_ingest.resolve import Resolution
from microtome_ingest.worker import SourceAddress
from microtome_ingest.workers import LocalWorkers, RemoteWorkers


def cluster_engine(
    arguments: argparse.Namespace,
    options: IngestOptions,
    resolution: Resolution,
    observer: Observer,
) -> Cluster:
    """Return the engine of ``--workers`` or ``--scheduler``.

    Raises
    ------
    InputError
        No address of a scheduler.
    """
    storage = storage_options(arguments)
    source = SourceAddress(absolute(arguments.source), arguments.scene, resolution, storage)
    if arguments.scheduler:
        return Cluster(RemoteWorkers(arguments.scheduler, options.memory), source, observer)
    return Cluster(LocalWorkers(arguments.workers), source, observer)
