"""The manifests really run, with their limits, by podman.

What only a cluster does stays untried: probes, replicas, scaling, network policies, admission.
"""

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
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.formats import open_source
from tests import s3_server
from tests.conftest import S3_ENVIRONMENT
from tests.deploy.containers import Engine, image
from tests.deploy.manifests import Manifest, only, quantity, render
from tests.deploy.pods import Running, confined, work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

MIB = 1 << 20
SOURCE = "synthetic://neurons?shape=64,512,512"
LARGE = "synthetic://neurons?shape=96,1024,1024"
LAYERS = "/api/datasets/demo/brainbow"
TERMINATED = 143
BAD_INPUT = 2


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


def test_the_health_check_of_the_image_asks_the_service(service: Running) -> None:
    """What a daemon asks again and again succeeds while the service answers at its port alone."""
    told = service.engine.inspect(image("service"))["Healthcheck"]["Test"]
    assert told[0] == "CMD"
    service.engine.run("exec", service.container, *told[1:])
    elsewhere = ["exec", "--env", "MICROTOME_PORT=1", service.container, *told[1:]]
    with pytest.raises(AssertionError, match="Connection refused"):
        service.engine.run(*elsewhere)


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


def voxels(start: tuple[int, ...], stop: tuple[int, ...]) -> NDArray[Any]:
    """Compute z, y, x of the demo's source anew."""
    with closing(open_source(SOURCE, None, StorageOptions())) as source:
        return source.read(Region(source.description.axes, start, stop))
