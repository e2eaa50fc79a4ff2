"""Labels by their ids, over a real service."""

import numpy as np
import pytest

import microtome
from microtome.errors import InputError, NotFound, RegionError
from tests.client.served import Served

LARGE = 2**64 - 1


@pytest.fixture
def cells(served: Served) -> microtome.Volume:
    """The labels."""
    return microtome.open(f"{served.url}/demo/brain/cells")


@pytest.mark.parametrize(
    "key", [..., np.s_[3], np.s_[::-1, 2:9], np.s_[-1, :, 7], np.s_[4:4], np.s_[3, 10, 5]]
)
def test_ids_are_those_of_the_voxels(served: Served, cells: microtome.Volume, key: object) -> None:
    """Sorted, without 0, in the volume's type, also beyond 2⁵³, and nothing of an empty region."""
    found = cells.ids(key)
    assert found.dtype == np.uint64
    expected = np.unique(served.cells[key])  # type: ignore[index]
    assert found.tolist() == expected[expected > 0].tolist()


def test_a_box_is_an_index(served: Served, cells: microtome.Volume) -> None:
    """It holds all voxels of the id, tightly; a mask of it is theirs."""
    for label in cells.ids():
        box = cells.bbox(label)
        where = np.argwhere(served.cells == label)
        assert [s.start for s in box] == where.min(axis=0).tolist()
        assert [s.stop for s in box] == (where.max(axis=0) + 1).tolist()
        mask = cells.mask(label)
        assert mask.dtype == bool
        assert np.array_equal(mask, served.cells[box] == label)


def test_a_region_may_be_looked_at(served: Served, cells: microtome.Volume) -> None:
    """Boxes are counted from the volume's origin, masks cover the region asked for."""
    assert cells.bbox(LARGE, np.s_[5:, 12:]) == np.s_[5:9, 12:14, 6:7]
    assert np.array_equal(cells.mask(LARGE, 5), served.cells[5] == LARGE)
    assert not cells.mask(-3, 5).any()
    assert cells.level(1).bbox(LARGE) == np.s_[2:5, 5:7, 3:4]


def test_what_is_not_there_is_said(served: Served, cells: microtome.Volume) -> None:
    """An id without voxels, an image, a step, and what is no id."""
    with pytest.raises(NotFound, match="no id 77"):
        cells.bbox(77)
    with pytest.raises(NotFound, match=r"no id 18446744073709551615 in z=0:2"):
        cells.bbox(LARGE, np.s_[:2])
    with pytest.raises(InputError, match="is an image"):
        microtome.open(served.em).ids()
    with pytest.raises(InputError, match="without steps"):
        cells.ids(np.s_[::2])
    with pytest.raises(InputError, match=r"id 1\.5"):
        cells.bbox(1.5)  # type: ignore[arg-type]
    with pytest.raises(RegionError, match="holds no voxel"):
        cells.bbox(3, np.s_[4:4])
