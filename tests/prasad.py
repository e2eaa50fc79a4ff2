"""A seeded volume of the geometry of MTNeuro's, whose voxels are computed when they are asked for.

Only its four regions hold something: textures that repeat every 16 planes, in which the classes of
pixels differ in brightness and the regions in how much they have of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome.mtneuro import REGIONS, SPLITS
from microtome_core.levels import Level
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.array import ArraySpec, Codec, create_array
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from tests.service.conftest import StoreBuilder

SHAPE = (720, 1420, 5805)
DTYPES = {"image": "uint8", "roi_labels": "uint64", "pixel_labels": "uint64"}
# Labels of which a region's mode is one, and the share of vessels, cells and axons in it.
_ROI = (1, 8, 3, 6)
_SHARES = ((0.03, 0.10, 0.02), (0.06, 0.06, 0.20), (0.10, 0.04, 0.35), (0.05, 0.16, 0.10))
_BRIGHTNESS = (110, 40, 190, 230)
_PERIOD = 16


@cache
def _classes(number: int) -> NDArray[np.uint8]:
    """Return the pixel classes of a region's texture: (16, 256, 256)."""
    rng = np.random.default_rng(number)
    field = rng.normal(size=(3, _PERIOD, 32, 32)).repeat(8, 2).repeat(8, 3)
    classes = np.zeros(field.shape[1:], np.uint8)
    for which, share in enumerate(_SHARES[number]):
        classes[field[which] > np.quantile(field[which], 1 - share)] = which + 1
    return classes


@cache
def _image(number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(100 + number)
    bright = np.array(_BRIGHTNESS)[_classes(number)] + rng.normal(0, 12, _classes(number).shape)
    return bright.clip(0, 255).astype(np.uint8)


def _texture(name: str, number: int) -> NDArray[Any]:
    if name == "image":
        return _image(number)
    if name == "pixel_labels":
        return _classes(number)
    roi = np.full((_PERIOD, 256, 256), _ROI[number], np.uint8)
    roi[:, :40] = 0
    return roi


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as an array that computes what is cut out of it.

    Parameters
    ----------
    name : str
        ``image``, ``roi_labels`` or ``pixel_labels``.
    window : Region
        Which part of the whole volume it is.
    """

    name: str
    window: Region = Region.whole("zyx", SHAPE)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents in voxels."""
        return self.window.shape

    @property
    def ndim(self) -> int:
        """Of z, y and x."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """As BossDB has it."""
        return np.dtype(DTYPES[self.name])

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        bounds = zip(key, self.window.start, self.shape, strict=True)
        ranges = [(s.indices(n)[0] + low, s.indices(n)[1] + low) for s, low, n in bounds]
        box = Region("zyx", *zip(*ranges, strict=True))
        found = np.zeros(box.shape, self.dtype)
        for number, region in regions():
            both = region & box
            if both is not None:
                inside = both.relative_to(region.start)
                planes = np.arange(inside.start[0], inside.stop[0]) % _PERIOD
                part = _texture(self.name, number)[(slice(None), *inside.slices[1:])]
                found[both.relative_to(box.start).slices] = part[planes]
        return found


def regions() -> Iterator[tuple[int, Region]]:
    """Yield each region's number and all planes of its splits."""
    low, high = min(a for a, _ in SPLITS.values()), max(b for _, b in SPLITS.values())
    for number, extents in enumerate(REGIONS.values()):
        ranges = ((low, high), extents["y"], extents["x"])
        yield number, Region("zyx", *zip(*ranges, strict=True))


def write(root: Path) -> None:
    """Make the three layers of prasad/prasad2020 in a store; what lies between is not stored."""
    store = Store(str(root))
    builder = StoreBuilder(store)
    for name in DTYPES:
        channel, path = Channel(name), f"prasad/prasad2020/{name}"
        ensure_groups(store, LayerId.parse(path).parent)
        # Of a width that is enough for their values: the service's type need not be BossDB's.
        spec = ArraySpec("zyx", SHAPE, (16, 128, 128), (64, 256, 256), "uint8", Codec("zstd", 1))
        array = create_array(store, f"{path}/0", spec)
        for _, region in regions():
            for part in region.split((64, 256, 256)):
                array[part.slices] = channel[part.slices].astype("uint8")
        level = Level((1, 1, 1), SHAPE, (1.17, 1.17, 1.17))
        builder.publish(path, "zyx", [level], np.empty(0), labels=name != "image")
