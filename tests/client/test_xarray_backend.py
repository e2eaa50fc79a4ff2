"""xarray opens a layer by its address, lazily, with physical coordinates."""

import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import AddressError, LayerNotFound, MissingLibrary
from tests.client.pairs import Pair, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An image and its labels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


def test_what_is_read_is_written_to_files(pair: Pair, tmp_path: Path) -> None:
    """As NetCDF and as Zarr, with coordinates and attributes; what the record nests is JSON."""
    nested = {"keywords": ["a", "b"], "device": {"name": "scope", "na": 0.8}, "blinded": True}
    record = {**pair.labels.attrs, "data": 0, "age": "P7D", "sex": None, **nested}
    labels = replace(pair.labels, info=replace(pair.labels.info, attrs=record))
    array = labels.to_xarray()
    assert {name: json.loads(array.attrs[name]) for name in nested} == nested
    assert (array.attrs["age"], {"sex", "data"} & set(array.attrs)) == ("P7D", set())
    array.to_netcdf(tmp_path / "labels.nc")
    array.to_zarr(tmp_path / "labels.zarr", zarr_format=2)
    netcdf = xr.open_dataarray(tmp_path / "labels.nc")
    for found in (netcdf, xr.open_zarr(tmp_path / "labels.zarr")["labels"]):
        np.testing.assert_array_equal(found.values, pair.ids)
        np.testing.assert_array_equal(found["z"], array["z"])
        assert found.attrs == array.attrs
    netcdf.close()


def test_a_layer_is_a_dataset_by_its_address(pair: Pair) -> None:
    """Named axes, centres of voxels with their units, channels by name, and the record."""
    dataset = xr.open_dataset(pair.image.url, engine="microtome")
    image = dataset["image"]
    assert image.dims == ("c", "z", "y", "x")
    np.testing.assert_allclose(dataset["z"], np.arange(24) * 2.0)
    np.testing.assert_allclose(dataset["x"][:3], [0, 0.5, 1.0])
    assert {dataset[axis].attrs["units"] for axis in "zyx"} == {"micrometer"}
    assert list(dataset["c"].values) == ["channel 0", "channel 1"]
    assert dataset.attrs["session_description"] == "a test"
    assert dataset.attrs["microtome_version"] == pair.image.info.version
    np.testing.assert_array_equal(image.values, pair.voxels)
    labels = xr.open_dataset(pair.labels.url, engine="microtome")["labels"]
    np.testing.assert_array_equal(labels.values, pair.ids)


def test_nothing_is_read_before_it_is_asked_for(pair: Pair) -> None:
    """Selections are only written down; then their voxels come, and no others."""
    before = pair.asked("GET")
    found = pair.image.to_xarray().sel(c="channel 1").sel(z=slice(10.0, 16.0), y=5.0, x=[1.0, 20.0])
    assert pair.asked("GET") == before
    np.testing.assert_array_equal(found.values, pair.voxels[1, 5:9, 10][:, [2, 40]])
    assert pair.asked("GET") > before


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_any_outer_index_is_what_numpy_gives(pair: Pair, data: st.DataObject) -> None:
    """Integers, slices and lists of positions, one an axis, in any mixture."""
    array, expected = pair.labels.to_xarray(), pair.ids
    index = []
    for extent in pair.ids.shape:
        numbers = st.integers(-extent, extent - 1)
        index.append(data.draw(numbers | st.slices(extent) | st.lists(numbers, max_size=4)))
    for axis, word in reversed(list(enumerate(index))):
        kept = np.array(word, int) if isinstance(word, list) else word
        expected = expected[(*[slice(None)] * axis, kept)]
    np.testing.assert_array_equal(array[tuple(index)].values, expected)


def test_levels_are_chosen_or_come_as_a_tree(pair: Pair) -> None:
    """`level=` takes one; a tree holds all of them, each with coordinates of its own."""
    coarse = xr.open_dataset(pair.image.url, engine="microtome", level=-1)
    np.testing.assert_array_equal(coarse["image"].values, pair.voxels[:, ::2, ::2, ::2])
    np.testing.assert_allclose(coarse["x"][:2], [0.25, 1.25])
    tree = xr.open_datatree(pair.image.url, engine="microtome")
    assert list(tree.children) == ["0", "1"]
    np.testing.assert_array_equal(tree["0"]["image"].values, pair.voxels)
    assert tree["1"].to_dataset().identical(coarse.load())
    groups = xr.open_groups(pair.image.url, engine="microtome")
    assert list(groups) == ["/", "/0", "/1"]
    assert pair.image.level(1).to_xarray().identical(coarse["image"].assign_attrs(coarse.attrs))


def test_chunks_are_shards_unless_told_otherwise(pair: Pair) -> None:
    """`chunks={}` makes a task of each shard; sums and plots of Dask work on them."""
    lazy = xr.open_dataset(pair.image.url, engine="microtome", chunks={})["image"]
    assert lazy.data.chunksize == (1, 16, 16, 16)
    assert int(lazy.sum()) == int(pair.voxels.sum())
    assert pair.image.to_xarray({"z": -1}).data.chunksize == (1, 24, 16, 16)


def test_lazy_arrays_are_pickled(pair: Pair) -> None:
    """A copy reads over connections of its own."""
    copied = pickle.loads(pickle.dumps(pair.labels.to_xarray()))
    np.testing.assert_array_equal(copied.values, pair.ids)


def test_variables_are_dropped_by_name(pair: Pair) -> None:
    """As every engine of xarray does."""
    found = xr.open_dataset(pair.image.url, engine="microtome", drop_variables=["c"])
    assert "c" not in found.coords
    assert not xr.open_dataset(pair.image.url, engine="microtome", drop_variables="image").data_vars


def test_channels_without_names_of_their_own_have_no_coordinate(pair: Pair) -> None:
    """Labels that two channels share would select both."""
    info = replace(pair.image.info, channels=pair.image.info.channels[:1] * 2)
    assert "c" not in replace(pair.image, info=info).to_xarray().coords


def test_mistakes_are_said_in_the_words_of_open(pair: Pair) -> None:
    """What is no address, what is not there, and an open volume that is to be opened anew."""
    with pytest.raises(AddressError, match="collection/dataset/layer"):
        xr.open_dataset("http://host/", engine="microtome")
    with pytest.raises(AddressError, match="int: expected"):
        xr.open_dataset(5, engine="microtome")  # type: ignore[arg-type]
    with pytest.raises(LayerNotFound):
        xr.open_dataset(pair.image.url + "s", engine="microtome")
    with pytest.raises(TypeError, match="token come too late"):
        xr.open_dataset(pair.image, engine="microtome", token="x")  # type: ignore[arg-type]


def test_the_extra_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xarray, or Dask where chunks are asked for, the error says what to install."""
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(MissingLibrary, match=r"in chunks needs dask: install the extra 'xar"):
        pair.image.to_xarray({})
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"needs xarray: install the extra 'xarray' of microtome"):
        pair.image.to_xarray()
