"""``synthetic://neurons?...``: a Brainbow-like volume that is computed instead of read.

It is a pure function of the seed, the voxel's position and the voxel size: it needs no disk, any
region costs the same wherever it lies, and a larger shape holds the smaller ones. For tests, demos
and benchmarks at any size.

The values follow a detector that counts photons: ``offset + gain * Poisson(background + signal)``,
with the noise of a Poisson process of that mean. Background, gain and signal are set so that images
compress about as well as confocal images do.
"""

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.axes import ORDER, SPATIAL, spatial
from microtome_core.grid import Grid
from microtome_core.region import Region, check_region
from microtome_ingest.files import Stamp
from microtome_ingest.meter import Meter
from microtome_ingest.source import Description, SourceChannel
from microtome_ingest.sources.neuron_tiles import TILE, Tile, Tiles
from microtome_ingest.sources.neurons import key, scramble, weights
from microtome_ingest.sources.synthesis import Synthesis

DYES = tuple(
    SourceChannel(
        name,
        color,
        (100.0, 2600.0),
        {"excitation_wavelength_in_nm": excited, "emission_wavelength_in_nm": emitted},
    )
    for name, color, excited, emitted in (
        ("mTFP", "2A60FF", 462.0, 492.0),
        ("EYFP", "20FF40", 514.0, 527.0),
        ("tdTomato", "FF3020", 554.0, 581.0),
    )
)
TIME_STEP = 1.0

GAIN = 4.0
OFFSET = 100.0
SIGNAL = 600.0
BACKGROUND = (24.0, 20.0, 16.0)
# An image of 8 bits shows the same 12 bits' worth of counts.
SCALE = {"uint8": 1 / 16}
# Illumination is constant over so many planes: too few for a step to be seen.
SLAB = 4

_NOISE = 1 << 21
_CACHE = 96 << 20
_ODD = 0x9E3779B97F4A7C15


def open_synthetic(url: str) -> "SyntheticSource":
    """Return the source that ``synthetic://neurons?...`` describes.

    Raises
    ------
    InputError
        As `Synthesis.parse` does.
    """
    return SyntheticSource(Synthesis.parse(url))


class SyntheticSource:
    """A volume of neurons, computed by region; see `Synthesis` for what it depends on."""

    def __init__(self, synthesis: Synthesis) -> None:
        self._synthesis = synthesis
        self._tiles = Tiles(synthesis.seed, synthesis.voxel_size, _CACHE)
        self._noise = _noise(synthesis.seed) if synthesis.kind == "image" else _NO_NOISE
        self._meter = Meter()

    @property
    def description(self) -> Description:
        """What the definition above amounts to."""
        made = self._synthesis
        sizes = dict(zip(SPATIAL, made.voxel_size, strict=True))
        block = {"t": 1, "c": 1, **dict(zip(SPATIAL, TILE, strict=True))}
        return Description(
            format="synthetic",
            axes=made.axes,
            shape=made.shape,
            dtype=made.dtype,
            block=tuple(min(block[a], n) for a, n in zip(made.axes, made.shape, strict=True)),
            files=(),
            image=str(made),
            voxel_size={a: sizes[a] for a in spatial(made.axes)},
            unit="micrometer",
            time_step=TIME_STEP if "t" in made.axes else None,
            channels=_channels(made),
            metadata={"synthetic": {"url": str(made)}},
        )

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region, its axes in the order of the description.

        Raises
        ------
        RegionError
            Other axes, or voxels outside of the shape.
        """
        made = self._synthesis
        check_region(region, made.axes, made.shape)
        block = np.empty(region.shape, dtype=made.dtype)
        box = _with_all_axes(region)
        self._fill(block.reshape(box.shape), box)
        self._meter.add(block.nbytes)
        return block

    @property
    def decoded(self) -> int:
        """Bytes of voxels computed."""
        return self._meter.count

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Nothing: no file is read."""
        return {}

    def close(self) -> None:
        """Forget what was worked out; reading on works it out again."""
        self._tiles.clear()

    def _fill(self, block: NDArray[Any], box: Region) -> None:
        space = Region("zyx", box.start[2:], box.stop[2:])
        grid = Grid("zyx", self._synthesis.space, TILE)
        for index in grid.touched(space):
            low = tuple(i * n for i, n in zip(index, TILE, strict=True))
            tile = Region("zyx", low, tuple(a + n for a, n in zip(low, TILE, strict=True)))
            part = tile & space
            if part is None:
                continue
            view = block[(slice(None), slice(None), *part.relative_to(space.start).slices)]
            painter = _Painter(
                self._synthesis, index, self._tiles.get(index), part.relative_to(low)
            )
            if self._synthesis.kind == "labels":
                painter.labels(view)
            else:
                painter.images(view, self._noise, box.start[:2])


def _with_all_axes(region: Region) -> Region:
    """Return the region with axes t c z y x, those it lacks being 0:1."""
    starts = dict(zip(region.axes, region.start, strict=True))
    stops = dict(zip(region.axes, region.stop, strict=True))
    return Region(
        ORDER, tuple(starts.get(a, 0) for a in ORDER), tuple(stops.get(a, 1) for a in ORDER)
    )


class _Painter:
    """Paints one part of one tile; `part` counts from the tile's origin."""

    def __init__(
        self, synthesis: Synthesis, index: tuple[int, ...], tile: Tile, part: Region
    ) -> None:
        self._synthesis, self._index, self._tile, self._part = synthesis, index, tile, part
        z, y, x = np.unravel_index(tile.index, TILE)
        self._kept: Any = slice(None)
        if part.shape != TILE:
            inside = [
                (low <= n) & (n < high)
                for n, low, high in zip((z, y, x), part.start, part.stop, strict=True)
            ]
            self._kept = np.flatnonzero(inside[0] & inside[1] & inside[2])
        self._at = (z[self._kept], y[self._kept], x[self._kept])

    @property
    def _target(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(n - low for n, low in zip(self._at, self._part.start, strict=True))

    def labels(self, view: NDArray[Any]) -> None:
        """Write the id of the neuron that covers each voxel, 0 where none does."""
        made, tile = self._synthesis, self._tile
        view[...] = 0
        # A tile that sticks out of the volume knows neurons whose voxels all lie outside.
        cubes = tuple((tile.cells - made.first_cell).T)
        place = np.ravel_multi_index(cubes, made.cells, mode="clip")
        # Multiplying by an odd number keeps distinct ids distinct and non-zero in any width.
        ids = ((place + 1).astype(np.uint64) * np.uint64(_ODD)).astype(made.dtype)
        covered = tile.covered[self._kept]
        target = tuple(n[covered] for n in self._target)
        view[(slice(None), slice(None), *target)] = ids[tile.owner[self._kept][covered]]

    def images(
        self, view: NDArray[Any], noise: NDArray[np.float32], first: tuple[int, ...]
    ) -> None:
        """Write every time point and channel; view[0, 0] is time point and channel `first`."""
        extents = dict(zip(self._synthesis.axes, self._synthesis.shape, strict=True))
        shares = weights(self._tile.looks, extents.get("c", 1))
        for i, j in product(range(view.shape[0]), range(view.shape[1])):
            t, c = first[0] + i, first[1] + j
            bright = shares[:, c] * (self._activity(t) if "t" in extents else 1.0)
            drift = self._noise_of(noise, t, c)
            self._image(view[i, j], bright.astype(np.float32), drift, c)

    def _noise_of(self, noise: NDArray[np.float32], t: int, c: int) -> NDArray[np.float32]:
        size = prod(TILE)
        # Multiples of 16 numbers keep rows aligned to the CPU's vectors.
        start = key(self._synthesis.seed, t, c, *self._index) % ((noise.size - size) // 16) * 16
        return noise[start : start + size].reshape(TILE)

    def _activity(self, t: int) -> NDArray[np.float64]:
        """Return the brightness of each neuron at time point t: flashes that rise and decay."""
        level = np.full(len(self._tile.cells), 0.55)
        for n, cell in enumerate(self._tile.cells.tolist()):
            for window in (t // 16, t // 16 - 1):
                event = key(self._synthesis.seed, *cell, window)
                age = t - (window * 16 + event % 16)
                if age >= 0:
                    level[n] += 0.45 * ((event >> 8) % 256 / 255) * 2.0 ** (-age / 3)
        capped: NDArray[np.float64] = np.minimum(level, 1.0)
        return capped

    def _image(
        self,
        view: NDArray[Any],
        bright: NDArray[np.float32],
        noise: NDArray[np.float32],
        channel: int,
    ) -> None:
        made, tile = self._synthesis, self._tile
        along_z, plane = _illumination(made, self._index, channel)
        scale = SCALE.get(made.dtype, 1.0)
        offset = OFFSET * scale + (0.0 if made.dtype == "float32" else 0.5)
        gain = np.float32(GAIN * scale)
        _background(view, noise, (along_z, plane), (gain, np.float32(offset)), self._part)
        z, y, x = self._at
        photons = along_z[z // SLAB] * plane[y, x]
        photons += np.float32(SIGNAL) * tile.level[self._kept] * bright[tile.owner[self._kept]]
        counts = (photons + np.sqrt(photons) * noise[z, y, x]) * gain + np.float32(offset)
        view[self._target] = counts.astype(made.dtype)


def _background(
    view: NDArray[Any],
    noise: NDArray[np.float32],
    light: tuple[NDArray[np.float32], NDArray[np.float32]],
    detector: tuple[np.float32, np.float32],
    part: Region,
) -> None:
    """Write what the detector counts where no branch is, a few planes at a time."""
    (along_z, whole_plane), (gain, offset) = light, detector
    (first, last), rows = (part.start[0], part.stop[0]), part.slices[1:]
    plane = whole_plane[rows]
    spread = np.sqrt(plane)
    for slab in range(first // SLAB, -(-last // SLAB)):
        low, high = max(first, slab * SLAB), min(last, (slab + 1) * SLAB)
        counts = noise[(slice(low, high), *rows)] * (spread * (np.sqrt(along_z[slab]) * gain))
        counts += plane * (along_z[slab] * gain) + offset
        np.copyto(view[low - first : high - first], counts, casting="unsafe")


def _illumination(
    made: Synthesis, index: tuple[int, ...], channel: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the background in photons as a product: by slab of the tile, and by its y and x."""
    waves = []
    for axis, (i, n, size) in enumerate(zip(index, TILE, made.voxel_size, strict=True)):
        place = (i * n + np.arange(n)) * size
        phase = key(made.seed, channel, axis) % 1000 / 1000 * 2 * np.pi
        slow, slower = np.sin(place / 41.0 + phase), np.sin(place / 97.0 + 2 * phase)
        waves.append(1.0 + 0.08 * slow + 0.14 * slower)
    level = BACKGROUND[channel % len(BACKGROUND)]
    plane = level * waves[1][:, None] * waves[2]
    return waves[0][::SLAB].astype(np.float32), plane.astype(np.float32)


_NO_NOISE = np.empty(0, dtype=np.float32)


def _noise(seed: int) -> NDArray[np.float32]:
    """Return numbers of mean 0 and variance 1, a little skewed as photon counts are.

    Sums of eight uniform numbers (Irwin-Hall) are close to normal and bounded, so that no value
    falls below what the offset leaves room for. Each tile takes its own stretch of them.
    """
    counters = np.arange(_NOISE, dtype=np.uint64) + np.uint64(key(seed, 1))
    total = np.zeros(_NOISE, dtype=np.float32)
    for turn in range(2):
        bits = scramble(counters * np.uint64(2) + np.uint64(turn))
        for shift in range(0, 64, 16):
            total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float32)
    normal = (total / np.float32(65535) - np.float32(4)) * np.float32(1.5**0.5)
    skewed = normal + np.float32(0.06) * (normal * normal - np.float32(1))
    return (skewed / np.float32((1 + 2 * 0.06**2) ** 0.5)).astype(np.float32)


def _channels(made: Synthesis) -> tuple[SourceChannel, ...]:
    if made.kind == "labels" or "c" not in made.axes:
        return ()
    n = made.shape[made.axes.index("c")]
    if n <= len(DYES):
        return DYES[:n]
    return tuple(SourceChannel(f"channel {i}") for i in range(n))
