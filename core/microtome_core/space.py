"""Named spaces, such as an atlas, and the transforms that lead from a layer into them and back.

Physical coordinates of a layer are micrometers along its spatial axes: voxel `i` of a level has its
centre at ``i * scale + translation``. Those of a space are micrometers along the axes of the space,
in its own order. A transform is an affine, and a field of displacements on a grid of the space::

    layer-to-space    space = A layer, then  space + field(space)
    space-to-layer    layer = A (space + field(space))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from microtome_core.errors import InputError
from microtome_core.names import check_name

Points = NDArray[np.float64]
Direction = Literal["layer-to-space", "space-to-layer"]
DIRECTIONS = ("layer-to-space", "space-to-layer")
# Coordinates that every layer has, beside those of the spaces that it is registered to.
VOXEL, PHYSICAL = "voxel", "physical"
# A matrix that loses more digits than float64 has cannot be inverted.
_WORST_CONDITION = 1e12
# Fixed-point iteration ends when no point moves further, in micrometers, or fails after so many.
TOLERANCE = 1e-3
_MOST_STEPS = 200


class NotConverged(InputError):
    """A field that changes by more than the distance cannot be followed backwards."""


def check_affine(matrix: ArrayLike, ndim: int) -> Points:
    """Return a homogeneous matrix as (ndim + 1, ndim + 1); a last row may be left out.

    >>> check_affine([[2, 0, 5], [0, 1, 0]], 2).tolist()
    [[2.0, 0.0, 5.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    Raises
    ------
    InputError
        Another shape, a value that is no finite number, another last row, or a singular matrix.
    """
    try:
        given = np.array(matrix, "float64")
    except (TypeError, ValueError) as error:
        raise InputError(f"affine: not a matrix of numbers: {error}") from error
    if given.shape == (ndim, ndim + 1):
        given = np.vstack([given, [0.0] * ndim + [1.0]])
    if given.shape != (ndim + 1, ndim + 1):
        raise InputError(
            f"affine: shape {given.shape}: expected {(ndim + 1, ndim + 1)}, or without its last row"
        )
    if not np.isfinite(given).all():
        raise InputError("affine: holds a value that is no finite number")
    if not np.array_equal(given[-1], [0.0] * ndim + [1.0]):
        raise InputError(f"affine: last row {given[-1].tolist()}: expected zeros, then 1")
    # Axes may be of very different lengths: what counts is whether directions coincide.
    linear = given[:-1, :-1]
    lengths = np.linalg.norm(linear, axis=0)
    if not lengths.all() or np.linalg.cond(linear / lengths) > _WORST_CONDITION:
        raise InputError("affine: singular: it maps a volume onto a plane, a line or a point")
    return given


def check_points(points: ArrayLike, ndim: int) -> Points:
    """Return points as float64 of shape (..., ndim).

    Raises
    ------
    InputError
        Another number of coordinates, or one that is no finite number.
    """
    try:
        given = np.asarray(points, "float64")
    except (TypeError, ValueError) as error:
        raise InputError(f"points: not an array of numbers: {error}") from error
    if given.ndim == 0 or given.shape[-1] != ndim:
        raise InputError(f"points: shape {given.shape}: expected (…, {ndim})")
    if not np.isfinite(given).all():
        raise InputError("points: hold a value that is no finite number")
    return given


@dataclass(frozen=True, slots=True, eq=False)
class DisplacementField:
    """Displacements in micrometers on a regular grid of a space.

    Between nodes they are interpolated linearly; beyond the grid those of its edge hold.

    Parameters
    ----------
    values : ndarray
        Of shape (ndim, …), the displacement along each axis of the space at each node.
    origin, spacing : tuple of float
        Place of the first node, and distance of nodes, in micrometers.

    Raises
    ------
    InputError
        Shapes that do not fit, a spacing that is not positive, a value that is not finite.
    """

    values: NDArray[Any]
    origin: tuple[float, ...]
    spacing: tuple[float, ...]

    def __post_init__(self) -> None:
        ndim = len(self.origin)
        if self.values.ndim != ndim + 1 or self.values.shape[0] != ndim:
            raise InputError(
                f"field: shape {self.values.shape}: expected {ndim} displacements, then a grid of "
                f"{ndim} axes"
            )
        if 0 in self.values.shape or not np.isfinite(self.values).all():
            raise InputError("field: is empty, or holds a value that is no finite number")
        sizes = (*self.origin, *self.spacing)
        if len(self.spacing) != ndim or not (np.isfinite(sizes).all() and min(self.spacing) > 0):
            raise InputError(f"field: spacing {self.spacing}: expected {ndim} positive numbers")

    def at(self, points: Points) -> Points:
        """Return the displacement at points of shape (…, ndim)."""
        extents = np.array(self.values.shape[1:])
        places = (points - np.array(self.origin)) / np.array(self.spacing)
        places = np.clip(places, 0, extents - 1)
        low = np.minimum(places.astype(int), np.maximum(extents - 2, 0))
        high = np.minimum(low + 1, extents - 1)
        share = places - low
        out = np.zeros(points.shape)
        for corner in product((0, 1), repeat=len(extents)):
            upper = np.array(corner, bool)
            weight = np.where(upper, share, 1 - share).prod(axis=-1)
            node = np.where(upper, high, low)
            found = self.values[(slice(None), *np.moveaxis(node, -1, 0))]
            out += weight[..., None] * np.moveaxis(found, 0, -1)
        return out

    def move(self, points: Points) -> Points:
        """Return where points come to lie."""
        moved: Points = points + self.at(points)
        return moved

    def move_back(self, points: Points) -> Points:
        """Return what comes to lie at points, by fixed-point iteration to `TOLERANCE`.

        Raises
        ------
        NotConverged
            For some point; the message names the first.
        """
        found = points.copy()
        step = np.full(points.shape, np.inf)
        for _ in range(_MOST_STEPS):
            following = points - self.at(found)
            step, found = np.abs(following - found), following
            if not step.size or step.max() <= TOLERANCE:
                return found
        first = np.argwhere(step.max(axis=-1) > TOLERANCE)[0]
        raise NotConverged(
            f"field: cannot be followed back to {points[tuple(first)].tolist()} within {TOLERANCE} "
            f"µm in {_MOST_STEPS} steps: it changes too steeply there"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """From the physical coordinates of a layer into a space, and back.

    Parameters
    ----------
    matrix : ndarray
        Homogeneous, of either direction.
    direction : str
    field : DisplacementField, optional
    """

    matrix: Points
    direction: Direction = "layer-to-space"
    field: DisplacementField | None = None

    def to_space(self, points: Points) -> Points:
        """Return where points of the layer lie in the space; both of shape (…, ndim)."""
        if self.direction == "layer-to-space":
            moved = apply(self.matrix, points)
            return self.field.move(moved) if self.field else moved
        moved = apply(_inverse(self.matrix), points)
        return self.field.move_back(moved) if self.field else moved

    def to_layer(self, points: Points) -> Points:
        """Return where points of the space lie in the layer."""
        if self.direction == "space-to-layer":
            moved = self.field.move(points) if self.field else points
            return apply(self.matrix, moved)
        moved = self.field.move_back(points) if self.field else points
        return apply(_inverse(self.matrix), moved)


def _inverse(matrix: Points) -> Points:
    return np.asarray(np.linalg.inv(matrix), "float64")


def apply(matrix: Points, points: Points) -> Points:
    """Return points of shape (…, ndim) moved by a homogeneous matrix.

    >>> apply(check_affine([[0, 1, 5], [1, 0, 0]], 2), np.array([[1.0, 2.0]])).tolist()
    [[7.0, 1.0]]
    """
    moved: Points = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return moved


@dataclass(frozen=True, slots=True)
class Registration:
    """How a layer lies in a space, as its record says.

    Parameters
    ----------
    space : str
        A short name, by which it is asked for.
    axes : str
        Order of the layer's coordinates in the matrix: its spatial axes in any order.
    matrix : tuple of tuple of float
        Homogeneous.
    direction : str
    title, rrid, orientation : str
        What the space is called, its RRID, and what each of its axes points to; may be empty.
    field : mapping, optional
        ``path`` of the array below the layer, ``origin`` and ``spacing`` in µm.
    """

    space: str
    axes: str
    matrix: tuple[tuple[float, ...], ...]
    direction: Direction = "layer-to-space"
    title: str = ""
    rrid: str = ""
    orientation: str = ""
    field: Mapping[str, Any] | None = None

    def transform(self, axes: str, field: DisplacementField | None = None) -> Transform:
        """Return the transform for coordinates in the order `axes` of the layer.

        Raises
        ------
        InputError
            The layer has other axes, or the field is missing.
        """
        if sorted(axes) != sorted(self.axes):
            raise InputError(f"space {self.space}: registered for axes {self.axes}, not {axes}")
        if (self.field is None) != (field is None):
            raise InputError(f"space {self.space}: its field of displacements is not at hand")
        order = [self.axes.index(axis) for axis in axes]
        matrix = np.array(self.matrix)
        if self.direction == "layer-to-space":
            matrix[:-1, :-1] = matrix[:-1, :-1][:, order]
        else:
            matrix[:-1] = matrix[:-1][order]
        return Transform(matrix, self.direction, field)


def read_registration(value: Mapping[str, Any]) -> Registration:
    """Read one registration of a record.

    Raises
    ------
    InputError
        What is missing or wrong, by its name.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"registration of type {type(value).__name__}: expected an object")
    space, axes = value.get("space"), value.get("axes", "zyx")
    direction = value.get("direction", "layer-to-space")
    if not isinstance(space, str) or check_name(space) in (VOXEL, PHYSICAL):
        raise InputError(f"space {space!r:.80}: expected a name other than {VOXEL}, {PHYSICAL}")
    if not isinstance(axes, str) or sorted(axes) not in (["x", "y"], ["x", "y", "z"]):
        raise InputError(f"axes {axes!r:.80}: expected x, y and z, or x and y, in any order")
    if direction not in DIRECTIONS:
        raise InputError(f"direction {direction!r:.80}: expected {' or '.join(DIRECTIONS)}")
    matrix = check_affine(value.get("affine", ()), len(axes))
    said = {key: str(value.get(key) or "") for key in ("title", "rrid", "orientation")}
    rows = tuple(tuple(map(float, row)) for row in matrix)
    return Registration(space, axes, rows, direction, **said, field=value.get("field"))


def find_registration(record: Mapping[str, Any], space: str) -> Registration:
    """Return how a layer with this record lies in a space.

    Raises
    ------
    InputError
        It is not registered there; the message names where it is. Or the record is damaged.
    """
    known = registrations(record)
    for each in known:
        if each.space == space:
            return each
    names = ", ".join([VOXEL, PHYSICAL, *(each.space for each in known)])
    raise InputError(f"space {space[:80]!r}: the layer has coordinates in {names}")


def registrations(record: Mapping[str, Any]) -> tuple[Registration, ...]:
    """Return every registration of a record; raises as `read_registration`."""
    listed = record.get("registrations", ())
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise InputError("registrations: expected a list")
    return tuple(map(read_registration, listed))
