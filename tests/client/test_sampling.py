"""Values at points, in voxels and in micrometers, at voxels and between them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import microtome
from microtome.errors import InputError, RegionError
from tests.client.served import Served

EXTENTS = (20, 48, 40)


def trilinear(array: Any, points: Any) -> Any:  # noqa: ANN401 - arrays
    """Return values between voxels, worked out one axis after the other."""
    found = []
    for point in points:
        block = array.astype(float)
        for n, coordinate in zip(array.shape, point, strict=True):
            p = min(max(coordinate, 0), n - 1)
            low = min(int(np.floor(p)), n - 2)
            block = block[low] * (1 - (p - low)) + block[low + 1] * (p - low)
        found.append(block)
    return np.array(found)


points = st.lists(
    st.tuples(*(st.floats(-0.5, n - 0.5, allow_nan=False) for n in EXTENTS)), min_size=1, max_size=9
)
quiet = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quiet
@given(points=points)
def test_between_voxels_values_are_linear(served: Served, points: Any) -> None:  # noqa: ANN401
    """As worked out axis by axis; beyond the outermost centres it is the edge's value."""
    got = microtome.open(served.em).sample(points, c=1, method="linear")
    assert np.allclose(got, trilinear(served.brain[1], points), rtol=1e-9, atol=1e-6)


@quiet
@given(points=points)
def test_the_nearest_voxel_is_the_one_that_sel_takes(served: Served, points: Any) -> None:  # noqa: ANN401
    """A point in micrometers is covered by the voxel whose value it has."""
    volume = microtome.open(served.em)
    sizes = np.array(list(volume.voxel_size.values()))
    physical = np.array(points) * sizes
    got = volume.sample(physical, unit="um", c=0)
    assert got.dtype == volume.dtype
    inside = np.clip(np.floor(np.array(points) + 0.5 + 1e-6).astype(int), 0, np.array(EXTENTS) - 1)
    assert np.array_equal(got, served.brain[0][tuple(inside.T)])
    one = dict(zip("zyx", inside[0] * sizes, strict=True))
    assert got[0] == volume.sel(c=0, unit="um", **one)


def test_all_points_come_in_one_request(served: Served) -> None:
    """Five thousand points are one POST, and their shape is kept."""
    volume, rng = microtome.open(served.em), np.random.default_rng(5)
    points = np.stack([rng.integers(0, n, (50, 100)) for n in (2, *EXTENTS)], -1)
    before = served.count("POST")
    got = volume.sample(points)
    assert np.array_equal(got, served.brain[tuple(np.moveaxis(points, -1, 0))])
    assert served.count("POST") == before + 1


def test_points_may_be_of_space_alone(served: Served) -> None:
    """A channel is then named; without it the error says which there are."""
    volume = microtome.open(served.em)
    assert volume.sample([3, 4, 5], c="channel 1") == served.brain[1, 3, 4, 5]
    with pytest.raises(InputError, match="which c"):
        volume.sample([[3, 4, 5]])
    assert volume.sample(np.zeros((0, 3)), c=0).shape == (0,)
    coarse = volume.level(1)
    assert coarse.sample([[1, 2, 3]], c=0) == coarse[0, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"points": [[0, 0, 99]], "c": 0}, RegionError, r"point 0: x=99 .* of 40.*-0\.5 to 39\.5"),
        ({"points": [[0, 0]], "c": 0}, InputError, "one number for each of axes 'zyx'"),
        ({"points": [[0, 0, float("nan")]], "c": 0}, InputError, "finite"),
        ({"points": [["a", 0, 0]], "c": 0}, InputError, "expected numbers"),
        ({"points": [[0, 0, 0]], "c": 5}, RegionError, "channels are 0 to 1"),
        ({"points": [[0, 0, 0]], "t": 0}, RegionError, "t=: expected one of the axes 'c'"),
        ({"points": [[0, 0, 0]], "c": 0, "method": "cubic"}, InputError, "'nearest' or 'linear'"),
        ({"points": [[0, 0, 0]], "c": 0, "unit": "second"}, InputError, "second"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    served: Served, words: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """The error names the point, the axis and what is valid."""
    with pytest.raises(kind, match=message):
        microtome.open(served.em).sample(**words)


def test_between_two_ids_there_is_none(served: Served) -> None:
    """Labels are sampled at voxels only, and exactly."""
    cells = microtome.open(f"{served.url}/demo/brain/cells")
    assert cells.sample([3, 10, 6]) == np.uint64(2**64 - 1)
    with pytest.raises(InputError, match="between two ids"):
        cells.sample([[3, 10, 6]], method="linear")
