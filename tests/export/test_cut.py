"""What is exported: regions of levels in any order of axes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_core.errors import InputError, RegionError
from microtome_ingest.export.cut import Cut, make_cut, parse_words
from tests.export.made import Made, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a layer of all five axes, in chunks that do not divide it."""
    return make(tmp_path_factory.mktemp("cut") / "root", "tczyx")


def assembled(cut: Cut, most: int, *, slabs: bool) -> np.ndarray:
    """Return what the blocks of a cut make together; every voxel must come once."""
    whole = np.zeros(cut.shape, cut.dtype)
    count = np.zeros(cut.shape, int)
    last = -1
    for region, block in cut.slabs(most) if slabs else cut.boxes(most):
        assert block.flags.c_contiguous
        assert block.nbytes <= max(most, cut.dtype.itemsize)
        whole[region.slices] = block
        count[region.slices] += 1
        if slabs:
            places = np.ravel_multi_index(np.indices(block.shape).reshape(block.ndim, -1)
                                          + np.array(region.start)[:, None], cut.shape)  # fmt: skip
            assert places[0] == last + 1
            assert (np.diff(places) == 1).all()
            last = int(places[-1])
    assert (count == 1).all()
    return whole


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_blocks_make_the_region(made: Made, data: st.DataObject) -> None:
    """Whatever the region, the order of axes and the bytes at once, blocks cover it once and in
    slabs they follow each other.
    """
    words = {}
    for axis, extent in zip("tczyx", made.voxels.shape, strict=True):
        low = data.draw(st.integers(0, extent - 1))
        words[axis] = f"{low}:{data.draw(st.integers(low + 1, extent))}"
    cut = made.cut(**words)
    order = "".join(data.draw(st.permutations(cut.axes)))
    most = data.draw(st.sampled_from([2, 100, 5000, 10**9]))
    expected = made.voxels[cut.region.slices].transpose([cut.axes.index(a) for a in order])
    found = assembled(cut.turned(order), most, slabs=data.draw(st.booleans()))
    assert np.array_equal(found, expected)


def test_a_single_index_drops_its_axis(made: Made) -> None:
    """Of t, c and z one index leaves the axis out; y and x stay, as every format has them."""
    cut = made.cut(t="1", c="0", z="3", y="7")
    assert (cut.axes, cut.shape) == ("yx", (1, 70))
    assert np.array_equal(next(cut.boxes())[1], made.voxels[1, 0, 3, 7:8])


def test_sizes_and_places_are_those_of_the_region(made: Made) -> None:
    """Scale is the level's, translation that of the region's first voxel."""
    cut = made.cut(z="2:4", x="8:24")
    assert cut.scale == (0.2, 1.0, 2.0, 0.5, 0.25)
    assert cut.translation == (0.0, 0.0, 4.0, 0.0, 2.0)
    assert cut.micrometers("xyz") == [0.25, 0.5, 2.0]
    coarse = made.cut(1, x="8:24")
    assert coarse.scale[-1] == 0.5
    assert coarse.translation[-1] == 8 * 0.5 + 0.125


def test_channels_go_by_name_number_or_range(made: Made) -> None:
    """A channel that is not there is refused with those that are."""
    assert [c.name for c in made.cut(c="1").channels] == ["channel-1"]
    assert [c.name for c in made.cut(c="channel-0").channels] == ["channel-0"]
    assert len(made.cut(c="0:2").channels) == 2
    with pytest.raises(InputError, match="'channel-0', 'channel-1'"):
        made.cut(c="GFP")


def test_a_number_is_a_name_where_no_channel_has_it(made: Made) -> None:
    """Laser lines name channels; one that is called 1 is not meant by the number 1."""
    layer = made.cut().layer
    info = layer.info
    pairs = zip(info.channels, ("1", "488"), strict=True)
    named = replace(info, channels=tuple(replace(c, name=name) for c, name in pairs))
    for word, place in (("0", 0), ("1", 1), ("488", 1)):
        cut = make_cut(replace(layer, info=named), words={"c": word})
        assert cut.region.start[info.axes.index("c")] == place


def test_a_unit_that_nobody_knows_counts_as_none(tmp_path: Path) -> None:
    """Other software may write any word; the voxels can be had all the same."""
    made = make(tmp_path / "root", "zyx", shape=(2, 9, 8))
    path = tmp_path / "root" / made.address / "zarr.json"
    document = json.loads(path.read_text())
    for axis in document["attributes"]["ome"]["multiscales"][0]["axes"]:
        axis["unit"] = "parsec"
    path.write_text(json.dumps(document))
    assert made.cut().micrometers("xyz") is None
    assert made.export("npy", tmp_path / "out.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), made.voxels)


def test_levels_that_are_not_there_are_refused(made: Made) -> None:
    """The message says which there are."""
    with pytest.raises(InputError, match="levels 0 to"):
        made.cut(9)


@pytest.mark.parametrize("text", ["z", "z=", "z=1,z=2", "zy=1:2", "=3"])
def test_words_that_name_no_range_are_refused(text: str) -> None:
    """Each part is an axis and a range, each axis once."""
    with pytest.raises(RegionError):
        parse_words(text)
