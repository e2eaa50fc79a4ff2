"""What golden stores hold, said once and for all: changing it would change what they prove."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.sensorium_folders import Mouse

METADATA = """\
license: CC-BY-4.0
session_description: A store to be read for ever.
subject: {species: Mus musculus, age: P60D}
"""
RECORDING = "golden/mouse"
MOUSE = Mouse(neurons=3, trials=4, height=3, width=4, longest=12, shortest=8, seed=3)
TREE = "golden/brain/tree"
SWC = "# a tree\n1 1 1 2 3 1 -1\n2 3 4 5 6 0.5 1\n3 3 7 8 9 0.25 2\n"


@dataclass(frozen=True, slots=True)
class Golden:
    """A layer: its name, how it was ingested, and its voxels by a formula.

    Parameters
    ----------
    name : str
    axes, size : str
        As `ingest` took them.
    voxels : callable
        Level 0, in `axes`.
    options : tuple of str
        Of `ingest`.
    levels : int
    record : bool
        Whether `METADATA` is said of it.
    """

    name: str
    axes: str
    size: str
    voxels: Callable[[], NDArray[np.generic]]
    options: tuple[str, ...]
    levels: int
    record: bool = False


def brain() -> NDArray[np.uint16]:
    """Return an image of which a corner is empty: its shards are not stored."""
    z, y, x = np.indices((12, 24, 20))
    voxels = (z * 1009 + y * 31 + x * 7) % 60013
    voxels[:8, :16, :16] = 0
    return voxels.astype("uint16")


def cells() -> NDArray[np.uint64]:
    """Return labels, one of which is beyond what a float holds."""
    z, y, x = np.indices((12, 24, 20))
    ids = (z // 8) * 100 + (y // 8) * 10 + x // 8
    ids = ids.astype("uint64")
    ids[9:, 20:, 15:] = 2**63 + 1
    return ids


def movie() -> NDArray[np.float32]:
    """Return time and channels, as floats, some of them odd."""
    t, c, y, x = np.indices((3, 2, 12, 10))
    voxels = (t * 0.5 - c * 1.25 + y * 0.125 - x).astype("float32")
    voxels[2, 1, 0, 0] = -np.inf
    return voxels


_LAYOUT = ("--chunk", "8,8,8", "--shard", "8,16,16", "--levels", "2")
LAYERS = (
    Golden(
        "golden/brain/em", "zyx", "z=2,y=0.5,x=0.5", brain, (*_LAYOUT, "--channels", "EM"), 2, True
    ),
    Golden(
        "golden/brain/cells", "zyx", "z=2,y=0.5,x=0.5", cells,
        (*_LAYOUT, "--kind", "labels", "--labels-of", "em"), 2,
    ),
    Golden(
        "golden/movie/calcium", "tcyx", "0.4,0.4", movie,
        ("--time-step", "0.1", "--channels", "green,red", "--colors", "00FF00,FF0000",
         "--codec", "zstd:3"), 1,
    ),
)  # fmt: skip
