"""MTNeuro: four brain regions of a mouse, to be told apart by tiles and by pixels.

::

    from microtome import mtneuro

    volumes = mtneuro.volumes("http://127.0.0.1:8000")
    tiles = mtneuro.task1(volumes, "train")       # 1076 of {"image": (1, 256, 256), "region": 0}
    pixels = mtneuro.task2(volumes, "train")      # 1076 of {"image": …, "pixels": …}

Each is a `microtome.crops.Crops`: batches by NumPy, or by PyTorch through `microtome.torch`.

Source: Quesada et al., "MTNeuro: A Benchmark for Evaluating Representations of Brain Structure
Across Multiple Levels of Abstraction", NeurIPS 2022, and its configuration of regions and splits.
Its channels on BossDB are ``prasad/prasad2020/image``, ``prasad/prasad_analysis/roi_labels`` and
``prasad/prasad_analysis/pixel_labels``; axes are z y x, voxels 1.17 µm wide.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from microtome.boxes import ListedBoxes
from microtome.crops import Crops, Transform
from microtome.errors import InputError
from microtome.grids import Extents
from microtome_core.region import Region

if TYPE_CHECKING:
    from microtome.volume import Volume

TILE = 256
"""Voxels of a tile along y and x."""

REGIONS: Mapping[str, Extents] = {
    "CTX": {"y": (900, 1156), "x": (4600, 4856)},
    "STR": {"y": (500, 756), "x": (3700, 3956)},
    "VP": {"y": (850, 1106), "x": (3063, 3319)},
    "ZI": {"y": (650, 906), "x": (1543, 1799)},
}
"""Where each region is cut: cortex, striatum, ventral posterior thalamus, zona incerta; the class
of task 1 is its number in this order."""

SPLITS: Mapping[str, tuple[int, int]] = {
    "train": (110, 379),
    "validation": (380, 409),
    "test": (420, 470),
}
"""Planes of each split."""

PIXEL_CLASSES = ("background", "vessel", "cell", "axon")
"""What the values of ``pixel_labels`` mean."""

_CLASS_OF_ROI = {0: 0, 1: 0, 2: 1, 8: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 3}


def tiles(
    split: str,
    *,
    depth: int = 1,
    regions: Sequence[str] = tuple(REGIONS),
    origin: Mapping[str, int] | None = None,
) -> ListedBoxes:
    """Return the boxes of a split, region after region, each with its class as ``region``.

    Parameters
    ----------
    split : str
        ``train``, ``validation`` or ``test``: 1076, 116 and 200 tiles of depth 1.
    depth : int
        Planes of a box (the authors' ``volume_z``: 1 or 8). Planes that fill no box are left out:
        none reaches into the next region, as the authors' own do wherever the depth does not
        divide the planes of a split.
    regions : sequence of str
        Some of `REGIONS`; the class of each stays what it is among all.
    origin : mapping of axis to int, optional
        The voxel of the published frame at which the volume begins, where it is a part of it.

    Raises
    ------
    InputError
        An unknown split or region, or a depth that the split does not hold.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    if unknown := [name for name in regions if name not in REGIONS]:
        raise InputError(f"region {unknown[0]!r}: expected some of {', '.join(REGIONS)}")
    low, high = SPLITS[split]
    if not 1 <= depth <= high - low:
        raise InputError(f"depth={depth}: split {split} has {high - low} planes")
    boxes, notes = [], []
    for name in regions:
        for z in range(low, high - depth + 1, depth):
            boxes.append(_box(name, z, depth, origin or {}))
            notes.append({"region": list(REGIONS).index(name)})
    return ListedBoxes(boxes, notes)


def _box(name: str, z: int, depth: int, origin: Mapping[str, int]) -> Region:
    ranges = {"z": (z, z + depth), **REGIONS[name]}
    moved = {axis: [end - origin.get(axis, 0) for end in ends] for axis, ends in ranges.items()}
    return Region("zyx", *zip(*(moved[axis] for axis in "zyx"), strict=True))


def volumes(
    service: str, dataset: str = "prasad/prasad2020", *, token: str | None = None
) -> "dict[str, Volume]":
    """Open the three layers on a service: ``image``, ``roi`` and ``pixels``.

    Parameters
    ----------
    service : str
        Its address, such as ``http://127.0.0.1:8000``.
    dataset : str
        In which they are, as ``image``, ``roi_labels`` and ``pixel_labels``.
    token : str, optional
        As for `microtome.open`.
    """
    from microtome.volume import open as open_volume  # noqa: PLC0415 - which knows nothing of this

    names = {"image": "image", "roi": "roi_labels", "pixels": "pixel_labels"}
    base = f"{service.rstrip('/')}/{dataset}"
    return {key: open_volume(f"{base}/{name}", token=token) for key, name in names.items()}


def task1(
    volumes: "Mapping[str, Volume]",
    split: str,
    *,
    transform: Transform | None = None,
    **options: Any,  # noqa: ANN401 - those of tiles
) -> Crops:
    """Return tiles with their region: ``{"image": (depth, 256, 256), "region": 0 … 3}``.

    Parameters
    ----------
    volumes : mapping
        Of which ``image`` is read.
    split, **options
        As for `tiles`.
    transform : callable, optional
        As for `Crops`.
    """
    return Crops({"image": volumes["image"]}, tiles(split, **options), transform=transform)


def task2(
    volumes: "Mapping[str, Volume]",
    split: str,
    *,
    transform: Transform | None = None,
    **options: Any,  # noqa: ANN401 - those of tiles
) -> Crops:
    """Return tiles with the class of each pixel, see `PIXEL_CLASSES`, as ``pixels``.

    Parameters
    ----------
    volumes : mapping
        Of which ``image`` and ``pixels`` are read; they must lie on one grid.
    split, **options
        As for `tiles`.
    transform : callable, optional
        As for `Crops`.
    """
    read = {name: volumes[name] for name in ("image", "pixels")}
    return Crops(read, tiles(split, **options), transform=transform)


def region_of(roi: NDArray[Any]) -> int:
    """Return the class of a tile by its region labels, as the authors take it: their mode.

    >>> region_of(np.array([5, 5, 0]))
    3

    Raises
    ------
    InputError
        The mode is a label that belongs to no region.
    """
    values, counts = np.unique(roi, return_counts=True)
    mode = int(values[counts.argmax()])
    if mode not in _CLASS_OF_ROI:
        raise InputError(f"region label {mode}: expected one of {sorted(_CLASS_OF_ROI)}")
    return _CLASS_OF_ROI[mode]
