"""Which images a CZI file holds: its subblocks sorted by scene and every other dimension.

An image has t, c, z, y and x. Scenes, views, illuminations, rotations, phases (Airyscan) and blocks
are images of their own, as are channels of another pixel type and each channel of colour pixels.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod

from microtome_core.errors import SourceError
from microtome_ingest.sources.czi_blocks import OTHERS, PIXELS
from microtome_ingest.sources.czi_directory import Block

WORDS = {"S": "scene", "V": "view", "I": "illumination", "R": "rotation", "H": "phase"}
_PLANE = "TZC"
Plane = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Image:
    """One image.

    Parameters
    ----------
    fixed : dict
        Its coordinate in every dimension that is no axis.
    pixel : int
        Type of its pixels.
    turns : dict
        The coordinates along T, Z and C, in ascending order.
    planes : dict
        The subblocks by their coordinates along T, Z and C.
    named : tuple of str
        What tells it from the others: letters of dimensions, ``pixel``, ``channel``.
    """

    fixed: Mapping[str, int]
    pixel: int
    turns: Mapping[str, Sequence[int]]
    planes: Mapping[Plane, Sequence[Block]]
    named: tuple[str, ...]

    @property
    def scene(self) -> int | None:
        """The number of its scene in the file; None in files without scenes."""
        return self.fixed.get("S")

    @property
    def rectangle(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of what its subblocks cover together."""
        every = [block for blocks in self.planes.values() for block in blocks]
        left, top = min(block.x for block in every), min(block.y for block in every)
        right = max(block.x + block.width for block in every)
        bottom = max(block.y + block.height for block in every)
        return left, top, right - left, bottom - top

    def name(self, scenes: Mapping[int, str]) -> str:
        """Return what tells it from the others."""
        words = []
        for part in self.named:
            if part == "pixel":
                words.append(PIXELS[self.pixel][0] if self.pixel in PIXELS else OTHERS[self.pixel])
            elif part == "channel":
                words.append(f"channel {self.turns['C'][0]}")
            elif part == "S" and scenes.get(self.fixed["S"]):
                words.append(scenes[self.fixed["S"]])
            else:
                words.append(f"{WORDS.get(part, part)} {self.fixed[part]}")
        return ", ".join(words) or scenes.get(self.scene or 0, "")


def images(path: str, blocks: Sequence[Block]) -> tuple[Image, ...]:
    """Return all images, scenes first.

    Raises
    ------
    SourceError
        No voxels, or subblocks whose dimensions do not fit together.
    """
    finest = [block for block in blocks if block.finest]
    if not finest:
        raise SourceError(path, "holds no voxels, but of pyramids at most")
    varying = _varying(path, finest)
    _check_pyramids(path, blocks)
    groups: dict[tuple[object, ...], list[Block]] = {}
    for block in finest:
        groups.setdefault(_key(block), []).append(block)
    pixels = {block.pixel for block in finest}
    named = tuple(d for d in varying if d not in _PLANE)
    if len(pixels) > 1:
        named += ("pixel",)
    found = []
    for _, members in sorted(groups.items()):
        colour = PIXELS.get(members[0].pixel, ("", None, 1))[2] > 1
        mine = (*named, "channel") if colour and "C" in varying else named
        found.append(_image(members, mine))
    return tuple(found)


def _varying(path: str, blocks: Sequence[Block]) -> tuple[str, ...]:
    """Return the dimensions along which there is more than one coordinate, scenes first."""
    every = {name for block in blocks for name in block.place}
    values = {name: {block.place.get(name) for block in blocks} for name in every}
    varying = sorted(name for name, found in values.items() if len(found) > 1)
    for name in varying:
        # libCZI would find nothing where a coordinate is asked for that a subblock has not.
        if None in values[name]:
            raise SourceError(path, f"some of its subblocks have no place along {name}: not read")
    return tuple(sorted(varying, key=lambda name: ("SVIRHB".find(name) % 99, name)))


def _check_pyramids(path: str, blocks: Sequence[Block]) -> None:
    """Refuse planes of which only coarser levels are there."""
    every = sorted({item for block in blocks for item in block.place.items()})
    counts = Counter(name for name, _ in every)
    names = [name for name, count in counts.items() if count > 1]
    planes = {tuple(b.place.get(name) for name in names) for b in blocks if b.finest}
    for block in blocks:
        plane = tuple(block.place.get(name) for name in names)
        if None not in plane and plane not in planes:
            words = ", ".join(f"{n} {at}" for n, at in zip(names, plane, strict=True))
            raise SourceError(path, f"holds nothing but a pyramid of {words}")


def _key(block: Block) -> tuple[object, ...]:
    others = tuple(sorted((k, v) for k, v in block.place.items() if k not in _PLANE))
    scene = block.place.get("S", 0)
    colour = PIXELS.get(block.pixel, ("", None, 1))[2] > 1
    channel = block.place.get("C", 0) if colour else -1
    return scene, others, block.pixel, channel


def _image(blocks: Sequence[Block], named: tuple[str, ...]) -> Image:
    planes: dict[Plane, list[Block]] = {}
    for block in blocks:
        t, z, c = (block.place.get(name, 0) for name in _PLANE)
        planes.setdefault((t, z, c), []).append(block)
    turns = {name: sorted({plane[i] for plane in planes}) for i, name in enumerate(_PLANE)}
    fixed = {k: v for k, v in blocks[0].place.items() if k not in _PLANE}
    return Image(fixed, blocks[0].pixel, turns, planes, named)


def check_whole(path: str, image: Image, every: Sequence[Image]) -> None:
    """Refuse an image of which a plane or a tile is missing; libCZI would give zeros.

    Raises
    ------
    SourceError
        Names the first one.
    """
    for name in "TZ":
        _check_gaps(path, image.turns[name], f"planes along {name}")
    siblings = [other for other in every if other.fixed == image.fixed]
    _check_gaps(path, sorted({c for one in siblings for c in one.turns["C"]}), "channels")
    needed = prod(len(image.turns[name]) for name in _PLANE)
    if needed != len(image.planes):
        t, z, c = next(one for one in _expected(image) if one not in image.planes)
        raise SourceError(
            path,
            f"{needed - len(image.planes)} of {needed} planes are missing, "
            f"the first at T {t}, Z {z}, C {c}",
        )
    _check_tiles(path, image)


def _expected(image: Image) -> Iterator[Plane]:
    t, z, c = (image.turns[name] for name in _PLANE)
    return iter(product(t, z, c))


def _check_gaps(path: str, turns: Sequence[int], what: str) -> None:
    for low, high in pairwise(turns):
        if high != low + 1:
            raise SourceError(path, f"{what} are missing: {low} is followed by {high}")


def _check_tiles(path: str, image: Image) -> None:
    """Compare the tiles of all planes: a mosaic has the same ones in each."""
    planes = {plane: Counter(b.tile for b in blocks) for plane, blocks in image.planes.items()}
    union = Counter[int | None]()
    for tiles in planes.values():
        union |= tiles
    for (t, z, c), tiles in planes.items():
        if tiles != union:
            [gone, *_] = union - tiles
            name = "a subblock" if gone is None else f"tile {gone}"
            raise SourceError(path, f"{name} is missing at T {t}, Z {z}, C {c}")
    _check_gaps(path, sorted(tile for tile in union if tile is not None), "tiles")


def uncovered(image: Image) -> float:
    """Return the part of the rectangle that no subblock covers, in the plane with the most."""
    _, _, width, height = image.rectangle
    kinds = {
        frozenset((b.x, b.y, b.width, b.height) for b in blocks) for blocks in image.planes.values()
    }
    return 1 - min(_covered(kind) for kind in kinds) / (width * height)


def _covered(rectangles: frozenset[tuple[int, int, int, int]]) -> int:
    """Return the area of a union of rectangles, strip by strip between their edges."""
    starts = sorted(rectangles, key=lambda one: one[1])
    edges = sorted({edge for _, y, _, height in starts for edge in (y, y + height)})
    active: list[tuple[int, int, int, int]] = []
    area, next_one = 0, 0
    for low, high in pairwise(edges):
        active = [one for one in active if one[1] + one[3] > low]
        while next_one < len(starts) and starts[next_one][1] <= low:
            active.append(starts[next_one])
            next_one += 1
        area += (high - low) * _length(active)
    return area


def _length(rectangles: Sequence[tuple[int, int, int, int]]) -> int:
    """Return how much of a line rectangles cover together."""
    total, done = 0, None
    for left, right in sorted((x, x + width) for x, _, width, _ in rectangles):
        start = left if done is None else max(left, done)
        if right > start:
            total += right - start
            done = right
    return total
