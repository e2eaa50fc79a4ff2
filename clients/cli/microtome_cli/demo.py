"""``microtome demo``: the whole line, from a file to a block in memory and a page to open."""

import argparse
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import microtome
from microtome_cli import ingest as ingest_command
from microtome_cli.options import add_source_arguments, source_options
from microtome_cli.picture import save_picture
from microtome_core.errors import Conflict, InputError, MicrotomeError, StorageError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions
from microtome_ingest.canonical import canonical_source
from microtome_ingest.formats import open_source
from microtome_ingest.resolve import resolve
from microtome_ingest.sample import write_sample

_CUT = {"t": 1, "c": 8, "z": 64, "y": 256, "x": 256}
_START_SECONDS = 30
_PORT = 8000
# Where `microtome serve` is unless told otherwise.
_URL = f"http://127.0.0.1:{_PORT}"


@dataclass(frozen=True, slots=True)
class _Made:
    """A source, and the layer that became of it."""

    source: str
    layer: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--source", help="a file of your own, not the sample brain")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes")
    parser.add_argument("--port", type=int, help="of the service (default 8000, or any free one)")
    parser.add_argument("--once", action="store_true", help="stop when all is checked")
    add_source_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make or take a source, ingest it, serve it, cut it, compare, draw; serve until Ctrl-C."""
    # A shell that starts it in the background has SIGINT ignored, which children inherit.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    folder: Path = arguments.folder
    root = folder / "root"
    made = _ingest_own(arguments, root) if arguments.source else _ingest_sample(folder, root)
    with _service(root, arguments.port) as (url, server):
        region = _check(made[0], url, arguments)
        name = "brain.png" if arguments.source is None else f"{Path(arguments.source).stem}.png"
        print(f"picture: {save_picture([f'{url}/{m.layer}' for m in made], folder / name)}")
        if not arguments.once:
            _tell(url, made, region)
            server.wait()
            raise StorageError(f"the service at {url} ended by itself")
    # As it was called: a newcomer's shell may know no other name of it.
    called = sys.argv[0] if Path(sys.argv[0]).name == "microtome" else "microtome"
    print(f"\nto look at it: {called} serve {shlex.quote(str(root))}, then {_URL}/{made[0].layer}")
    return 0


def _ingest_sample(folder: Path, root: Path) -> list[_Made]:
    started = time.monotonic()
    files = write_sample(folder, progress=_planes)
    print(f"sample brain: {files.image}, {files.labels} ({time.monotonic() - started:.0f} s)")
    brain = _Made(str(files.image), "demo/brainbow/brain")
    neurons = _Made(str(files.labels), "demo/brainbow/neurons")
    _ingest(brain, root, [])
    _ingest(neurons, root, ["--kind", "labels", "--labels-of", "brain"])
    return [brain, neurons]


def _ingest_own(arguments: argparse.Namespace, root: Path) -> list[_Made]:
    name = re.sub(r"[^a-z0-9._-]+", "-", Path(arguments.source).name.lower()).strip("-._")[:64]
    made = _Made(arguments.source, f"demo/own/{name or 'source'}")
    given = vars(arguments)
    names = ("axes", "voxel_size", "unit", "time_step", "channels", "colors", "scene")
    words = [(f"--{n.replace('_', '-')}", str(given[n])) for n in names if given[n] is not None]
    _ingest(made, root, [word for pair in words for word in pair])
    return [made]


def _ingest(made: _Made, root: Path, options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    ingest_command.add_arguments(parser)
    words = [made.source, str(root), "--as", made.layer, *options]
    try:
        ingest_command.run(parser.parse_args(words))
    except Conflict:
        # What an earlier demo made of something else is the demo's own to replace.
        ingest_command.run(parser.parse_args([*words, "--restart", "--grace", "0"]))


def _check(made: _Made, url: str, arguments: argparse.Namespace) -> Region:
    """Cut a block out of the middle with the client and compare it with the source."""
    volume = microtome.open(f"{url}/{made.layer}")
    region = _middle(volume.axes, volume.shape)
    started = time.perf_counter()
    block = volume[region.slices]
    seconds = time.perf_counter() - started
    print(f"\n{volume!r}\ncut {region}: {block.nbytes / 1e6:.1f} MB in {1000 * seconds:.0f} ms")
    options = StorageOptions.from_environment(os.environ)
    with closing(open_source(made.source, arguments.scene, options)) as source:
        resolution = resolve(source.description, source_options(arguments))
        expected = canonical_source(source, resolution).read(region)
    if not np.array_equal(block, expected, equal_nan=block.dtype.kind == "f"):
        raise MicrotomeError(f"{made.layer} {region}: the cutout differs from {made.source}")
    print(f"all {block.size:,} voxels equal the source's")
    return region


def _middle(axes: str, shape: tuple[int, ...]) -> Region:
    size = [min(_CUT[axis], extent) for axis, extent in zip(axes, shape, strict=True)]
    start = tuple((extent - n) // 2 for extent, n in zip(shape, size, strict=True))
    return Region(axes, start, tuple(low + n for low, n in zip(start, size, strict=True)))


def _tell(url: str, made: list[_Made], region: Region) -> None:
    index = ", ".join(f"{cut.start}:{cut.stop}" for cut in region.slices)
    print("\nopen in a browser:")
    print(f"  {url}/                      every dataset")
    for each in made:
        print(f"  {url}/{each.layer}")
    dataset = made[0].layer.rpartition("/")[0]
    print(f"  {url}/view/{dataset}    fly through it")
    print("\nor in Python:\n  import microtome")
    print(f'  vol = microtome.open("{url}/{made[0].layer}")\n  block = vol[{index}]')
    print("\nserving until Ctrl-C", flush=True)


@contextmanager
def _service(root: Path, wanted: int | None) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run ``microtome serve`` in a process of its own; yield its address and that process."""
    port = _free_port(wanted)
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as server:  # noqa: S603 - our own words
        try:
            _wait(port, server)
            yield url, server
        finally:
            server.terminate()
            # After Ctrl-C, `with` alone waits a quarter of a second and leaves the rest behind.
            server.wait()


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise StorageError(f"the service did not start on port {port} within {_START_SECONDS} s")


def _free_port(wanted: int | None) -> int:
    """Return `wanted` if it is free; without a wish 8000, or else any port that is."""
    for port in (_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As servers do: a port whose last connections are only just closed is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError(f"port {wanted} is in use: choose another with --port")


def _planes(done: int, total: int) -> None:
    if sys.stdout.isatty():
        bar = "━" * (40 * done // total)
        print(f"\rsample brain {bar:40} {done} of {total} planes", end="\n" * (done == total))
