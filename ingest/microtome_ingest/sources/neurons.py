"""Procedural neurons: where each one is, how its branches run, which colours it carries.

Space, in micrometers and in the order z, y, x, is divided into cubes of `CELL`; each cube roots one
neuron that is a pure function of the seed and the cube's index, and that stays within `REACH` of
its soma. So any box of the world is known from the cubes around it, without the rest of the world.
"""

from dataclasses import dataclass
from math import pi, prod

import numpy as np
from numpy.typing import NDArray

CELL = 100.0
REACH = 180.0
STEP = 0.5
# Directions are drawn once every `KNOT` steps and interpolated, which makes the paths smooth.
KNOT = 10
# Share of the tips that fork, by generation.
FORKING = (1.0, 0.6, 0.3, 0.0)

Floats = NDArray[np.float64]
Cell = tuple[int, int, int]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the splitmix64 finaliser of each value: 64 bits that look random.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def key(*numbers: int) -> int:
    """Return 64 bits that depend on every number and on their order.

    >>> key(1, 2) == key(1, 2), key(1, 2) == key(2, 1)
    (True, False)
    """
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 1) * _GOLDEN & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


class Draws:
    """A stream of random numbers that is the same on every machine and every version of NumPy."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._made = 0
        self._pool = np.empty(0)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Floats:
        """Return numbers in [low, high) of the given shape."""
        n = prod(shape)
        if len(self._pool) < n:
            self._pool = np.concatenate([self._pool, self._more(max(n, 4096))])
        unit, self._pool = self._pool[:n], self._pool[n:]
        return (low + (high - low) * unit).reshape(shape)

    def one(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a single number in [low, high)."""
        return float(self.uniform(1, low=low, high=high)[0])

    def _more(self, n: int) -> Floats:
        counters = np.arange(self._made + 1, self._made + n + 1, dtype=np.uint64)
        self._made += n
        bits = scramble(counters * np.uint64(_GOLDEN) + np.uint64(self._start))
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Neuron:
    """One neuron as a cloud of balls whose union is its body.

    Parameters
    ----------
    cell : (int, int, int)
        The cube that roots it.
    points : ndarray, (3, n)
        Centres z, y, x in micrometers.
    radius : ndarray, (n,)
        In micrometers.
    look : (float, float, float)
        Hue in [0, 1), saturation and brightness in (0, 1].
    """

    cell: Cell
    points: Floats
    radius: Floats
    look: tuple[float, float, float]


def weights(looks: Floats, channels: int) -> Floats:
    """Return (n, channels): how strongly each channel shows each neuron, given (n, 3) looks.

    The channels sit at equal distances on the colour circle; with three of them this is the usual
    hue of red, green and blue. A single channel shows brightness alone.

    >>> weights(np.array([[1 / 3, 1.0, 0.5]]), 3).round(3).tolist()
    [[0.0, 0.5, 0.0]]
    """
    hue, saturation, brightness = looks[:, :1], looks[:, 1:2], looks[:, 2:]
    if channels == 1:
        return brightness
    away = np.abs(hue * channels - np.arange(channels))
    pure = np.clip(2.0 - 2.0 * np.minimum(away, channels - away), 0.0, 1.0)
    shares: Floats = brightness * (1.0 - saturation * (1.0 - pure))
    return shares


@dataclass(frozen=True, slots=True)
class Branches:
    """Branches that are grown side by side; `start` and `heading` are (3, n), the others (n,)."""

    start: Floats
    heading: Floats
    length: Floats
    radius: Floats
    taper: Floats
    wander: Floats
    flare: Floats

    def __add__(self, other: "Branches") -> "Branches":
        both = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return Branches(*(np.concatenate(pair, axis=-1) for pair in both))


def grow(seed: int, cell: Cell) -> Neuron:
    """Return the neuron that is rooted in the cube of index `cell`."""
    draws = Draws(key(seed, *cell))
    soma = (np.array(cell)[:, None] + draws.uniform(3, 1, low=0.12, high=0.88)) * CELL
    size = draws.one(4.5, 7.0)
    stems = _basal(draws, soma, size)
    if draws.one() < 0.65:
        stems += _apical(draws, soma, size)
    stems += _axon(draws, soma)
    parts = [(soma, np.array([size])), *_generations(draws, stems)]
    points = np.concatenate([part[0] for part in parts], axis=1)
    radius = np.concatenate([part[1] for part in parts])
    inside = _length(points - soma) < REACH - 2.0
    hue, pale, dim = draws.uniform(3).tolist()
    look = (hue, 1.0 - 0.45 * pale**2, 0.4 + 0.6 * dim)
    return Neuron(cell, points[:, inside], radius[inside], look)


def _basal(draws: Draws, soma: Floats, size: float) -> Branches:
    """Dendrites that leave the soma in all directions, spread by the golden angle."""
    n = 4 + int(draws.one(0, 4))
    rank = np.arange(n)
    height = 1.0 - 2.0 * (rank + draws.uniform(n, low=0.2, high=0.8)) / n
    turn = rank * pi * (3.0 - 5.0**0.5) + draws.one(0, 2 * pi)
    flat = np.sqrt(1.0 - height**2)
    heading = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)])
    return Branches(
        start=soma + heading * size * 0.6,
        heading=heading,
        length=draws.uniform(n, low=18.0, high=45.0),
        radius=draws.uniform(n, low=1.0, high=1.6),
        taper=np.full(n, 0.72),
        wander=np.full(n, 0.22),
        flare=np.full(n, 1.3),
    )


def _apical(draws: Draws, soma: Floats, size: float) -> Branches:
    """The one thick dendrite of a pyramidal cell, which rises towards the surface (low y)."""
    heading = np.array([[0.0], [-1.0], [0.0]]) + draws.uniform(3, 1, low=-0.22, high=0.22)
    return Branches(
        start=soma + heading * size * 0.6,
        heading=_unit(heading),
        length=draws.uniform(1, low=60.0, high=120.0),
        radius=draws.uniform(1, low=1.5, high=2.1),
        taper=np.array([0.5]),
        wander=np.array([0.09]),
        flare=np.array([1.6]),
    )


def _axon(draws: Draws, soma: Floats) -> Branches:
    """A long thin process that leaves downwards and wanders far."""
    heading = np.array([[0.0], [0.8], [0.0]]) + draws.uniform(3, 1, low=-0.6, high=0.6)
    return Branches(
        start=soma,
        heading=_unit(heading),
        length=draws.uniform(1, low=120.0, high=220.0),
        radius=np.array([0.42]),
        taper=np.array([0.9]),
        wander=np.array([0.3]),
        flare=np.array([1.0]),
    )


def _generations(draws: Draws, stems: Branches) -> list[tuple[Floats, Floats]]:
    """Grow the stems, their daughters, and theirs: places and radii of the balls of each."""
    parts = []
    branches = stems
    for generation in range(len(FORKING)):
        paths = _paths(draws, branches)
        parts.append(_balls(draws, branches, paths))
        branches = _daughters(draws, branches, paths, generation)
        if not len(branches.length):
            break
    return parts


@dataclass(frozen=True, slots=True)
class _Paths:
    """Points and headings, both (3, branch, step), and how many steps each branch has."""

    points: Floats
    headings: Floats
    steps: NDArray[np.int64]

    def at(self, rows: NDArray[np.int64], fraction: Floats) -> tuple[Floats, Floats]:
        """Return the point and heading of some branches, each at a fraction of its length."""
        step = ((self.steps[rows] - 1) * fraction).astype(np.int64)
        return self.points[:, rows, step], self.headings[:, rows, step]


def _paths(draws: Draws, branches: Branches) -> _Paths:
    """Let each branch wander: its heading is a random walk that leans back to where it set out."""
    steps = np.ceil(branches.length / STEP).astype(np.int64)
    longest = int(steps.max())
    turns = draws.uniform(3, len(steps), longest // KNOT + 2, low=-1.0, high=1.0)
    walk = np.cumsum(turns * branches.wander[:, None], axis=-1)
    walk -= 0.5 * walk.mean(axis=-1, keepdims=True)
    bends = branches.heading[..., None] + walk
    bends[..., 0] = branches.heading
    share = np.arange(KNOT) / KNOT
    smooth = bends[..., :-1, None] + np.diff(bends)[..., None] * share
    headings = _unit(smooth.reshape(3, len(steps), -1)[..., :longest])
    points = branches.start[..., None] + np.cumsum(headings * STEP, axis=-1)
    return _Paths(points, headings, steps)


def _balls(draws: Draws, branches: Branches, paths: _Paths) -> tuple[Floats, Floats]:
    """String balls along the paths: flared at the root, tapering, slightly uneven."""
    step = np.arange(paths.points.shape[-1])
    share = step / paths.steps[:, None]
    radius = branches.radius[:, None] * (1.0 - (1.0 - branches.taper[:, None]) * share)
    radius *= 1.0 + branches.flare[:, None] * np.exp(-step * STEP / 3.5)
    bumps = draws.uniform(len(step) // 4 + 1, low=0.9, high=1.12)
    radius *= bumps[step // 4]
    # Thick branches need fewer balls to look smooth.
    kept = (share < 1.0) & ((radius < 0.9) | (step % 2 == 0))
    return paths.points[:, kept], radius[kept]


def _daughters(draws: Draws, parents: Branches, paths: _Paths, generation: int) -> Branches:
    """Fork the tips in two and let twigs sprout on the way."""
    n = len(parents.length)
    forking, twice, sprouting = draws.uniform(3, n)
    first = np.flatnonzero(forking < FORKING[generation])
    second = first[twice[first] < 0.85]
    # Long branches sprout more often, stems doubly; late twigs do not sprout again.
    sprouts = np.flatnonzero((sprouting * 100.0 < parents.length) & (generation < 2))
    twigs = np.repeat(sprouts, 1 + (generation == 0))
    ways = draws.uniform(3, n, low=-1.0, high=1.0)
    any_way = draws.uniform(3, len(twigs), low=-1.0, high=1.0)
    sides = np.concatenate([ways[:, first], -ways[:, second], any_way], axis=1)
    rows = np.concatenate([first, second, twigs])
    is_twig = np.arange(len(rows)) >= len(first) + len(second)
    return _daughter(draws, parents, paths, rows, sides, is_twig)


def _daughter(
    draws: Draws,
    parents: Branches,
    paths: _Paths,
    rows: NDArray[np.int64],
    sides: Floats,
    is_twig: NDArray[np.bool_],
) -> Branches:
    """Start a branch from each parent of `rows`, turned towards `sides`; a twig from midway."""
    n = len(rows)
    luck, spread, length, width = draws.uniform(4, n)
    where = np.where(is_twig, 0.15 + 0.75 * luck, 1.0)
    start, heading = paths.at(rows, where)
    across = _unit(sides - (sides * heading).sum(axis=0) * heading)
    turn = np.where(is_twig, 1.2, 0.3 + 0.4 * spread)
    parent = parents.radius[rows] * (1.0 - (1.0 - parents.taper[rows]) * where)
    return Branches(
        start=start,
        heading=_unit(heading + across * turn),
        length=np.where(is_twig, 15.0 + 40.0 * length, 25.0 + 45.0 * length),
        radius=np.maximum(parent * np.where(is_twig, 0.6, 0.74 + 0.16 * width), 0.38),
        taper=np.full(n, 0.65),
        wander=np.full(n, 0.22),
        flare=np.full(n, 0.15),
    )


def _length(vectors: Floats) -> Floats:
    z, y, x = vectors
    norm: Floats = np.sqrt(z * z + y * y + x * x)
    return norm


def _unit(vectors: Floats) -> Floats:
    # The sum keeps a vector of zeros from dividing by zero.
    return vectors / (_length(vectors) + 1e-12)
