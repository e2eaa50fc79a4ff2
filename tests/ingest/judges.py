"""Independent readers of the sample files: what another library, used directly, reads from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

# Letters as the library has them, empty where it names none, and the voxels in that order.
Judged = tuple[str, NDArray[Any]]


def by_tifffile(path: Path, index: int) -> Judged:
    """Read one series of a TIFF file."""
    with tifffile.TiffFile(path) as tif:
        series = tif.series[index]
        return series.axes.lower(), series.asarray()


def by_tifffile_as_planes(path: Path, index: int) -> Judged:
    """Read the five files that a companion puts together, or any of them stands for."""
    planes = [tifffile.imread(path.parent / f"multifile-Z{z}.ome.tiff") for z in range(1, 6)]
    return "zyx", np.stack(planes)


def by_numpy(path: Path, index: int) -> Judged:
    """Load an NPY file, or a member of an NPZ file."""
    found = np.load(path)
    return "", found if path.suffix == ".npy" else found[found.files[index]]


def by_h5py(path: Path, index: int) -> Judged:
    """Read one of the arrays of numbers with two axes at least, in the order of their names."""
    import h5py

    found: list[NDArray[Any]] = []

    def visit(_: str, item: object) -> None:
        image = isinstance(item, h5py.Dataset) and len(item.shape) > 1 and item.size
        if image and item.dtype.kind in "iuf" and not item.dtype.subdtype:
            found.append(item[...])

    with h5py.File(path) as file:
        file.visititems(visit)
    return "", found[index]


def by_pillow(path: Path, index: int) -> Judged:
    """Read a picture."""
    from PIL import Image

    with Image.open(path) as picture:
        found = np.asarray(picture)
    # Pillow gives truth values for one bit, where PNG's samples range to 255.
    return "yx" if found.ndim == 2 else "yxs", found * np.uint8(
        255
    ) if found.dtype == bool else found


def by_files(path: Path, index: int) -> Judged:
    """Read every picture of a folder, by name."""
    files = sorted(path.iterdir())
    planes = [(by_pillow if f.suffix == ".png" else by_tifffile)(f, 0)[1] for f in files]
    return "", np.stack(planes)


JUDGES: dict[str, Callable[[Path, int], Judged]] = {
    "tifffile": by_tifffile,
    "tifffile, planes": by_tifffile_as_planes,
    "numpy": by_numpy,
    "h5py": by_h5py,
    "Pillow": by_pillow,
    "files": by_files,
}
