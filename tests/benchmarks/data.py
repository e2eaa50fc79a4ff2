"""The data that is measured on: 1 GiB of noise that compresses as confocal data does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

SHAPE = (512, 1024, 1024)
VOXEL_SIZE = {"z": 1.0, "y": 0.4, "x": 0.4}


@dataclass(frozen=True, slots=True)
class Stack:
    """An uncompressed TIFF and its voxels in memory."""

    path: Path

    def load(self) -> NDArray[np.uint16]:
        """Return all voxels, in memory."""
        return np.asarray(tifffile.memmap(self.path, mode="r")).copy()


def make_stack(folder: Path, planes: int = SHAPE[0]) -> Stack:
    """Write the stack unless it is there: smooth structures under shot noise, uint16."""
    path = folder / ("stack.tif" if planes == SHAPE[0] else f"stack-{planes}.tif")
    if not path.exists():
        folder.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        tifffile.imwrite(
            part,
            noise(planes),
            shape=(planes, *SHAPE[1:]),
            dtype="uint16",
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )
        part.rename(path)
    return Stack(path)


def noise(count: int) -> Iterator[NDArray[np.uint16]]:
    """Yield planes of smooth structures under shot noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]].astype("float32")
    for z in range(count):
        structure = np.cos(y / 15) * np.sin(x / 11 + z / 20)
        yield rng.poisson(200 + 150 * np.clip(structure, 0, 1)).astype("uint16")
