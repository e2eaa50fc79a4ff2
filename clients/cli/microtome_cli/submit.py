"""``microtome submit SOURCE ROOT --as …``: an ingest for a Kubernetes cluster, as manifests."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import yaml

from microtome_cli import recordings
from microtome_cli.kubernetes import LONGEST, Order, dask_job, indexed_job, metadata_path
from microtome_cli.kubernetes_words import (
    MOST_PARTS,
    MOST_PODS,
    check_name,
    check_object,
    check_seen,
    mounts,
    variable,
)
from microtome_cli.layer_arguments import add_layer_arguments, layer_options
from microtome_cli.options import absolute, parse_bytes, source_options, storage_options
from microtome_core import __version__
from microtome_core.errors import InputError, MicrotomeError, SourceDenied, StorageError
from microtome_core.names import LayerId
from microtome_core.units import bytes_text
from microtome_ingest.budget import choose_budget, shard_bytes
from microtome_ingest.describe import plan_ingest
from microtome_ingest.engine import divided
from microtome_ingest.formats import open_source
from microtome_ingest.metadata_file import metadata_text, read_metadata
from microtome_ingest.options import IngestOptions
from microtome_ingest.resolve import resolve
from microtome_ingest.units import count_units

ENGINES = {"job": indexed_job, "dask": dask_job}
# Options that are handed on as they were given.
_HANDED_ON = (
    "axes", "voxel_size", "unit", "time_step", "channels", "colors", "scene", "kind", "labels_of",
    "chunk", "shard", "codec", "levels", "grace",
)  # fmt: skip
_DEFAULTS = {"grace": IngestOptions().grace}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    add_layer_arguments(parser, all_scenes=False)
    group = parser.add_argument_group("the cluster")
    _add_pods(group)
    _add_surroundings(group)
    group = parser.add_argument_group("what becomes of it")
    out = group.add_mutually_exclusive_group()
    out.add_argument("--out", metavar="FILE", help="default: standard output")
    out.add_argument("--apply", action="store_true", help="hand it to kubectl")


def _add_pods(group: argparse._ArgumentGroup) -> None:
    """Describe who does the work, and with what."""
    group.add_argument("--engine", choices=tuple(ENGINES), default="job", help="an indexed Job of "
                       "Kubernetes, or Dask workers by Dask's operator (default job)")  # fmt: skip
    group.add_argument("--parallelism", type=int, default=16, metavar="N", help="pods at once")
    group.add_argument(
        "--parts", type=int, metavar="N", help="parts of the Job (default: as many as pods)"
    )
    group.add_argument(
        "--image", default=f"microtome-ingest:{__version__}", help="default %(default)s"
    )
    group.add_argument(
        "--memory",
        default="3GiB",
        metavar="BYTES",
        help="bound of each process; its pod gets 5/4 of it and 256 MiB (default 3GiB)",
    )
    group.add_argument("--cpus", type=int, default=2, metavar="N", help="of each pod (default 2)")
    group.add_argument(
        "--scratch",
        default="8GiB",
        metavar="BYTES",
        help="temporary files of each pod, for sources that are decoded once (default 8GiB)",
    )


def _add_surroundings(group: argparse._ArgumentGroup) -> None:
    """Describe what the pods are called and what they are given."""
    group.add_argument("--name", help="of the Job (default: made of the layer's)")
    group.add_argument("--namespace", help="default: that of kubectl")
    group.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of the pods"
    )
    group.add_argument(
        "--secret", action="append", default=[], metavar="NAME", help="a Secret whose keys become "
        "variables of the pods, such as AWS_SECRET_ACCESS_KEY"
    )  # fmt: skip
    group.add_argument(
        "--config-map", action="append", default=[], metavar="NAME", help="a ConfigMap whose keys "
        "become variables of the pods, such as microtome-storage"
    )  # fmt: skip
    group.add_argument("--service-account", default="", metavar="NAME", help="for cloud identities")
    group.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="CLAIM:/PATH",
        help="a PersistentVolumeClaim, and where the pods see it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check what can be checked from here, and print, write or apply the manifests."""
    order = order_of(arguments)
    _tell(check(arguments, order))
    text = yaml.safe_dump_all(ENGINES[arguments.engine](order), sort_keys=False, width=100)
    if arguments.apply:
        _apply(text, order.namespace)
    elif arguments.out:
        _write(Path(arguments.out), text)
    else:
        sys.stdout.write(text)
    return 0


def order_of(arguments: argparse.Namespace) -> Order:
    """Return what is asked for.

    Raises
    ------
    InputError
        Names that Kubernetes refuses, numbers that cannot be, secrets in the open, or files that
        pods cannot see.
    """
    claims = mounts(arguments.volume)
    metadata = _metadata(arguments)
    _check_numbers(arguments)
    _check_names(arguments)
    source, root = absolute(arguments.source), absolute(arguments.root)
    for path in (source, root):
        check_seen(path, claims)
    return Order(
        layer=LayerId.parse(arguments.layer),
        words=_words(arguments, source, root),
        parallelism=arguments.parallelism,
        parts=arguments.parts or arguments.parallelism,
        image=arguments.image,
        memory=parse_bytes(arguments.memory),
        cpus=arguments.cpus,
        scratch=parse_bytes(arguments.scratch),
        name=arguments.name or "",
        namespace=arguments.namespace or "",
        environment=dict(variable(text) for text in arguments.env),
        secrets=tuple(arguments.secret),
        configs=tuple(arguments.config_map),
        service_account=arguments.service_account,
        claims=claims,
        metadata=metadata,
    )


def check(arguments: argparse.Namespace, order: Order) -> list[str]:
    """Open the source as the pods will, and return what the user should know.

    Raises
    ------
    InputError
        The source, an option or the memory is at fault: every pod would say so.
    """
    path = Path(arguments.source)
    if "://" not in arguments.source and not path.exists():
        return [f"{arguments.source} is not seen from here: not checked"]
    try:
        if recordings.wanted(arguments):
            raise InputError(
                f"{arguments.source}: a recording of trials is made by one process: run "
                "microtome ingest"
            )
        with closing(
            open_source(arguments.source, arguments.scene, storage_options(arguments))
        ) as source:
            spec = resolve(source.description, source_options(arguments)).spec
    except (SourceDenied, StorageError) as error:
        return [f"{error}: not checked, since it cannot be read from here"]
    plan = plan_ingest(spec, layer_options(arguments))
    choose_budget(order.memory, order.cpus + 1, shard_bytes(plan))
    shape = "×".join(map(str, spec.shape))
    told = [f"{spec.axes} {shape} {spec.dtype}, {bytes_text(plan.nbytes)} with coarser levels"]
    writers = order.parts if arguments.engine == "job" else order.parallelism
    units = count_units(plan, divided(plan, writers)[0])
    if units < writers:
        told.append(f"there is work for {units} of {writers} at once")
    return told


def _words(arguments: argparse.Namespace, source: str, root: str) -> tuple[str, ...]:
    words = ["ingest", source, root, "--as", arguments.layer]
    for name in _HANDED_ON:
        value = getattr(arguments, name)
        if value is not None and value != _DEFAULTS.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for host in arguments.allow_host:
        words += ["--allow-host", host]
    if arguments.restart:
        words.append("--restart")
    if arguments.metadata:
        words += ["--metadata", metadata_path(arguments.metadata)]
    # A dollar and a bracket would be taken for a variable, and two dollars for one.
    return (*(word.replace("$", "$$") for word in words), "--memory", arguments.memory, "--json")


def _metadata(arguments: argparse.Namespace) -> str:
    if not arguments.metadata:
        return ""
    options = storage_options(arguments)
    read_metadata(arguments.metadata, options)
    return metadata_text(arguments.metadata, options)


def _check_numbers(arguments: argparse.Namespace) -> None:
    most = {"parallelism": MOST_PODS, "parts": MOST_PARTS, "cpus": None}
    for name, largest in most.items():
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected at least 1")
        if value is not None and largest is not None and value > largest:
            raise InputError(f"--{name} {value}: Kubernetes takes up to {largest}")


def _check_names(arguments: argparse.Namespace) -> None:
    if arguments.name:
        check_name(arguments.name, "--name", LONGEST)
    if arguments.namespace:
        check_name(arguments.namespace, "--namespace")
    if arguments.service_account:
        check_object(arguments.service_account, "--service-account")
    for option in ("secret", "config_map"):
        for name in getattr(arguments, option):
            check_object(name, f"--{option.replace('_', '-')}")


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"microtome: {note}", file=sys.stderr)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise StorageError(f"--out {path}: {error.strerror or error}") from error


def _apply(text: str, namespace: str) -> None:
    where = ["--namespace", namespace] if namespace else []
    try:
        subprocess.run(  # noqa: S603 - the user's own kubectl, by its name
            ["kubectl", "apply", *where, "-f", "-"],  # noqa: S607
            input=text, text=True, check=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MicrotomeError("--apply needs kubectl, which is not here") from error
    except subprocess.CalledProcessError as error:
        raise MicrotomeError(f"kubectl ended with {error.returncode}: nothing more is done") from (
            error
        )
