"""The package is thin: it loads little, and shows little."""

import json
import subprocess
import sys

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


def test_public_names() -> None:
    """There is one way in, one thing to hold, and the errors."""
    assert microtome.__all__ == ["Volume", "__version__", "errors", "open"]
    assert microtome.__version__ == microtome_core.__version__
