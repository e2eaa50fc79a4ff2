"""The images are really built, and the manifests really run, with their limits, by podman.

What only a cluster does stays untried: probes, replicas, scaling, network policies, admission.
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import microtome
from microtome_core import __version__
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.formats import open_source
from tests import s3_server
from tests.conftest import S3_ENVIRONMENT
from tests.deploy import containers
from tests.deploy.containers import ROOT, Engine, image
from tests.deploy.manifests import Manifest, only, pod_specs, quantity, render

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

MIB = 1 << 20
SOURCE = "synthetic://neurons?shape=64,512,512"
LARGE = "synthetic://neurons?shape=96,1024,1024"
LAYERS = "/api/datasets/demo/brainbow"
TERMINATED = 143
# Imports every module of packages, but for those whose optional libraries are not in the image.
IMPORTS = """
import importlib, os, pkgutil, sys
optional = {"pyarrow", "pynwb", "hdmf", "ndx_microscopy", "av", "intern", "xarray", "torch",
            "matplotlib", "ipywidgets", "IPython", "dask", "requests"}
count = 0
for name in sys.argv[1:]:
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            assert error.name.split(".")[0] in optional, (found.name, error.name)
            continue
        assert os.path.exists(module.__cached__), module.__cached__
        count += 1
print("all" if count > 50 else count)
"""
# Loads every library, imported or not: some are opened when a file asks for them.
LIBRARIES = """
import ctypes, importlib, pathlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
here = pathlib.Path(importlib.import_module("numpy").__file__).parents[1]
found = [path for path in here.rglob("*.so*") if path.is_file()]
failed = []
for path in found:
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        failed.append(str(error))
print(len(found), failed)
"""
BAD_INPUT = 2


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Build both images."""
    if absent := containers.missing():
        pytest.skip(f"{', '.join(absent)}: not here, see .ci/packages-deploy")
    with containers.engine() as made:
        for target in ("service", "ingest"):
            made.build(target)
        yield made


def confined(objects: list[Manifest], kind: str, name: str = "") -> Manifest:
    """Return what a manifest starts, as a pod that podman can start.

    Images are those built here. Podman asks probes through systemd, knows no preStop, and publishes
    no ports where the network is the host's.
    """
    found = only(objects, kind, name)
    ((_, spec),) = pod_specs([found])
    for container in spec["containers"]:
        container["image"] = f"localhost/{container['image'].rpartition('/')[2]}"
        for key in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"):
            container.pop(key, None)
        container["envFrom"] = [e for e in container.get("envFrom", ()) if "configMapRef" in e]
    for key in ("serviceAccountName", "topologySpreadConstraints"):
        spec.pop(key, None)
    metadata = {"name": found["metadata"]["name"], "labels": found["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@dataclass(slots=True)
class Running:
    """A service in a pod.

    Parameters
    ----------
    engine : Engine
    container, host, port : str, str, int
    settings : dict
    """

    engine: Engine
    container: str
    host: str
    port: int
    settings: dict[str, str]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, caller: str = "10.0.0.1") -> tuple[int, bytes]:
        """Ask on a connection of its own, as a caller behind the proxy."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request("GET", path, headers={"X-Forwarded-For": caller})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def await_ready(self) -> None:
        """Wait until it is ready."""
        for _ in range(300):
            try:
                if self.get("/health/ready")[0] == 200:
                    return
            except OSError:
                assert self.engine.inspect(self.container)["State"]["Running"], self.log()
            time.sleep(0.2)
        raise TimeoutError(self.log())

    def log(self) -> str:
        """Return what it wrote."""
        return self.engine.run("logs", self.container)


@pytest.fixture(scope="module")
def stored(engine: Engine) -> list[Manifest]:
    """Fill the volume of the overlay for development, by its own Job, and return its objects."""
    objects = render("overlays/dev")
    claim = only(objects, "PersistentVolumeClaim")["metadata"]["name"]
    # It belongs to the user of the pods, as by fsGroup.
    engine.run("volume", "create", "--opt", "o=uid=10001,gid=10001", claim)
    pod = confined(objects, "Job", "microtome-demo")
    larger = json.loads(json.dumps(pod))
    larger["metadata"]["name"] = "larger"
    words = larger["spec"]["containers"][0]["args"]
    words[words.index(SOURCE)] = LARGE
    words[words.index("--as=demo/brainbow/brain")] = "--as=demo/brainbow/large"
    for each in (pod, larger):
        path = engine.play([each])
        name = f"{each['metadata']['name']}-ingest"
        assert engine.wait(name) == 0, engine.run("logs", name)
        engine.run("pod", "rm", "--force", each["metadata"]["name"])
        path.unlink()
    return objects


@pytest.fixture
def service(
    engine: Engine, stored: list[Manifest], unused_port: Callable[[], int]
) -> Iterator[Running]:
    """Run the Deployment of the overlay for development, with its settings and its limit."""
    port = unused_port()
    config = only(json.loads(json.dumps(stored)), "ConfigMap", "microtome-settings")
    config["data"].update(MICROTOME_PORT=str(port), MICROTOME_HOST="127.0.0.1")
    storage = only(stored, "ConfigMap", "microtome-storage")
    pod = confined(json.loads(json.dumps(stored)), "Deployment")
    for each in (config, storage):
        each["metadata"].pop("namespace", None)
    path = engine.play([config, storage, pod])
    running = Running(engine, "microtome-service", "127.0.0.1", port, config["data"])
    try:
        running.await_ready()
        yield running
    finally:
        engine.run("pod", "rm", "--force", "microtome")
        path.unlink()


@pytest.mark.parametrize("target", ["service", "ingest"])
def test_images_are_small_and_bare(target: str, engine: Engine) -> None:
    """An image is below 600 MB, runs as nobody in particular, and holds nothing that builds."""
    told = engine.inspect(image(target))
    assert told["Size"] < 600e6
    assert told["Config"]["User"] == "10001:10001"
    assert told["Config"]["Entrypoint"] == ["/opt/microtome/bin/microtome"]
    assert told["Labels"]["org.opencontainers.image.version"] == __version__
    assert bool(told.get("HealthCheck") or told.get("Healthcheck")) == (target == "service")
    script = "for p in gcc cc make pip pip3 npm node git curl; do command -v $p; done; true"
    assert inside(engine, target, "sh", "-c", script) == ""
    assert inside(engine, target, "/opt/microtome/bin/microtome", "--version") == (
        f"microtome {__version__}"
    )


@pytest.mark.parametrize("target", ["service", "ingest"])
def test_every_part_is_listed_and_pinned(target: str, engine: Engine) -> None:
    """The list of parts in the image names every package, in the version that is pinned."""
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().split()
    )
    listed = json.loads(inside(engine, target, "cat", "/usr/share/sbom/python.cdx.json"))
    found = {c["name"].lower().replace("_", "-"): c["version"] for c in listed["components"]}
    assert {"numpy", "tensorstore", "s3fs"} <= found.keys()
    assert {name: v for name, v in found.items() if pinned.get(name) != v} == (
        {"microtome": __version__} if "microtome" in found else {}
    )
    if target == "service":
        viewer = json.loads(inside(engine, target, "cat", "/usr/share/sbom/viewer.cdx.json"))
        assert "neuroglancer" in {c["name"] for c in viewer["components"]}


@pytest.mark.parametrize(
    ("target", "packages"),
    [("service", "microtome_core microtome_service"),
     ("ingest", "microtome_core microtome_ingest")],
)  # fmt: skip
def test_nothing_is_missing(target: str, packages: str, engine: Engine) -> None:
    """Every module of what an image is for can be imported in it, and has been compiled."""
    words = ("/opt/microtome/bin/python", "-c", IMPORTS, *packages.split())
    assert inside(engine, target, *words) == "all"
    python, loaded = words[:1], ("h5py", "hdf5plugin") if target == "ingest" else ()
    count, _, failed = inside(engine, target, *python, "-c", LIBRARIES, *loaded).partition(" ")
    assert int(count) > 50
    assert failed == "[]"


def test_the_first_process_hears_the_end(engine: Engine) -> None:
    """A command that is told to end before it has begun does so, though it is process 1."""
    script = (
        "import time\n"
        "from microtome_cli import main\n"
        "main._load = lambda _: (print('here', flush=True), time.sleep(60))\n"
        "raise SystemExit(main.main(['serve']))\n"
    )
    words = ["run", "--detach", "--network", "host", "--entrypoint", "/opt/microtome/bin/python"]
    container = engine.run(*words, image("service"), "-c", script)
    while "here" not in engine.run("logs", container):
        assert engine.inspect(container)["State"]["Running"]
        time.sleep(0.2)
    begun = time.monotonic()
    engine.run("stop", "--time", "60", container)
    assert engine.wait(container) == TERMINATED
    assert time.monotonic() - begun < 50


def test_the_demo_is_served(service: Running) -> None:
    """The pod serves the voxels that the Job has stored, with pages and the viewer."""
    volume = microtome.open(f"{service.url}/demo/brainbow/brain")
    shape = volume.shape[-3:]
    block = np.asarray(volume[..., 20:40, 100:300, 200:400]).reshape(20, 200, 200)
    assert shape == (64, 512, 512)
    assert (block == voxels((20, 100, 200), (40, 300, 400))).all()
    for path in ("/", "/demo/brainbow/brain", "/view/demo/brainbow", "/metrics", "/docs"):
        status, body = service.get(path)
        assert (status, bool(body)) == (200, True), path
    page = service.get("/view/demo/brainbow")[1].decode()
    (script, *_) = re.findall(r'src="([^"]+\.js)"', page)
    assert service.get(script)[0] == 200
    told = service.engine.inspect(service.container)
    assert told["HostConfig"]["ReadonlyRootfs"]
    assert (told["Config"]["User"], told["EffectiveCaps"] or []) == ("10001:10001", [])


def test_it_is_not_killed_under_twice_its_capacity(service: Running) -> None:
    """Answers that hold more than twice the room that there is come whole, or wait."""
    limit = quantity(only(render("overlays/dev"), "Deployment")["spec"]["template"]["spec"]
                     ["containers"][0]["resources"]["limits"]["memory"])  # fmt: skip
    assert service.engine.inspect(service.container)["HostConfig"]["Memory"] == limit
    room = int(service.settings["MICROTOME_MAX_FLYING_BYTES"])
    large, small = f"{LAYERS}/large/cutout?format=zstd", f"{LAYERS}/brain/cutout?format=tiff"
    # A compressed answer holds its voxels twice, and the chunks that it decodes.
    held = 4 * min(room, (2 * 192 + 128) * MIB) + 12 * (2 * 32 + 32) * MIB
    assert held > 2 * room
    expected = {path: service.get(path)[1] for path in (large, small)}
    wrong: list[tuple[str, int]] = []

    def ask(path: str, caller: str) -> None:
        for _ in range(2):
            status, body = service.get(path, caller)
            if not (status == 503 or (status == 200 and len(body) == len(expected[path]))):
                wrong.append((path, status))

    threads = [threading.Thread(target=ask, args=(large, f"10.0.1.{n}")) for n in range(4)]
    threads += [threading.Thread(target=ask, args=(small, f"10.0.2.{n}")) for n in range(12)]
    before = service.engine.inspect(service.container)["State"]["StartedAt"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = service.engine.inspect(service.container)["State"]
    assert not wrong
    assert (state["Running"], state["OOMKilled"], state["StartedAt"]) == (True, False, before)
    status = service.engine.run("exec", service.container, "cat", "/proc/1/status")
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    # It was put to the test, and stayed within what the formula gives it.
    assert room < int(peak) * 1024 < limit, peak


@dataclass(slots=True)
class Load:
    """Callers who ask again and again, each on a new connection, until nobody listens.

    Parameters
    ----------
    service : Running
    expected : bytes
    """

    service: Running
    expected: bytes
    answered: int = 0
    failed: list[tuple[float, str]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask(self, number: int) -> None:
        """Ask until the connection is refused after the end has begun."""
        while True:
            begun = time.monotonic()
            try:
                status, body = self.service.get(f"{LAYERS}/brain/cutout", f"10.1.0.{number}")
            except OSError as error:
                if self.ending.is_set() and isinstance(error, ConnectionRefusedError):
                    return
                self.failed.append((begun, repr(error)))
                if self.ending.is_set():
                    return
            else:
                self.answered += 1
                if (status, body) != (200, self.expected):
                    self.failed.append((begun, f"{status}, {len(body)} bytes"))


def test_nothing_that_was_admitted_fails_at_the_end(service: Running) -> None:
    """On SIGTERM under load the pod answers what it admitted, for as long as it said, and ends."""
    load = Load(service, service.get(f"{LAYERS}/brain/cutout")[1])
    threads = [threading.Thread(target=load.ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(4)
    before, begun = load.answered, time.monotonic()
    service.engine.run("kill", "--signal", "TERM", service.container)
    load.ending.set()
    assert service.get("/health/ready")[0] == 503
    assert service.engine.wait(service.container) in (0, TERMINATED)
    lasted = time.monotonic() - begun
    for thread in threads:
        thread.join()
    draining = float(service.settings["MICROTOME_DRAIN_SECONDS"])
    grace = float(service.settings["MICROTOME_GRACE_SECONDS"])
    assert draining <= lasted < draining + grace
    # What connects in the very moment in which the port is closed was never admitted.
    assert [each for each in load.failed if each[0] < begun + draining - 0.5] == []
    assert before > 0
    assert load.answered > before


def test_parts_are_ingested_from_and_to_s3(engine: Engine, tmp_path: Path) -> None:
    """Both Jobs of deploy/ingest make a layer in a bucket of a file in a bucket, as they are."""
    source = np.random.default_rng(5).integers(0, 4000, (40, 256, 256)).astype("uint16")
    told = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "brain.tif", source, **told)
    with s3_server.s3_server() as endpoint:
        s3_server.make_bucket(endpoint, "lab")
        s3_server.put(f"{endpoint}/lab/brain.tif", (tmp_path / "brain.tif").read_bytes())
        told = {
            "SOURCE": "s3://lab/brain.tif",
            "MICROTOME_ROOT": "s3://lab/root",
            "LAYER": "lab/mouse/brain",
            "PARTS": "2",
            "MEMORY": "1GiB",
            "AWS_ENDPOINT_URL": endpoint,
            **S3_ENVIRONMENT,
        }
        more = ["--axes=zyx", "--voxel-size=1,1,1", "--shard=16,128,128", "--chunk=8,64,64"]
        for index in range(2):
            code, log = work(engine, "ingest/parts", told, index, more)
            assert code == 0, log
        code, log = work(engine, "ingest/commit", told)
        assert code == 0, log
        options = StorageOptions.from_environment({**told})
        with pytest.MonkeyPatch.context() as patch:
            for key, value in S3_ENVIRONMENT.items():
                patch.setenv(key, value)
            layer = read_layer(Store("s3://lab/root", options), LayerId("lab", "mouse", "brain"))
            made = layer.arrays[0].read().result().reshape(source.shape)
        assert (made == source).all()
        code, log = work(engine, "ingest/parts", {**told, "SOURCE": "s3://lab/none.tif"}, 0)
        assert code == BAD_INPUT, log


def work(
    engine: Engine, folder: str, told: dict[str, str], index: int = 0, more: list[str] | None = None
) -> tuple[int, str]:
    """Run one pod of a Job to its end; return the exit code and what it wrote."""
    objects = render(folder)
    pod, config = confined(objects, "Job"), only(objects, "ConfigMap")
    config["data"].update(told)
    config["metadata"].pop("namespace", None)
    container = pod["spec"]["containers"][0]
    # The cluster's own part: it says which index a pod has, and puts variables into arguments.
    values = {**config["data"], "JOB_COMPLETION_INDEX": str(index)}
    container["args"] = [
        re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], word) for word in container["args"]
    ] + (more or [])
    path = engine.play([config, pod])
    name = f"{pod['metadata']['name']}-{container['name']}"
    code = engine.wait(name)
    log = engine.run("logs", name)
    engine.run("pod", "rm", "--force", pod["metadata"]["name"])
    path.unlink()
    return code, log


def voxels(start: tuple[int, ...], stop: tuple[int, ...]) -> NDArray[Any]:
    """Compute z, y, x of the demo's source anew."""
    with closing(open_source(SOURCE, None, StorageOptions())) as source:
        return source.read(Region(source.description.axes, start, stop))


def inside(engine: Engine, target: str, *words: str) -> str:
    """Run a program in an image whose files cannot be written, and return what it prints."""
    flags = ["--rm", "--network", "host", "--read-only", "--cap-drop", "ALL"]
    return engine.run("run", *flags, "--entrypoint", words[0], image(target), *words[1:])
