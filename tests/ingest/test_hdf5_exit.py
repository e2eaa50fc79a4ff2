"""A process that read HDF5 from afar ends as any other."""

import subprocess
import sys

SCRIPT = """
import io, fsspec, h5py
from fsspec.asyn import AsyncFileSystem
from microtome_ingest.formats import open_source

class Distant(AsyncFileSystem):
    cachable = False

    async def _info(self, path, **_):
        return {"name": path, "type": "file", "size": len(DATA), "ETag": "1"}

    async def _cat_file(self, path, start=None, end=None, **_):
        return DATA[start:end]

stream = io.BytesIO()
with h5py.File(stream, "w") as file:
    file.create_dataset("a", (8, 64, 64), "u2", chunks=(2, 16, 16))
DATA = stream.getvalue()
fsspec.register_implementation("distant", Distant)
source = open_source("distant://a.h5")
"""


def test_a_source_that_was_never_closed_ends_quietly() -> None:
    """HDF5 closes its files after Python has gone, and must not call into it then."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
