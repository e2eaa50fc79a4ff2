"""Volumes are read together only where a voxel of one is the same place in all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import microtome
from microtome.errors import InputError
from microtome.grids import check_aligned, region_of, sized
from microtome.volume import Volume
from microtome_core.region import Region


@pytest.fixture
def volume(url: str) -> Volume:
    """A czyx volume of (3, 20, 48, 40)."""
    return microtome.open(url)


def moved(volume: Volume, **words: Any) -> Volume:  # noqa: ANN401 - any field's type
    """Return a volume whose level 0 is said to be otherwise."""
    levels = (replace(volume.levels[0], **words), *volume.levels[1:])
    return replace(volume, info=replace(volume.info, levels=levels))


def test_grids_agree_whatever_the_channels_and_the_spelling_of_units(
    server: Any,  # noqa: ANN401 - conftest's server
    volume: Volume,
) -> None:
    """Labels need no channels, and sizes in nanometres are compared with those in micrometres."""
    labels = microtome.open(server.add(np.zeros((20, 48, 40), "uint8"), "zyx", "demo/brain/labels"))
    check_aligned({"image": volume, "labels": labels})
    finer = moved(labels, scale=(1000.0, 400.0, 400.0))
    small = replace(finer, info=replace(finer.info, units=("nanometer",) * 3))
    check_aligned({"image": volume, "labels": small})
    check_aligned({"image": volume.level(1), "labels": labels.level(1)})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"shape": (3, 20, 48, 41)}, "x has 41 voxels, expected 40"),
        ({"scale": (1.0, 1.0, 0.4, 0.41)}, "voxels of 0.41 micrometer along x, expected 0.4"),
        ({"scale": (1.0, 1.0, 0.4, 0.4001)}, "along x"),
        ({"translation": (0.0, 0.0, 0.2, 0.0)}, "y begins at 0.2 micrometer, expected 0"),
    ],
)
def test_what_differs_is_said(volume: Volume, words: dict[str, Any], message: str) -> None:
    """Both names and both values stand in the error."""
    with pytest.raises(InputError, match=f"labels does not lie on the grid of image: .*{message}"):
        check_aligned({"image": volume, "labels": moved(volume, **words)})


def test_other_axes_units_and_levels_are_refused(server: Any, volume: Volume) -> None:  # noqa: ANN401
    """A plane is not a volume, and a size without a unit is not one in micrometres."""
    plane = microtome.open(server.add(np.zeros((48, 40), "uint8"), "yx", "demo/brain/plane"))
    with pytest.raises(InputError, match="axes 'yx', expected 'czyx'"):
        check_aligned({"image": volume, "plane": plane})
    unknown = replace(volume, info=replace(volume.info, units=(None,) * 4))
    with pytest.raises(InputError, match="the unit of z is None, expected micrometer"):
        check_aligned({"image": volume, "other": unknown})
    with pytest.raises(InputError, match="y has 24 voxels"):
        check_aligned({"image": volume, "other": volume.level(1)})


def test_regions_and_shapes_are_of_all_axes_but_c(volume: Volume) -> None:
    """What is not named is whole in a region, and 1 in a shape."""
    assert region_of(volume) == Region("zyx", (0, 0, 0), (20, 48, 40))
    region = region_of(volume, {"y": (3, 9)})
    assert region == Region("zyx", (0, 3, 0), (20, 9, 40))
    assert sized((4, 5), region) == (1, 4, 5)
    assert sized({"z": 7}, region) == (7, 1, 1)


@pytest.mark.parametrize(
    ("within", "message"),
    [
        ({"c": (0, 1)}, "axis 'c' is unknown"),
        ({"x": (0, 41)}, "x=0:41 is no range of x=0:40"),
        ({"x": (5, 5)}, "x=5:5 is no range"),
    ],
)
def test_wrong_regions_are_refused(volume: Volume, within: Any, message: str) -> None:  # noqa: ANN401
    """The valid range is named."""
    with pytest.raises(InputError, match=message):
        region_of(volume, within)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 1, 1), "the axes are 'zyx'"),
        ({"c": 1}, "crops along 'c'"),
        ((21, 8, 8), "z=21 do not fit"),
        ((0, 8, 8), "z=0 do not fit"),
    ],
)
def test_wrong_shapes_are_refused(volume: Volume, shape: Any, message: str) -> None:  # noqa: ANN401
    """The axis is named."""
    with pytest.raises(InputError, match=message):
        sized(shape, region_of(volume))
