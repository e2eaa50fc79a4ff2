"""The package is thin: it loads little, and shows little."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import microtome
import microtome_core

SCRIPT = """
import json, sys
before = set(sys.modules)
import microtome
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(roots - sys.stdlib_module_names)))
"""
# What urllib3 itself picks up where it is installed, and what NumPy's compiled parts bring.
OPTIONAL = {"brotli", "brotlicffi", "_brotli", "zstandard", "backports", "cffi", "_cffi_backend"}
COMPILED = ("cython_runtime", "_cython_")


def test_importing_loads_numpy_and_urllib3_only() -> None:
    """Neither zarr nor dask nor a web framework is needed to read a cutout."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True
    )
    loaded = {name for name in json.loads(done.stdout) if not name.startswith(COMPILED)}
    assert {"microtome", "microtome_core", "numpy", "urllib3"} <= loaded
    assert loaded - OPTIONAL == {"microtome", "microtome_core", "numpy", "urllib3"}


TIMES = """
import time
first = time.process_time()
import numpy
begun = time.process_time()
import microtome
print(begun - first, time.process_time() - begun)
"""
# Seconds that the package may add to NumPy's own, and bytes that it may add on disk.
LONGEST = 0.15
LARGEST = 5 << 20


def test_importing_is_quick(tmp_path: Path) -> None:
    """In under 150 ms of the processor beyond NumPy, once compiled, at best of a few; on a machine
    so busy that NumPy alone takes half of that, in under twice what NumPy takes.
    """
    own = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    words = [sys.executable, "-c", TIMES]
    told = [
        subprocess.check_output(words, env={**os.environ, **own}, text=True).split()
        for _ in range(5)
    ]
    numpy, own_time = (min(float(times[i]) for times in told) for i in (0, 1))
    assert own_time < max(LONGEST, 2 * numpy), told


def test_the_thin_client_is_small() -> None:
    """Package, vocabulary and urllib3 together, less than 5 MB beyond NumPy."""
    packages = (microtome, microtome_core, import_module("urllib3"))
    folders = [Path(str(package.__file__)).parent for package in packages]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    # Python keeps each compiled beside it, of about the same size.
    assert 2 * sum(path.stat().st_size for path in files) < LARGEST


def test_awaiting_is_loaded_when_it_is_used() -> None:
    """`microtome.aio` is there without an import of its own; other names are not."""
    assert microtome.aio.AsyncVolume
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = microtome.nonsense


def test_public_names() -> None:
    """There is one way in, one thing to hold, and the errors."""
    assert {"Volume", "errors", "open"} <= set(microtome.__all__)
    assert all(hasattr(microtome, name) for name in microtome.__all__)
    assert microtome.__version__ == microtome_core.__version__
