"""The address of a synthetic volume: ``synthetic://neurons?shape=...`` taken apart and checked."""

import re
from dataclasses import dataclass
from math import floor, prod
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from microtome_core.axes import SPATIAL, check_axes, spatial
from microtome_core.errors import InputError
from microtome_ingest.sources.neurons import CELL, REACH

AXES = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
VOXEL_SIZE = {"z": 1.0, "y": 0.4, "x": 0.4}
# The first of each kind is the default.
DTYPES = {
    "image": ("uint16", "uint8", "uint32", "float32"),
    "labels": ("uint32", "uint8", "uint16", "uint64"),
}
KEYS = ("shape", "dtype", "seed", "axes", "voxel-size", "kind")
VOXEL_RANGE = (0.05, 10.0)
LONGEST = 1 << 32

_INTEGER = re.compile(r"\d{1,18}")
_SIZE = re.compile(r"([a-z])=(\d{1,6}(?:\.\d{1,9})?)")


@dataclass(frozen=True, slots=True)
class Synthesis:
    """All that a synthetic volume depends on.

    Parameters
    ----------
    shape : tuple of int
        In the order of `axes`.
    axes : str
        A subsequence of ``tczyx``.
    dtype : str
        NumPy's name.
    seed : int
    voxel_size : (float, float, float)
        Micrometers along z, y, x, whether or not the volume has axis z.
    kind : str
        ``image`` or ``labels``.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: str
    seed: int
    voxel_size: tuple[float, float, float]
    kind: str

    @classmethod
    def parse(cls, url: str) -> "Synthesis":
        """Read ``synthetic://neurons?shape=256,512,512&dtype=uint16&seed=3&...``.

        Parameters
        ----------
        url : str
            ``shape`` alone is needed. Defaults: ``dtype`` uint16 (labels: uint32), ``seed`` 0,
            ``axes`` by the number of dimensions (yx, zyx, czyx, tczyx), ``voxel-size``
            z=1,y=0.4,x=0.4 in micrometers, ``kind`` image (or labels).

        Raises
        ------
        InputError
            Another scheme or name, a parameter that is unknown, doubled, missing or out of range.
        """
        words = _words(url)
        shape = _shape(words.get("shape", ""))
        axes = _axes(words.get("axes"), len(shape))
        kind = _choice("kind", words.get("kind", "image"), tuple(DTYPES))
        made = cls(
            shape=shape,
            axes=axes,
            dtype=_choice("dtype", words.get("dtype", DTYPES[kind][0]), DTYPES[kind]),
            seed=_integer("seed", words.get("seed", "0"), 0),
            voxel_size=_voxel_size(words.get("voxel-size", ""), axes),
            kind=kind,
        )
        return made._check_ids()

    def __str__(self) -> str:
        sizes = zip(SPATIAL, self.voxel_size, strict=True)
        voxel = ",".join(f"{a}={size:.12g}" for a, size in sizes if a in self.axes)
        return (
            f"synthetic://neurons?shape={','.join(map(str, self.shape))}&dtype={self.dtype}"
            f"&seed={self.seed}&axes={self.axes}&voxel-size={voxel}&kind={self.kind}"
        )

    @property
    def space(self) -> tuple[int, ...]:
        """Voxels along z, y, x; a volume without z is the plane at z = 0."""
        extents = dict(zip(self.axes, self.shape, strict=True))
        return tuple(extents.get(a, 1) for a in SPATIAL)

    @property
    def first_cell(self) -> tuple[int, ...]:
        """The cube of lowest index whose neuron may be seen."""
        return (floor(-REACH / CELL),) * 3

    @property
    def cells(self) -> tuple[int, ...]:
        """How many cubes along z, y, x have neurons that may be seen."""
        ends = (n * v for n, v in zip(self.space, self.voxel_size, strict=True))
        return tuple(floor((end + REACH) / CELL) + 1 - floor(-REACH / CELL) for end in ends)

    def _check_ids(self) -> "Synthesis":
        if self.kind == "labels" and prod(self.cells) > np.iinfo(self.dtype).max:
            raise InputError(
                f"dtype={self.dtype}: up to {prod(self.cells)} neurons in shape={self.shape} "
                "need a label each: expected a wider type"
            )
        return self


def _words(url: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(
            f"{url[:200]!r}: expected synthetic://neurons?shape=... ({error})"
        ) from error
    if parts.scheme != "synthetic" or parts.netloc != "neurons" or parts.path.strip("/"):
        raise InputError(
            f"{url[:200]!r}: expected synthetic://neurons?shape=..., the one kind there is"
        )
    try:
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=20
        )
    except ValueError as error:
        raise InputError(
            f"{url[:200]!r}: expected key=value pairs joined by '&' ({error})"
        ) from error
    for name, value in pairs:
        if name not in KEYS:
            raise InputError(f"{name[:40]}={value[:40]}: expected one of {', '.join(KEYS)}")
    if len(dict(pairs)) != len(pairs):
        raise InputError(f"{parts.query[:200]!r}: a parameter is given twice: expected each once")
    return dict(pairs)


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InputError(f"{name}={value[:40]}: expected one of {', '.join(choices)}")
    return value


def _integer(name: str, value: str, least: int) -> int:
    if not _INTEGER.fullmatch(value) or int(value) < least:
        raise InputError(
            f"{name}={value[:40]}: expected a whole number from {least} on, of at most 18 digits"
        )
    return int(value)


def _shape(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) not in AXES:
        raise InputError(f"shape={text[:80]}: expected 2 to 5 extents such as 256,512,512")
    shape = tuple(_integer("shape", word, 1) for word in words)
    if max(shape) > LONGEST or prod(shape) >= 1 << 63:
        raise InputError(
            f"shape={text[:80]}: expected at most {LONGEST} an axis and fewer than 2**63 in all"
        )
    return shape


def _axes(text: str | None, ndim: int) -> str:
    if text is None:
        return AXES[ndim]
    try:
        axes = check_axes(text)
    except InputError as error:
        raise InputError(f"axes={text[:40]}: {error}") from error
    if len(axes) != ndim:
        raise InputError(f"axes={axes}: expected {ndim} letters, one for each extent of shape")
    return axes


def _voxel_size(text: str, axes: str) -> tuple[float, float, float]:
    sizes = dict(VOXEL_SIZE)
    for word in text.split(",") if text else []:
        match = _SIZE.fullmatch(word)
        if not match or match[1] not in spatial(axes):
            raise InputError(
                f"voxel-size={text[:80]}: expected for example "
                + ",".join(f"{axis}={VOXEL_SIZE[axis]:g}" for axis in spatial(axes))
            )
        size = float(match[2])
        if not VOXEL_RANGE[0] <= size <= VOXEL_RANGE[1]:
            raise InputError(
                f"voxel-size={text[:80]}: expected {VOXEL_RANGE[0]} to {VOXEL_RANGE[1]} micrometers"
            )
        sizes[match[1]] = size
    return sizes["z"], sizes["y"], sizes["x"]
