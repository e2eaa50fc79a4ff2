"""A format for tests: NPY files whose reader crashes, hangs or swells where the voxels say so."""

import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import SourceError, StorageError
from microtome_core.region import Region
from microtome_ingest.files import Files
from microtome_ingest.format import Format
from microtome_ingest.glance import ends
from microtome_ingest.source import Scene, Source
from microtome_ingest.sources import npy

CRASHES, SWELLS, RAISES, REFUSES, FAILS, HANGS = range(101, 107)

FRAGILE = Format(
    "fragile", "tests.ingest.fragile", ends(".npy"), reader="fragile", extra="dev", isolated=True
)


class Fragile:
    """An NPY file; the first voxel of a region decides what happens."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.description, self.stamps = source.description, source.stamps
        self.close = source.close

    @property
    def decoded(self) -> int:
        """As the file counts."""
        return self._source.decoded

    def read(self, region: Region) -> NDArray[Any]:
        """Return the voxels, or do harm."""
        voxels = self._source.read(region)
        _harm(int(voxels.flat[0]))
        return voxels


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Fragile:
    """Open a file; scene 101 and so on do harm at once."""
    _harm(scene or 0)
    return Fragile(npy.open_image(path, None, files))


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image."""
    return npy.scenes(path, files)


def _harm(what: int) -> None:
    if what == CRASHES:
        signal.raise_signal(signal.SIGSEGV)
    if what == SWELLS:
        np.ones(3 << 30, "uint8")
    if what == RAISES:
        raise KeyError("odd")
    if what == REFUSES:
        raise SourceError("a.file", "plane 3 is cut off")
    if what == FAILS:
        raise StorageError("s3://bucket: 503")
    if what == HANGS:
        time.sleep(3600)
