"""The images are really built, by buildah, and what is in them is asked for."""

import json
import time

import pytest

from microtome_core import __version__
from tests.deploy.containers import ROOT, Engine, image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

TERMINATED = 143
# Imports every module of packages, but for those whose optional libraries are not in the image.
IMPORTS = """
import importlib, os, pkgutil, sys
optional = {"pyarrow", "pynwb", "hdmf", "ndx_microscopy", "ndx_ophys_devices", "av", "intern",
            "xarray", "torch", "matplotlib", "ipywidgets", "IPython", "dask", "requests"}
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
# What is bundled below NAME.libs finds its neighbours by way of the module that needs it, so last.
LIBRARIES = """
import ctypes, importlib, pathlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
here = pathlib.Path(importlib.import_module("numpy").__file__).parents[1]
found = [path for path in here.rglob("*.so*") if path.is_file()]
found.sort(key=lambda path: path.parent.name.endswith(".libs"))
failed = []
for path in found:
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        failed.append(str(error))
print(len(found), failed)
"""


@pytest.mark.parametrize("target", ["service", "ingest"])
def test_images_are_small_and_bare(target: str, engine: Engine) -> None:
    """An image is below 600 MB, runs as nobody in particular, and holds nothing that builds."""
    told = engine.inspect(image(target))
    assert told["Size"] < 600e6
    assert told["Config"]["User"] == "10001:10001"
    assert told["Config"]["Entrypoint"] == ["/opt/microtome/bin/microtome"]
    assert told["Labels"]["org.opencontainers.image.version"] == __version__
    assert (told["Healthcheck"]["Test"] == ["NONE"]) == (target == "ingest")
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


def inside(engine: Engine, target: str, *words: str) -> str:
    """Run a program in an image whose files cannot be written, and return what it prints."""
    flags = ["--rm", "--network", "host", "--read-only", "--cap-drop", "ALL"]
    return engine.run("run", *flags, "--entrypoint", words[0], image(target), *words[1:])
