"""A layer in a store that is read where it lies is the same volume, with the same errors."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import basic_indices

import microtome
from microtome.errors import AddressError, InputError, NotFound, RegionError, StorageError
from microtome.stored import stored_address
from microtome_core.store.location import Store
from tests.client.served import SHAPE
from tests.service.conftest import StoreBuilder

brain = np.random.default_rng(1).integers(0, 60000, SHAPE).astype("uint16")
cells = np.random.default_rng(2).integers(0, 5, SHAPE[1:]).astype("uint64")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and its labels."""
    folder = tmp_path_factory.mktemp("stored") / "root"
    folder.mkdir()
    builder = StoreBuilder(Store(str(folder)))
    builder.layer("demo/brain/em", "czyx", brain, levels=2)
    builder.layer("demo/brain/cells", "zyx", cells, labels_of="em")
    return folder


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=basic_indices(SHAPE))
def test_every_basic_index_is_numpys(root: Path, key: Any) -> None:  # noqa: ANN401
    """Planned and cut as over HTTP; a scalar where NumPy gives one."""
    got = microtome.open(root / "demo/brain/em")[key]
    assert type(got) is type(brain[key])
    assert np.array_equal(got, brain[key])


def test_everything_else_is_the_same(root: Path) -> None:
    """Lists, points, batches, levels, positions, ids and boxes; also pickled."""
    volume = microtome.open(f"{root}/demo/brain/em")
    assert np.array_equal(volume.oindex[[1, 0], ::-3], brain[[1, 0]][:, ::-3])
    assert np.array_equal(volume.oindex[0, :, ::5, ::5], brain[0][:, ::5, ::5])
    assert volume.sample([[3, 4, 5], [19, 0, 39]], c=1).tolist() == [
        brain[1, 3, 4, 5], brain[1, 19, 0, 39],
    ]  # fmt: skip
    first, second = volume.batch([np.s_[0, 3], np.s_[1, :, ::4]])
    assert np.array_equal(first, brain[0, 3])
    assert np.array_equal(second, brain[1, :, ::4])
    assert np.array_equal(volume.at(level=1)[...], brain[:, ::2, ::2, ::2])
    assert np.array_equal(volume.sel(c="channel 1", z=(0, 10)), brain[1, :5])
    assert np.array_equal(np.stack(list(volume)), brain)
    assert np.array_equal(pickle.loads(pickle.dumps(volume))[1], brain[1])
    seg = microtome.open(f"file://{root}/demo/brain/em/labels/cells")
    assert seg.id == "demo/brain/cells"
    assert seg == microtome.open(f"{root}/demo/brain/cells")
    assert seg.ids(np.s_[:2]).tolist() == [1, 2, 3, 4]
    where = np.argwhere(cells[5:7] == 3)
    assert seg.bbox(3, np.s_[5:7])[1].start == where[:, 1].min()
    assert np.array_equal(seg.mask(3, np.s_[5:7]), cells[5:7] == 3)


def test_errors_are_the_same(root: Path) -> None:
    """An absent layer, positions out of bounds, an id without voxels; what needs a service."""
    volume = microtome.open(root / "demo/brain/em")
    with pytest.raises(NotFound, match=f"demo/brain/axons in the store {root}; .* http://"):
        microtome.open(root / "demo/brain/axons")
    with pytest.raises(NotFound, match="levels 0 to 1"):
        volume.level(2)
    with pytest.raises(RegionError, match="out of bounds for axis c"):
        _ = volume[2]
    with pytest.raises(NotFound, match="no id 9"):
        microtome.open(root / "demo/brain/cells").bbox(9)
    for work in (lambda: volume.__setitem__(0, 1), volume.thumbnail, volume.neuroglancer):
        with pytest.raises(InputError, match="serve"):
            work()
    assert "no thumbnail" in volume._repr_html_()


@pytest.mark.parametrize("text", ["brain", "", "A/b/c", "s3://bucket/x"])
def test_what_is_no_place_of_a_layer_is_refused(text: str) -> None:
    """The error shows how one is written."""
    with pytest.raises(AddressError, match="ROOT/collection/dataset/layer"):
        microtome.open(text)


def test_places_are_taken_apart() -> None:
    """Into the root and the layer's name."""
    for text, base, name in (
        ("root/a/b/c", str(Path("root").absolute()), "a/b/c"),
        ("a/b/c", str(Path.cwd()), "a/b/c"),
        ("file:///a/b/c", "/", "a/b/c"),
        ("file:///my%20root/a/b/c", "/my root", "a/b/c"),
        ("s3://bucket/x/a/b/c/", "s3://bucket/x", "a/b/c"),
        ("/root/a/b/image/labels/cells", "/root", "a/b/cells"),
    ):
        address = stored_address(text)
        assert (address.base, str(address.layer)) == (base, name)


def test_a_dataset_named_labels_is_one(tmp_path: Path) -> None:
    """What lies in a folder of that name are labels of an image only where there is one."""
    root = tmp_path / "lab/data"
    root.mkdir(parents=True)
    StoreBuilder(Store(str(root))).layer("a/labels/c", "zyx", cells)
    volume = microtome.open(root / "a/labels/c")
    assert (volume.id, volume.shape) == ("a/labels/c", cells.shape)
    with pytest.raises(NotFound, match="b in the store"):
        microtome.open(root / "a/labels/b")


def test_a_layer_in_a_bucket_is_the_same(s3_store: Store) -> None:
    """By ``s3://``, with the credentials and the endpoint of the environment."""
    StoreBuilder(s3_store).layer("demo/brain/em", "czyx", brain, levels=2)
    volume = microtome.open(f"{s3_store.url}/demo/brain/em", level=1)
    assert np.array_equal(volume[...], brain[:, ::2, ::2, ::2])
    copied = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(copied[1, ::-2, 3], brain[:, ::2, ::2, ::2][1, ::-2, 3])
    with pytest.raises(NotFound, match=f"demo/brain/axons in the store {s3_store.url}"):
        microtome.open(f"{s3_store.url}/demo/brain/axons")


def test_damage_is_an_error(tmp_path: Path) -> None:
    """A flipped bit ends in a storage error, never in voxels."""
    (tmp_path / "root").mkdir()
    StoreBuilder(Store(str(tmp_path / "root"))).layer("a/b/c", "zyx", cells)
    shard = next(path for path in (tmp_path / "root/a/b/c/0/c").rglob("*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(StorageError):
        _ = microtome.open(tmp_path / "root/a/b/c")[...]
