"""Affines and fields of displacements, judged by scipy and by their own inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from microtome_core.errors import InputError
from microtome_core.space import (
    TOLERANCE,
    DisplacementField,
    NotConverged,
    Registration,
    Transform,
    check_affine,
    find_registration,
    read_registration,
)

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SIZES = st.tuples(*[st.floats(0.1, 50) | st.floats(-50, -0.1)] * 3)
SHIFTS = st.tuples(*[st.floats(-5000, 5000)] * 3)


def _matrix(
    angles: tuple[float, ...], sizes: tuple[float, ...], shift: tuple[float, ...]
) -> NDArray[np.float64]:
    matrix = np.eye(4)
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, :3] = turned @ np.diag(sizes)
    matrix[:3, 3] = shift
    return matrix


@settings(deadline=None)
@given(angles=ANGLES, sizes=SIZES, shift=SHIFTS, seed=st.integers(0, 99))
@pytest.mark.parametrize("direction", ["layer-to-space", "space-to-layer"])
def test_points_go_there_and_back(
    direction: str,
    angles: tuple[float, ...],
    sizes: tuple[float, ...],
    shift: tuple[float, ...],
    seed: int,
) -> None:
    """By any rotation, flip, unequal scaling and shift, in either direction."""
    matrix = check_affine(_matrix(angles, sizes, shift), 3)
    points = np.random.default_rng(seed).uniform(-1000, 1000, (4, 5, 3))
    transform = Transform(matrix, direction)  # type: ignore[arg-type] - one of the two
    np.testing.assert_allclose(transform.to_layer(transform.to_space(points)), points, atol=1e-6)
    one = (
        transform.to_space(points) if direction == "layer-to-space" else transform.to_layer(points)
    )
    turned = Rotation.from_euler("xyz", angles, degrees=True).apply(points.reshape(-1, 3) * sizes)
    np.testing.assert_allclose(one.reshape(-1, 3), turned + shift, atol=1e-6)


def _smooth(shape: tuple[int, ...], height: float) -> NDArray[np.float64]:
    noise = np.random.default_rng(3).normal(size=(3, *shape))
    smooth = np.stack([ndimage.gaussian_filter(each, 3, mode="nearest") for each in noise])
    return smooth / np.abs(smooth).max() * height


def test_displacements_are_interpolated_linearly() -> None:
    """As scipy does on a grid of unequal extents and spacing; beyond it the edge's own hold."""
    values, origin, spacing = _smooth((9, 14, 11), 20.0), (5.0, -40.0, 100.0), (10.0, 25.0, 7.0)
    field = DisplacementField(values, origin, spacing)
    points = np.random.default_rng(1).uniform(-100, 400, (500, 3))
    places = ((points - origin) / spacing).T
    expected = [ndimage.map_coordinates(v, places, order=1, mode="nearest") for v in values]
    np.testing.assert_allclose(field.at(points), np.array(expected).T, atol=1e-9)


def test_a_field_of_one_node_moves_everything_alike() -> None:
    """It is a shift."""
    field = DisplacementField(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1), (0,) * 3, (1,) * 3)
    assert field.move(np.zeros((2, 3))).tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("direction", ["layer-to-space", "space-to-layer"])
def test_a_field_is_followed_back(direction: str) -> None:
    """Within the tolerance, for a smooth field after an affine, in either direction."""
    field = DisplacementField(_smooth((12, 10, 14), 30.0), (0.0, 0.0, 0.0), (50.0, 50.0, 50.0))
    matrix = check_affine(_matrix((10, 20, 30), (1.1, -0.9, 1.0), (5, 6, 7)), 3)
    transform = Transform(matrix, direction, field)  # type: ignore[arg-type] - one of the two
    points = np.random.default_rng(2).uniform(0, 600, (300, 3))
    there, back = transform.to_space, transform.to_layer
    assert np.abs(back(there(points)) - points).max() < 3 * TOLERANCE
    assert np.abs(there(back(points)) - points).max() < 3 * TOLERANCE
    without = Transform(matrix, transform.direction).to_space(points)
    assert np.abs(there(points) - without).max() > 1


def test_a_field_that_is_too_steep_is_refused() -> None:
    """Fixed-point iteration finds no end in it, and the point is named."""
    field = DisplacementField(np.array([[[0.0], [200.0]], [[0.0], [0.0]]]), (0, 0), (100, 100))
    assert field.move(np.array([[50.0, 7.0]])).tolist() == [[150, 7]]
    with pytest.raises(NotConverged, match=r"followed back to \[150\.0, 7\.0\]"):
        field.move_back(np.array([[0.0, 0.0], [150.0, 7.0]]))


EYE = np.eye(4).tolist()
REFUSED = {
    "shape": ([[1, 0], [0, 1]], "shape"),
    "words": ([["a"] * 4] * 4, "not a matrix"),
    "ragged": ([[1, 2], [3]], "not a matrix"),
    "NaN": ([[float("nan"), 0, 0, 0], *EYE[1:]], "finite"),
    "infinite": ([[1, 0, 0, float("inf")], *EYE[1:]], "finite"),
    "perspective": ([*EYE[:3], [0, 0, 1, 1]], "last row"),
    "flat": (np.diag([1.0, 0, 1, 1]).tolist(), "singular"),
    "parallel": ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "singular"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_matrix_that_is_no_affine_is_refused(why: str) -> None:
    """The message says what is wrong."""
    matrix, words = REFUSED[why]
    with pytest.raises(InputError, match=f"affine.*{words}"):
        read_registration({"space": "ccf", "affine": matrix})


def test_axes_of_very_different_scale_are_not_singular() -> None:
    """What counts is whether directions coincide."""
    assert check_affine(np.diag([1e-7, 1.0, 1e7, 1.0]), 3)[0, 0] == 1e-7


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"space": "voxel"}, "space 'voxel'"),
        ({"space": "No Name"}, "No Name"),
        ({"space": 7}, "space 7"),
        ({"space": "ccf", "axes": "zz"}, "axes 'zz'"),
        ({"space": "ccf", "direction": "up"}, "direction 'up'"),
        ([], "type list"),
    ],
)
def test_a_registration_that_is_none_is_refused(value: object, words: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(InputError, match=words):
        read_registration(value)  # type: ignore[arg-type] - what is wrong


@pytest.mark.parametrize("direction", ["layer-to-space", "space-to-layer"])
def test_the_order_of_axes_is_said_and_kept(direction: str) -> None:
    """A matrix for x y z gives the same place as asked for in z y x."""
    matrix = _matrix((10, 20, 30), (1, 2, 3), (4, 5, 6))
    rows = tuple(map(tuple, matrix.tolist()))
    told = Registration("ccf", "xyz", rows, direction)  # type: ignore[arg-type] - one of the two
    point = np.array([1.0, 2.0, 3.0])
    same = told.transform("xyz").to_space(point)
    np.testing.assert_allclose(told.transform("zyx").to_space(point[::-1]), same)
    np.testing.assert_allclose(told.transform("zyx").to_layer(same), point[::-1])


def test_an_unknown_space_is_told_with_those_that_are_known() -> None:
    """Every layer has voxels and micrometers."""
    record = {"registrations": [{"space": "ccf", "affine": EYE}]}
    assert find_registration(record, "ccf").axes == "zyx"
    with pytest.raises(InputError, match=r"space 'waxholm'.*voxel, physical, ccf"):
        find_registration(record, "waxholm")
